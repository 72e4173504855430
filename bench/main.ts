/**
 * Measures the speed and the memory of forward passes, training steps, summaries and epochs: `npm run bench -- --help`.
 * Every measurement is made in a process of its own, in turn over some rounds; the order of the rows alternates.
 */
import { writeFile } from "node:fs/promises";
import { describeOptions, flag, listed, type OptionTable, parseOptions, text, whole } from "../src/cli/options.ts";
import { TextTable } from "../src/cli/table.ts";
import { OptionError } from "../src/util/errors.ts";
import { machineFacts, warnIfBusy } from "./machine.ts";
import { compareWithPytorch, pytorchVersion } from "./peers.ts";
import { buildCase, runCase, runPython } from "./processes.ts";
import type { Block, Measurement } from "./request.ts";
import { type Measured, resultsOf, tableOf } from "./results.ts";
import { ON_REQUEST, PEERS, type Row, rowsOf, SUITES, type SuiteName, type Tools } from "./suites.ts";

const NAMES = Object.keys(SUITES) as SuiteName[];
const OPTIONS = {
  threads: { value: "N,…", help: "numbers of threads", otherwise: "all; 1 and all beside PyTorch", read: threadList },
  rounds: { value: "N", help: "fresh processes for each row", otherwise: "3, or 1 with --quick", read: whole(1) },
  quick: { help: "fewer rounds and runs", read: flag },
  python: { value: "PATH", help: "a Python with PyTorch", otherwise: "$PYTHON, or python3", read: text },
  json: { value: "FILE", help: "where to write all raw values", read: text },
  help: { help: "show this", read: flag },
} as const satisfies OptionTable;

const USAGE = `npm run bench -- [${NAMES.join("] [")}]

Without a suite's name, all run but ${listed([...ON_REQUEST])}.

${describeOptions({ options: OPTIONS }, 100)}`;

function threadList(value: string, name: string): number[] {
  return value.split(",").map((part) => whole(1)(part, name));
}

/** What was asked for. */
interface Plan {
  readonly suites: readonly SuiteName[];
  readonly threads: readonly number[] | undefined;
  readonly rounds: number;
  readonly quick: boolean;
  readonly python: string;
  readonly json: string | undefined;
}

function planOf(args: readonly string[]): Plan | undefined {
  const { options, positionals } = parseOptions(OPTIONS, args);
  if (options.help) return undefined;
  const unknown = positionals.find((name) => !NAMES.includes(name as SuiteName));
  if (unknown !== undefined) throw new OptionError(`unknown suite ${unknown}; it is ${listed(NAMES)}`);
  const quick = options.quick ?? false;
  return {
    suites: positionals.length > 0 ? (positionals as SuiteName[]) : NAMES.filter((name) => !ON_REQUEST.has(name)),
    threads: options.threads,
    rounds: options.rounds ?? (quick ? 1 : 3),
    quick,
    python: options.python ?? process.env.PYTHON ?? "python3",
    json: options.json,
  };
}

/** The suites that can run here: without PyTorch there is nothing beside it. */
async function possible({ suites, python }: Plan, machine: Record<string, string>): Promise<readonly SuiteName[]> {
  const beside = suites.filter(needsPytorch);
  if (beside.length === 0) return suites;
  try {
    machine.pytorch = await pytorchVersion(python);
  } catch (error) {
    console.log(`${listed(beside, "and")}: left out, since ${python} has no PyTorch: ${(error as Error).message}`);
    return suites.filter((suite) => !needsPytorch(suite));
  }
  const kinds = beside.flatMap((suite) => PEERS[suite]);
  for (const line of await compareWithPytorch(python, kinds)) console.log(`the same steps in PyTorch, ${line}`);
  return suites;
}

function needsPytorch(suite: SuiteName): suite is keyof typeof PEERS {
  return suite in PEERS;
}

async function tools(python: string): Promise<Tools> {
  const file = await buildCase(import.meta.dirname);
  return {
    ours: (request) => runCase(file, request),
    pytorch: async (request) => ({ blocks: await runPython<Block[]>(python, { task: "time", request }) }),
  };
}

/** Measures every row in every round, backwards in every second one. */
async function measureAll(rows: readonly Row[], rounds: number, using: Tools): Promise<Measured[]> {
  const measurements = new Map(rows.map((row): [Row, Measurement[]] => [row, []]));
  for (let round = 0; round < rounds; round++)
    for (const row of round % 2 === 0 ? rows : [...rows].reverse()) {
      console.error(`round ${round + 1} of ${rounds}: ${row.name}`);
      measurements.get(row)!.push(await row.measure(using));
    }
  return rows.map((row) => ({ row, measurements: measurements.get(row)! }));
}

async function run(plan: Plan): Promise<void> {
  const machine = machineFacts();
  warnIfBusy(machine);
  const suites = await possible(plan, machine);
  console.log(
    Object.entries(machine)
      .map(([name, value]) => `${name} ${value}`)
      .join(", "),
  );
  const measured = await measureAll(rowsOf(suites, plan), plan.rounds, await tools(plan.python));
  const results = resultsOf(measured);
  console.log(new TextTable(tableOf(results).map((cells) => cells.map((cell) => ({ text: cell })))).lines.join("\n"));
  const raw = measured.map(({ row, measurements }) => ({ name: row.name, measurements }));
  if (plan.json !== undefined) await writeFile(plan.json, JSON.stringify({ machine, results, raw }, undefined, 1));
}

try {
  const plan = planOf(process.argv.slice(2));
  if (plan) await run(plan);
  else console.log(USAGE);
} catch (error) {
  if (!(error instanceof OptionError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
