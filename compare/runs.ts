import type { Timing } from "./clock.ts";
import type { EntryName, SubjectName } from "./entries.ts";

/** One training run: all that its result is filed under. */
export interface Run {
  readonly subject: SubjectName;
  readonly entry: EntryName;
  /** Of the entry's main setting. */
  readonly value: number;
  readonly seed: number;
  /** The command line of `grnewt train` that says all of it. */
  readonly args: readonly string[];
}

/** What tells a run from all others, wherever its data lie. */
export function keyOf({ args }: Pick<Run, "args">): string {
  return args.filter((arg, i) => arg !== "--data" && args[i - 1] !== "--data").join(" ");
}

/** How a model stood after some steps of a run, on the same samples each time. */
export interface Point {
  readonly step: number;
  readonly epoch: number;
  readonly trainLoss: number;
  readonly testLoss: number;
  readonly testAccuracy: number;
}

/** What came of a run. */
export interface Outcome {
  /** From the start on. */
  readonly points: readonly Point[];
  /** Seconds in all, beside whatever else ran: good for nothing but to say how long the others will take. */
  readonly wall: number;
  /** Why it ended early, where a loss or a step was NaN or infinite. */
  readonly diverged?: string;
}

/** A run that is done, as a line of the results. */
export interface Result extends Run, Outcome {
  readonly machine: Readonly<Record<string, string>>;
}

/** What a process of its own is asked for: the outcome of a run or, with a cycle, the time of its first steps. */
export interface Request {
  readonly args: readonly string[];
  /** Steps after which the work repeats. */
  readonly cycle?: number;
}

/** The times of all steps that the tables show, on one machine. */
export interface Times {
  readonly machine: Readonly<Record<string, string>>;
  readonly timings: readonly { readonly args: Run["args"]; readonly rounds: readonly Timing[] }[];
}
