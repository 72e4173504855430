/**
 * Compares NewtonSummary with other optimisers, each with its usual settings and with the best of a few: `npm run compare -- --help`.
 * Every run is made in a process of its own, and kept in a file: what is done is not run again.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { machineFacts, warnIfBusy } from "../bench/machine.ts";
import { buildCase, runCase } from "../bench/processes.ts";
import { describeOptions, flag, listed, type OptionTable, parseOptions, text, whole } from "../src/cli/options.ts";
import { formatClock, formatLoss, formatPercent, formatSeconds } from "../src/report/index.ts";
import { OptionError } from "../src/util/errors.ts";
import { ENTRIES, entryOf, SUBJECTS } from "./entries.ts";
import { lossFigure, sensitivityFigure } from "./figures.ts";
import { type Choice, finalLoss, planOf, Results, secondsFor } from "./plan.ts";
import type { Outcome, Result, Run } from "./runs.ts";
import { sensitivityOf, tableOf, trialOf } from "./summary.ts";

const OPTIONS = {
  model: { value: "NAME,…", help: listed(Object.keys(SUBJECTS)), otherwise: "all", read: someOf(SUBJECTS) },
  optimizer: { value: "NAME,…", help: listed(Object.keys(ENTRIES)), otherwise: "all", read: someOf(ENTRIES) },
  seeds: { value: "N", help: "runs with the usual and with the best settings", otherwise: "3", read: whole(1) },
  epochs: { value: "N", help: "times to go through the data", otherwise: "perceptron 3, lenet 5", read: whole(1) },
  threads: { value: "N", help: "of ONNX Runtime", otherwise: "all of this machine's", read: whole(1) },
  data: { value: "DIR", help: "the folder of CIFAR-10's binary version", otherwise: "data/cifar10", read: text },
  out: { value: "DIR", help: "where results are, and what is drawn from them", otherwise: "runs/compare", read: text },
  list: { help: "only say what is left to run, and draw what there is", read: flag },
  help: { help: "show this", read: flag },
} as const satisfies OptionTable;

const USAGE = `npm run compare -- [options]

Trains models with every optimiser, with its usual setting and the others of a small grid, and again with the usual and the best
one for more seeds. The results grow in a file; it can be stopped at any time, and goes on where it was.

${describeOptions({ options: OPTIONS }, 100)}`;

function someOf<Name extends string>(table: Readonly<Record<Name, unknown>>): (value: string, name: string) => Name[] {
  const known = Object.keys(table) as Name[];
  return (value, name) =>
    value.split(",").map((part) => {
      if (known.includes(part as Name)) return part as Name;
      throw new OptionError(`--${name} must be ${listed(known)}; found "${part}"`);
    });
}

/** What was asked for. */
interface Request {
  readonly choice: Choice;
  readonly out: string;
  readonly list: boolean;
}

function requestOf(args: readonly string[]): Request | undefined {
  const { options, positionals } = parseOptions(OPTIONS, args);
  if (options.help) return undefined;
  if (positionals[0] !== undefined) throw new OptionError(`compare takes options only; found "${positionals[0]}"`);
  const { model, optimizer, seeds = 3, epochs, threads = availableParallelism(), data } = options;
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
    list: options.list ?? false,
  };
}

/** The lines of a file of results; a last one that was cut off is taken away. */
function readResults(file: string): Result[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").split("\n");
  if (lines.pop() !== "") writeFileSync(file, lines.map((line) => `${line}\n`).join(""));
  return lines.map((line) => JSON.parse(line) as Result);
}

/** Makes all runs that are left, one after the other. */
async function runAll(choice: Choice, file: string, done: Result[]): Promise<void> {
  const machine = machineFacts();
  warnIfBusy(machine);
  const program = await buildCase(import.meta.dirname);
  const results = new Results(done);
  for (let plan = planOf(choice, results); plan.runs.length > 0; plan = planOf(choice, results)) {
    const [run] = plan.runs as [Run, ...Run[]];
    const result: Result = { ...run, ...(await runCase<Outcome>(program, run)), machine };
    appendFileSync(file, `${JSON.stringify(result)}\n`);
    results.add(result);
    done.push(result);
    console.log(`${lineOf(result)}  ${leftOf(choice, results, done)}`);
  }
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
function leftOf(choice: Choice, results: Results, done: readonly Result[]): string {
  const { runs, later } = planOf(choice, results);
  const left = [...runs, ...later];
  const seconds = secondsFor(left, done);
  const time = seconds === undefined ? "" : `, about ${formatClock(seconds)}`;
  return left.length === 0 ? "all done" : `${left.length} ${left.length === 1 ? "run" : "runs"} left${time}`;
}

/** Draws what there is. */
function report(choice: Choice, out: string, done: readonly Result[]): void {
  const results = new Results(done);
  const standings = choice.subjects.map((subject) => {
    const trials = (which: "usual" | "best") =>
      choice.entries.flatMap((entry) => trialOf(choice, subject, entry, which, results) ?? []);
    return { subject, title: SUBJECTS[subject].title, usual: trials("usual"), best: trials("best") };
  });
  const shown = standings.filter(({ usual }) => usual.length > 0);
  for (const standing of shown) save(join(out, `${standing.subject}.svg`), lossFigure(standing));
  const sensitivities = shown.map(({ subject, title, usual }) => ({
    title,
    start: usual[0]!.results[0]!.points[0]!.trainLoss,
    all: choice.entries.flatMap((entry) => sensitivityOf(choice, subject, entry, results) ?? []),
  }));
  const swept = sensitivities.filter(({ all }) => all.length > 0);
  if (swept.length > 0) save(join(out, "sensitivity.svg"), sensitivityFigure(swept));
  const tables = shown.map(({ subject, title }) =>
    [`## ${title}`, "", ...tableOf(choice, subject, results)].join("\n"),
  );
  if (tables.length > 0) save(join(out, "tables.md"), `${tables.join("\n\n")}\n`);
}

function save(file: string, content: string): void {
  writeFileSync(file, content);
  console.log(file);
}

async function compare({ choice, out, list }: Request): Promise<void> {
  mkdirSync(out, { recursive: true });
  const file = join(out, "results.jsonl");
  const done = readResults(file);
  const results = new Results(done);
  console.log(`${file}: ${leftOf(choice, results, done)}`);
  if (list) for (const run of planOf(choice, results).runs) console.log(nameOf(run));
  else await runAll(choice, file, done);
  report(choice, out, done);
}

try {
  const request = requestOf(process.argv.slice(2));
  if (request) await compare(request);
  else console.log(USAGE);
} catch (error) {
  if (!(error instanceof OptionError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
