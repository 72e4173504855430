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

/** How a model stood at some time in a run, on the same samples each time. */
export interface Point {
  readonly epoch: number;
  /** Of training, without evaluations and compilation. */
  readonly seconds: number;
  readonly trainLoss: number;
  readonly testLoss: number;
  readonly testAccuracy: number;
}

/** What came of a run. */
export interface Outcome {
  /** From the start on. */
  readonly points: readonly Point[];
  /** Seconds of compilation, which are in no point. */
  readonly compilation: number;
  /** Seconds in all. */
  readonly wall: number;
  /** Why it ended early, where a loss or a step was NaN or infinite. */
  readonly diverged?: string;
}

/** A run that is done, as a line of the results. */
export interface Result extends Run, Outcome {
  readonly machine: Readonly<Record<string, string>>;
}
