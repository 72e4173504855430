import { median } from "../bench/measure.ts";

/** How long a step took, and what it had to do beside stepping. */
export interface TimedStep {
  readonly seconds: number;
  readonly summary: boolean;
}

/** The time of steps apart from that of compilation. */
export interface Times {
  /** Seconds until the end of each step. */
  readonly until: readonly number[];
  readonly compilation: number;
}

/**
 * Programs are compiled at the first step of each kind, with a summary or without: what that takes beyond the median of
 * its kind is the compilation.
 */
export function timesOf(steps: readonly TimedStep[]): Times {
  const seconds = steps.map((step) => step.seconds);
  let compilation = 0;
  for (const kind of [true, false]) {
    const first = steps.findIndex(({ summary }) => summary === kind);
    const others = steps.filter(({ summary }, i) => summary === kind && i !== first);
    if (others.length === 0) continue;
    const usual = Math.min(seconds[first]!, median(others.map((step) => step.seconds)));
    compilation += seconds[first]! - usual;
    seconds[first] = usual;
  }
  let sum = 0;
  const until = seconds.map((each) => {
    sum += each;
    return sum;
  });
  return { until, compilation };
}
