/**
 * Measures the speed and the memory of what the package computes, beside others: `npm run bench -- --help`.
 * Every measurement is made in a process of its own, in turn over some rounds; the order of the rows alternates.
 */
import { writeFile } from "node:fs/promises";
import { describeOptions, flag, listed, type OptionTable, parseOptions, text, whole } from "../src/cli/options.ts";
import { TextTable } from "../src/cli/table.ts";
import { OptionError } from "../src/util/errors.ts";
import { machineFacts, warnIfBusy } from "./machine.ts";
import { median } from "./measure.ts";
import { TITLES } from "./peer-suites.ts";
import { findPeers, Peers } from "./peers.ts";
import { buildCase, runCase } from "./processes.ts";
import type { Measurement } from "./request.ts";
import { isUseless, type Measured, resultsOf, tableOf } from "./results.ts";
import type { Row, Tools } from "./rows.ts";
import { ON_REQUEST, rowsOf, SUITES, type SuiteName } from "./suites.ts";

const NAMES = Object.keys(SUITES) as SuiteName[];
const OPTIONS = {
  threads: { value: "N,…", help: "numbers of threads", otherwise: "all; 1 and all in step-peers", read: threadList },
  only: { value: "TEXT", help: "only rows that have this in their name, such as lenet", read: text },
  rounds: { value: "N", help: "fresh processes for each row", otherwise: "3, or 1 with --quick", read: whole(1) },
  patience: {
    value: "MINUTES",
    help: "for one measurement of a peer, then it is ended",
    otherwise: "15, or 2 with --quick",
    read: whole(1),
  },
  tuned: { help: "ours with what `tune` chooses first, for each row anew", read: flag },
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
  readonly only: string | undefined;
  readonly rounds: number;
  readonly patience: number;
  readonly tuned: boolean;
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
    only: options.only,
    rounds: options.rounds ?? (quick ? 1 : 3),
    patience: options.patience ?? (quick ? 2 : 15),
    tuned: options.tuned ?? false,
    quick,
    python: options.python ?? process.env.PYTHON ?? "python3",
    json: options.json,
  };
}

/** The rows that can be measured here; says which peers are not there, and adds the versions of the others. */
async function rowsHere(plan: Plan, machine: Record<string, string>): Promise<Row[]> {
  const rows = rowsOf(plan.suites, plan).filter(({ name }) => name.includes(plan.only ?? ""));
  if (rows.length === 0) throw new OptionError(`no row of ${listed(plan.suites, "or")} has ${plan.only} in its name`);
  const ways = new Set(rows.flatMap(({ way }) => way ?? []));
  if (ways.size === 0) return rows;
  const { versions, missing } = await findPeers(plan.python);
  Object.assign(machine, versions);
  for (const way of ways) if (missing.has(way)) console.log(`LEFT OUT: ${TITLES[way]}, since ${missing.get(way)}`);
  return rows.filter(({ way }) => way === undefined || !missing.has(way));
}

/** Measures every row in every round, backwards in every second one; what failed once is not tried again. */
async function measureAll(rows: readonly Row[], rounds: number, using: Tools): Promise<Measured[]> {
  const measurements = new Map(rows.map((row): [Row, Measurement[]] => [row, []]));
  for (let round = 0; round < rounds; round++)
    for (const row of round % 2 === 0 ? rows : [...rows].reverse()) {
      const known = measurements.get(row)!;
      if (known.some(isUseless)) continue;
      const measurement = await row.measure(using).catch((error: Error) => ({ blocks: [], failure: error.message }));
      known.push(measurement);
      console.error(`round ${round + 1} of ${rounds}: ${row.name}: ${briefly(measurement)}`);
    }
  return rows.map((row) => ({ row, measurements: measurements.get(row)! }));
}

/** What is shown of a measurement while others go on. */
function briefly({ blocks, failure }: Measurement): string {
  return failure ?? `${median(blocks.flatMap(({ times }) => times)).toPrecision(3)} ms`;
}

async function run(plan: Plan): Promise<void> {
  const machine = machineFacts();
  warnIfBusy(machine);
  const rows = await rowsHere(plan, machine);
  console.log(
    Object.entries(machine)
      .map(([name, value]) => `${name} ${value}`)
      .join(", "),
  );
  const file = await buildCase(import.meta.dirname);
  const peers = await Peers.create(plan.python, file, plan.patience);
  const measured = await measureAll(rows, plan.rounds, {
    ours: (request) => runCase(file, request),
    peer: (way, task) => peers.measure(way, task),
  }).finally(() => peers.dispose());
  const results = resultsOf(measured);
  console.log(new TextTable(tableOf(results).map((cells) => cells.map((cell) => ({ text: cell })))).lines.join("\n"));
  // A peer may fail, ours may not.
  if (measured.some(({ row, measurements }) => row.way === undefined && measurements.some(isUseless)))
    process.exitCode = 1;
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
