/**
 * Compares NewtonSummary with other optimisers, each with its usual settings and with the best of a few: `npm run compare -- --help`.
 * Every run is made in a process of its own, and kept in a file: what is done is not run again. How long steps take is measured
 * apart from the runs, which can therefore be made at once, on a busy machine or on several.
 */
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { machineFacts, warnIfBusy } from "../bench/machine.ts";
import { buildCase, runCase } from "../bench/processes.ts";
import { type DatasetName, datasetEntry } from "../src/cli/datasets.ts";
import { describeOptions, flag, listed, type OptionTable, parseOptions, text, whole } from "../src/cli/options.ts";
import { formatClock, formatLoss, formatPercent, formatSeconds } from "../src/report/index.ts";
import { OptionError } from "../src/util/errors.ts";
import type { Timing } from "./clock.ts";
import { cycleOf, ENTRIES, entryOf, SUBJECTS, type Subject } from "./entries.ts";
import { lossFigure, sensitivityFigure } from "./figures.ts";
import { Folder } from "./folder.ts";
import { makeAll } from "./jobs.ts";
import { type Choice, finalLoss, planOf, type Results, secondsFor, timedRuns } from "./plan.ts";
import type { Outcome, Request, Result, Run } from "./runs.ts";
import { sensitivityOf, tableOf, trialOf } from "./summary.ts";
import { nextTimed, ROUNDS, timesToGoOn, withTiming } from "./times.ts";

const OPTIONS = {
  model: { value: "NAME,…", help: listed(Object.keys(SUBJECTS)), otherwise: "all", read: someOf(SUBJECTS) },
  optimizer: { value: "NAME,…", help: listed(Object.keys(ENTRIES)), otherwise: "all", read: someOf(ENTRIES) },
  seeds: { value: "N", help: "runs with the usual and with the best settings", otherwise: "3", read: whole(1) },
  epochs: { value: "N", help: "times to go through the data", otherwise: "perceptron 3, lenet 5", read: whole(1) },
  threads: { value: "N", help: "of ONNX Runtime in each run", otherwise: "1", read: whole(1) },
  jobs: { value: "N", help: "runs at once", otherwise: "one for each of the machine's threads", read: whole(1) },
  data: { value: "DIR", help: "the folder of CIFAR-10's binary version", otherwise: "data/cifar10", read: text },
  out: { value: "DIR", help: "where results are, and what is drawn from them", otherwise: "runs/compare", read: text },
  times: {
    help: "measure how long steps take that are not timed yet, on a machine that does nothing else, and draw what there is",
    read: flag,
  },
  list: { help: "only say what is left to run, and draw what there is", read: flag },
  help: { help: "show this", read: flag },
} as const satisfies OptionTable;

const USAGE = `npm run compare -- [options]

Trains models with every optimiser, with its usual setting and the others of a small grid, and again with the usual and the best
one for more seeds. The results grow in a file, a line for each run; it can be stopped at any time, and goes on where it was. Files
of several machines can be put together. Seconds are measured afterwards on one machine, with --times, and kept one by one too.

${describeOptions({ options: OPTIONS }, 100)}`;

function someOf<Name extends string>(table: Readonly<Record<Name, unknown>>): (value: string, name: string) => Name[] {
  const known = Object.keys(table) as Name[];
  return (value, name) =>
    [...new Set(value.split(","))].map((part) => {
      if (known.includes(part as Name)) return part as Name;
      throw new OptionError(`--${name} must be ${listed(known)}; found "${part}"`);
    });
}

/** What was asked for. */
interface Asked {
  readonly choice: Choice;
  readonly out: string;
  readonly jobs: number;
  readonly task: "runs" | "times" | "list";
}

function readArgs(args: readonly string[]): Asked | undefined {
  const { options, positionals } = parseOptions(OPTIONS, args);
  if (options.help) return undefined;
  if (positionals[0] !== undefined) throw new OptionError(`compare takes options only; found "${positionals[0]}"`);
  const { model, optimizer, seeds = 3, epochs, threads = 1, jobs = availableParallelism(), data } = options;
  const tasks = (["times", "list"] as const).filter((name) => options[name]);
  if (tasks.length > 1) throw new OptionError("--times and --list contradict each other");
  if (tasks.length > 0 && options.jobs !== undefined) throw new OptionError(`--jobs says nothing to --${tasks[0]}`);
  return {
    choice: {
      subjects: model ?? (Object.keys(SUBJECTS) as (keyof typeof SUBJECTS)[]),
      entries: optimizer ?? (Object.keys(ENTRIES) as (keyof typeof ENTRIES)[]),
      seeds,
      threads,
      ...(epochs !== undefined && { epochs }),
      ...(data !== undefined && { data: resolve(data) }),
    },
    out: options.out ?? "runs/compare",
    jobs,
    task: tasks[0] ?? "runs",
  };
}

/** @throws OptionError where the data of a subject are not there, before anything is run */
function checkData({ subjects, data }: Choice): void {
  for (const subject of subjects) {
    const { title, options }: Subject = SUBJECTS[subject];
    if (options.dataset === undefined) continue;
    const folder = resolve(data ?? datasetEntry(options.dataset as DatasetName).takes.data!);
    if (!existsSync(folder)) throw new OptionError(`--data: ${title} needs ${folder}, which is not there`);
  }
}

