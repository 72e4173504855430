/** How near an array must come. */
export interface Bar {
  /** Of the error relative to `scale`. */
  readonly bound: number;
  /** The largest expected entry if it is left out. */
  readonly scale?: number;
}

/** What the checks of one file found. */
export class Report {
  /** The worst relative error of each engine. */
  readonly worst: Map<string, number> = new Map();
  readonly failures: string[] = [];
  /** What could not be checked, each with the feature that is missing. */
  readonly skips: string[] = [];

  /** Compares an array, entry by entry. */
  compare(engine: string, what: string, actual: ArrayLike<number>, expected: ArrayLike<number>, bar: Bar): void {
    if (actual.length !== expected.length) {
      this.failures.push(`${engine}: ${what}: expected ${expected.length} entries, found ${actual.length}`);
      return;
    }
    const { at, error } = worstEntry(actual, expected, bar.scale ?? largest(expected));
    this.worst.set(engine, Math.max(this.worst.get(engine) ?? 0, error));
    if (error > bar.bound)
      this.failures.push(
        `${engine}: ${what}[${at}] is ${actual[at]}, expected ${expected[at]}: relative error ${error.toExponential(1)}, bound ${bar.bound.toExponential(0)}`,
      );
  }

  /** Notes a failure unless a condition holds. */
  require(condition: boolean, failure: string): void {
    if (!condition) this.failures.push(failure);
  }
}

/** The largest magnitude. */
export function largest(values: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < values.length; i++) most = Math.max(most, Math.abs(values[i]!));
  return most;
}

/** The entry that is furthest off in units of `scale`; a NaN is infinitely far. */
function worstEntry(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  scale: number,
): { at: number; error: number } {
  let worst = { at: 0, error: 0 };
  for (let at = 0; at < expected.length; at++) {
    const difference = Math.abs(actual[at]! - expected[at]!);
    const error = difference === 0 ? 0 : difference / scale;
    if (!(error <= worst.error)) worst = { at, error: Number.isNaN(error) ? Number.POSITIVE_INFINITY : error };
  }
  return worst;
}
