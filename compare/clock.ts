import { mean, median } from "../bench/measure.ts";

/** Samples that the time of a step is taken from, at least. */
const SAMPLES = 4000;

/** What a step takes, and what compilation took beside it. */
export interface Timing {
  readonly secondsPerStep: number;
  readonly compilation: number;
}

/** How often to go through a cycle of steps: once to compile, then twice or more to time them. */
export function cyclesToTake(cycle: number, batchSize: number): number {
  return 1 + Math.max(2, Math.ceil(SAMPLES / (cycle * batchSize)));
}

/** From the seconds of some cycles: programs are compiled in the first one, which is what it takes beyond the others. */
export function timingOf([first, ...others]: readonly number[], cycle: number): Timing {
  const usual = mean(others);
  return { secondsPerStep: usual / cycle, compilation: Math.max(0, first! - usual) };
}

/** The medians of some rounds. */
export function medianTiming(rounds: readonly Timing[]): Timing {
  const of = (what: keyof Timing): number => median(rounds.map((round) => round[what]));
  return { secondsPerStep: of("secondsPerStep"), compilation: of("compilation") };
}
