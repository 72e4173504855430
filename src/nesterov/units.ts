import type { CubicProblem } from "./problem.ts";

/** A problem in units of its own, all powers of two: nothing is rounded, and little can overflow on the way to η. */
export interface InUnits {
  readonly problem: CubicProblem;
  /** η_s is 2^lrs[s] times that of `problem`. */
  readonly lrs: readonly number[];
  /** r is 2^r times that of `problem`. */
  readonly r: number;
  /** Whether g was so far below H that it is larger in `problem` than it is: of the size of {@link FAINTEST}. */
  readonly raised: boolean;
}

/**
 * The power of two below which products with g would lose digits. Where H is not positive definite, so small a g says on which side of
 * the saddle the minimiser lies, and no more; one of this size says the same.
 */
export const FAINTEST = -900;

/**
 * Multiplies each group's direction so that D is near 1, or where D is 0 the diagonal of H near the largest entry; then η and
 * the model's value so that two of H, g and λ are near 1 and none is above.
 * @param definite whether H is positive definite: then η is of the size of Newton's step, and else r of that of the pole.
 */
export function inUnits(problem: CubicProblem, definite: boolean): InUnits {
  const { H, g, D, dampingInt } = problem;
  const size = g.length;
  const directions = directionUnits(problem);
  const pairs = Array.from(H, (_, i) => directions[Math.floor(i / size)]! + directions[i % size]!);
  const slope = largest(g, directions);
  const { step, value } = modelUnits(largest(H, pairs), slope, exponent(dampingInt), definite);
  const raise = definite ? 0 : Math.max(0, finite(FAINTEST - (slope + step - value)));
  return {
    problem: {
      H: H.map((entry, i) => timesPower(entry, pairs[i]! + 2 * step - value)),
      g: g.map((entry, s) => timesPower(entry, directions[s]! + step - value + raise)),
      D: D.map((entry, s) => timesPower(entry, directions[s]!)),
      dampingInt: timesPower(dampingInt, 3 * step - value),
    },
    lrs: directions.map((direction) => direction + step),
    r: step,
    raised: raise > 0,
  };
}

/** By which power of two each group's direction is multiplied. */
function directionUnits({ H, g, D }: CubicProblem): number[] {
  const size = g.length;
  const held = Array.from(D, (entry) => (entry === 0 ? Number.NEGATIVE_INFINITY : -exponent(entry)));
  const pairs = Array.from(H, (_, i) => held[Math.floor(i / size)]! + held[i % size]!);
  const level = finite(largest(H, pairs));
  return held.map((power, s) =>
    Number.isFinite(power) ? power : Math.round((level - finite(exponent(H[s * (size + 1)]!))) / 2),
  );
}

/** By which powers of two η and the model's value are multiplied, from those in H, g and λ. */
function modelUnits(H: number, g: number, lambda: number, definite: boolean): { step: number; value: number } {
  if (g + lambda > 2 * H) {
    const step = Math.round((g - lambda) / 2);
    return { step, value: g + step };
  }
  const step = finite(definite ? g - H : H - lambda);
  return { step, value: finite(H) + 2 * step };
}

/** The power of two in the largest of some values, each times a power of two. */
function largest(values: Float64Array, powers: readonly number[]): number {
  return values.reduce((most, value, i) => Math.max(most, exponent(value) + powers[i]!), Number.NEGATIVE_INFINITY);
}

/** ⌊log₂|value|⌋, or −∞. */
function exponent(value: number): number {
  return Math.floor(Math.log2(Math.abs(value)));
}

function finite(power: number): number {
  return Number.isFinite(power) ? power : 0;
}

/** The largest power of two taken at once. */
const MOST = 1000;

/** value · 2^power, even where 2^power is no double. */
export function timesPower(value: number, power: number): number {
  if (Math.abs(power) <= MOST) return value * 2 ** power;
  const part = Math.sign(power) * MOST;
  return timesPower(value * 2 ** part, power - part);
}