/** Makes all runs that are left. */
async function makeRuns({ choice, jobs }: Asked, folder: Folder): Promise<void> {
  await folder.mend();
  const machine = machineFacts();
  const program = await buildCase(import.meta.dirname);
  const ask = (run: Run): Promise<Outcome> => runCase(program, { args: run.args } satisfies Request);
  await makeAll(
    jobs,
    () => planOf(choice, folder.known()).runs,
    async (run) => {
      const result: Result = { ...run, ...(await ask(run)), machine };
      folder.add(result);
      console.log(`${lineOf(result)}  ${leftOf(choice, folder.known(), jobs)}`);
    },
  );
}

/** Measures how long the steps take that the tables show, as far as they are not timed yet. */
async function takeTimes(choice: Choice, folder: Folder): Promise<void> {
  const machine = machineFacts();
  let times = timesToGoOn(folder.knownTimes(), machine, folder.times);
  const runs = timedRuns(choice, folder.known());
  const left = (): ReturnType<typeof nextTimed> => nextTimed(runs, times);
  if (!left()) {
    console.log(`${folder.times}: all steps are timed; move it away to time them anew`);
    return;
  }
  warnIfBusy(machine);
  const program = await buildCase(import.meta.dirname);
  for (let next = left(); next; next = left()) {
    const { run, round } = next;
    const cycle = cycleOf(run.entry, run.value);
    const timing = await runCase<Timing>(program, { args: run.args, cycle } satisfies Request);
    times = withTiming(times, run, timing);
    await folder.saveTimes(times);
    console.log(`round ${round + 1} of ${ROUNDS}: ${nameOf(run).padEnd(66)}  ${milliseconds(timing)}`);
  }
}

function milliseconds({ secondsPerStep, compilation }: Timing): string {
  return `${(secondsPerStep * 1000).toFixed(1)} ms a step, compilation ${compilation.toFixed(1)} s`;
}

function nameOf({ subject, entry, value, seed }: Run): string {
  const { title, setting } = entryOf(entry);
  return `${SUBJECTS[subject].title}: ${title}, ${setting} ${value}, seed ${seed}`;
}

function lineOf(result: Result): string {
  const { wall, points, diverged } = result;
  const { testAccuracy } = points.at(-1)!;
  const end = diverged === undefined ? `loss ${formatLoss(finalLoss(result))}` : `diverged at ${diverged}`;
  return `${nameOf(result).padEnd(66)}  ${formatSeconds(wall).padStart(7)}  ${end}  test ${formatPercent(testAccuracy)}`;
}

/** How much is left, in runs and, once some are done, in time. */
function leftOf(choice: Choice, known: Results, jobs: number): string {
  const { runs, later } = planOf(choice, known);
  const left = [...runs, ...later];
  const seconds = secondsFor(left, known);
  const time = seconds === undefined ? "" : `, about ${formatClock(seconds / jobs)}`;
  return left.length === 0 ? "all done" : `${left.length} ${left.length === 1 ? "run" : "runs"} left${time}`;
}

/** Draws what there is. */
async function report(choice: Choice, folder: Folder): Promise<void> {
  const known = folder.known();
  const standings = choice.subjects.map((subject) => {
    const trials = (which: "usual" | "best") =>
      choice.entries.flatMap((entry) => trialOf(choice, subject, entry, which, known) ?? []);
    return { subject, title: SUBJECTS[subject].title, usual: trials("usual"), best: trials("best") };
  });
  const shown = standings.filter(({ usual }) => usual.length > 0);
  const save = async (name: string, content: string) => console.log(await folder.save(name, content));
  for (const standing of shown) await save(`${standing.subject}.svg`, lossFigure(standing));
  const sensitivities = shown.map(({ subject, title, usual }) => ({
    title,
    start: usual[0]!.results[0]!.points[0]!.trainLoss,
    all: choice.entries.flatMap((entry) => sensitivityOf(choice, subject, entry, known) ?? []),
  }));
  const swept = sensitivities.filter(({ all }) => all.length > 0);
  if (swept.length > 0) await save("sensitivity.svg", sensitivityFigure(swept));
  const tables = shown.map(({ subject, title }) => [`## ${title}`, "", ...tableOf(choice, subject, known)].join("\n"));
  if (tables.length > 0) await save("tables.md", `${tables.join("\n\n")}\n`);
}

async function compare(asked: Asked): Promise<void> {
  const { choice, task, jobs } = asked;
  const folder = new Folder(asked.out);
  const known = folder.known();
  console.log(`${folder.results}: ${leftOf(choice, known, jobs)}`);
  if (task === "list") for (const run of planOf(choice, known).runs) console.log(nameOf(run));
  else {
    checkData(choice);
    await (task === "times" ? takeTimes(choice, folder) : makeRuns(asked, folder));
  }
  await report(choice, folder);
}

try {
  const asked = readArgs(process.argv.slice(2));
  if (asked) await compare(asked);
  else console.log(USAGE);
} catch (error) {
  if (!(error instanceof OptionError)) throw error;
  console.error(error.message);
  process.exitCode = 2;
}
