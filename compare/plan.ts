import { mean } from "../bench/measure.ts";
import { optimizerEntry } from "../src/cli/optimizers.ts";
import { medianTiming, type Timing } from "./clock.ts";
import { type EntryName, entryOf, SUBJECTS, type Subject, type SubjectName } from "./entries.ts";
import { keyOf, type Result, type Run, type Times } from "./runs.ts";

/** What is to be compared. */
export interface Choice {
  readonly subjects: readonly SubjectName[];
  readonly entries: readonly EntryName[];
  readonly seeds: number;
  /** Instead of each subject's own. */
  readonly epochs?: number;
  readonly threads: number;
  /** Where CIFAR-10 lies, if not where the command looks for it. */
  readonly data?: string;
}

/** Samples of each set that are looked at. */
const LOOKED_AT = 2000;

/** The value of an entry's main setting that the command takes where none is given, if the entry has no other. */
export function usualValue(name: EntryName): number {
  const { optimizer, setting, usual } = entryOf(name);
  const { takes, suits } = optimizerEntry(optimizer);
  return usual ?? ({ ...takes, ...suits } as Readonly<Record<string, number>>)[setting]!;
}

/** The run of an entry with a value of its main setting. */
export function runOf(choice: Choice, subject: SubjectName, entry: EntryName, value: number, seed: number): Run {
  const { options: own, epochs }: Subject = SUBJECTS[subject];
  const { optimizer, setting, options: others } = entryOf(entry);
  const options = {
    ...own,
    ...(choice.data !== undefined && own.dataset !== undefined && { data: choice.data }),
    optimizer,
    [setting]: String(value),
    ...others,
    epochs: String(choice.epochs ?? epochs),
    seed: String(seed),
    threads: String(choice.threads),
    "eval-samples": String(LOOKED_AT),
  };
  const args = Object.entries(options).flatMap(([name, text]) => [`--${name}`, text]);
  return { subject, entry, value, seed, args };
}

/** What is known of runs, by their command lines. */
export class Results {
  readonly #all: ReadonlyMap<string, Result>;
  readonly #timings: ReadonlyMap<string, Timing>;

  constructor(results: readonly Result[] = [], timings: Times["timings"] = []) {
    this.#all = new Map(results.map((result) => [keyOf(result), result]));
    this.#timings = new Map(timings.map((timing) => [keyOf(timing), medianTiming(timing.rounds)]));
  }

  get all(): readonly Result[] {
    return [...this.#all.values()];
  }

  of(run: Run): Result | undefined {
    return this.#all.get(keyOf(run));
  }

  timingOf(run: Run): Timing | undefined {
    return this.#timings.get(keyOf(run));
  }
}

/** The loss on training samples that a run ends with; infinite where it diverged. */
export function finalLoss({ points, diverged }: Result): number {
  return diverged === undefined ? points.at(-1)!.trainLoss : Number.POSITIVE_INFINITY;
}

/** The results of an entry's whole grid with the first seed; undefined where some are missing. */
export function gridResults(
  choice: Choice,
  subject: SubjectName,
  entry: EntryName,
  results: Results,
): readonly Result[] | undefined {
  const found = entryOf(entry).grid.map((value) => results.of(runOf(choice, subject, entry, value, 0)));
  return found.every((result) => result !== undefined) ? found : undefined;
}

/** The value of the grid with which the training loss ends lowest, with the first seed; undefined where some runs are missing. */
export function bestValue(
  choice: Choice,
  subject: SubjectName,
  entry: EntryName,
  results: Results,
): number | undefined {
  const grid = gridResults(choice, subject, entry, results);
  return grid?.reduce((best, result) => (finalLoss(result) < finalLoss(best) ? result : best)).value;
}

/** The runs whose steps are timed: each entry's with its usual and its best value, so far as that is known. */
export function timedRuns(choice: Choice, results: Results): Run[] {
  return choice.subjects.flatMap((subject) =>
    choice.entries.flatMap((entry) => {
      const values = new Set([usualValue(entry), bestValue(choice, subject, entry, results) ?? usualValue(entry)]);
      return [...values].map((value) => runOf(choice, subject, entry, value, 0));
    }),
  );
}

/** What is left to run, in this order, and how many more runs there will be once all grids are known. */
export interface Plan {
  readonly runs: readonly Run[];
  /** For each, a run that stands for those that nobody can name yet. */
  readonly later: readonly Run[];
}

/**
 * What is left to run: first every entry's usual setting, then the grids, all with the first seed; then the usual and the
 * best settings with the other seeds.
 */
export function planOf(choice: Choice, results: Results): Plan {
  const pairs = choice.subjects.flatMap((subject) => choice.entries.map((entry) => [subject, entry] as const));
  const others = Array.from({ length: choice.seeds - 1 }, (_, i) => i + 1);
  const usual = (seed: number): Run[] =>
    pairs.map(([subject, entry]) => runOf(choice, subject, entry, usualValue(entry), seed));
  const grids = pairs.flatMap(([subject, entry]) =>
    entryOf(entry).grid.map((value) => runOf(choice, subject, entry, value, 0)),
  );
  const best = pairs.flatMap(([subject, entry]) => {
    const value = bestValue(choice, subject, entry, results);
    return value === undefined ? [] : others.map((seed) => runOf(choice, subject, entry, value, seed));
  });
  const all = [...usual(0), ...grids, ...others.flatMap(usual), ...best];
  const missing = new Map(all.filter((run) => !results.of(run)).map((run) => [keyOf(run), run]));
  const unknown = pairs.filter(([subject, entry]) => bestValue(choice, subject, entry, results) === undefined);
  const later = unknown.flatMap(([subject, entry]) =>
    others.map((seed) => runOf(choice, subject, entry, usualValue(entry), seed)),
  );
  return { runs: [...missing.values()], later };
}

/** About how many seconds of one job these runs will take, from those that are done; undefined as long as there are none. */
export function secondsFor(runs: readonly Run[], { all: done }: Results): number | undefined {
  if (done.length === 0) return undefined;
  return runs.reduce((sum, run) => {
    const alike = [
      done.filter(({ subject, entry }) => subject === run.subject && entry === run.entry),
      done.filter(({ subject }) => subject === run.subject),
      done,
    ];
    return sum + mean(alike.find((results) => results.length > 0)!.map(({ wall }) => wall));
  }, 0);
}
