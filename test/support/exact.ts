/**
 * The minimiser of a cubic model in whole numbers: doubles are whole numbers times powers of two, and fraction-free elimination
 * (E. H. Bareiss, Math. Comp. 22, 1968) rounds nothing. For small systems.
 */
import type { CubicProblem } from "../../src/nesterov/index.ts";

/** The number top / 2^shift. */
interface Dyadic {
  readonly top: bigint;
  readonly shift: number;
}

/** A minimiser, from one that is right to `BITS` bits. */
export interface ExactSolution {
  readonly r: number;
  readonly lrs: Float64Array;
  /** ‖Dη‖ < r just above the pole. */
  readonly hard: boolean;
}

/** Bits to which r is known. A part of g along the lowest eigenspace of 1e-30 of it moves r by as much from the pole. */
const BITS = 160;

/** η at an r where M(r) is positive definite, as entries `tops` over the same `bottom`, times 2^shift. */
interface ExactPoint {
  readonly tops: readonly bigint[];
  readonly bottom: bigint;
  readonly shift: number;
  /** The sign of ‖Dη‖ − r. */
  readonly excess: number;
}

/** Solves a problem that has a minimum. r is 0 if it is below the least double. */
export function exactSolution(problem: CubicProblem): ExactSolution {
  const exponent = leastExponent((power) => isAbove(problem, powerOfTwo(power)));
  let high = powerOfTwo(exponent);
  // r = (top − 1) / 2^shift is too low, top / 2^shift is not.
  for (let bit = 0; bit < BITS; bit++) {
    const middle = { top: 2n * high.top - 1n, shift: high.shift + 1 };
    high = isAbove(problem, middle) ? middle : { top: 2n * high.top, shift: high.shift + 1 };
  }
  const { tops, bottom, shift } = pointAt(problem, high)!;
  const lrs = Float64Array.from(tops, (top) => toDouble(top, bottom, shift));
  const r = toDouble(high.top, 1n, -high.shift);
  return { r, lrs, hard: Math.hypot(...lrs.map((entry, s) => entry * problem.D[s]!)) < 0.999 * r };
}

/** H_ss + ½ λ (r + more) D_s², each rounded once. */
export function exactDiagonal({ H, D, dampingInt }: CubicProblem, r: number, more: number): Float64Array {
  const root = sum(dyadic(r), dyadic(more));
  const lambda = dyadic(dampingInt);
  return D.map((entry, s) => {
    const d = dyadic(entry);
    const weight = { top: lambda.top * d.top ** 2n * root.top, shift: lambda.shift + 1 + 2 * d.shift + root.shift };
    const { top, shift } = sum(dyadic(H[s * (D.length + 1)]!), weight);
    return toDouble(top, 1n, -shift);
  });
}

/** Whether a symmetric matrix, [size, size] row-major, is positive definite. */
export function isDefinite(matrix: Float64Array): boolean {
  const size = Math.sqrt(matrix.length);
  const shift = commonShift(matrix);
  return eliminate(rowsOf(size, (s, t) => shifted(dyadic(matrix[s * size + t]!), shift))) !== undefined;
}

/** Whether r is above the root and the pole. */
function isAbove(problem: CubicProblem, r: Dyadic): boolean {
  const point = pointAt(problem, r);
  return point !== undefined && point.excess < 0;
}

/** undefined where M(r) is not positive definite. */
function pointAt({ H, g, D, dampingInt }: CubicProblem, r: Dyadic): ExactPoint | undefined {
  const size = g.length;
  const [shiftD, shiftG, lambda] = [commonShift(D), commonShift(g), dyadic(dampingInt)];
  const shiftW = lambda.shift + 1 + 2 * shiftD + r.shift;
  const shiftM = Math.max(commonShift(H), shiftW);
  const d = Array.from(D, (entry) => shifted(dyadic(entry), shiftD));
  const weight = (s: number): bigint => shifted({ top: lambda.top * d[s]! ** 2n * r.top, shift: shiftW }, shiftM);
  const rows = rowsOf(size, (s, t) => shifted(dyadic(H[s * size + t]!), shiftM) + (s === t ? weight(s) : 0n));
  rows.forEach((row, s) => {
    row.push(shifted(dyadic(g[s]!), shiftG));
  });
  const bottom = eliminate(rows);
  if (bottom === undefined) return undefined;
  const tops = rows.map((row) => row[size]!);
  const square = tops.reduce((sum, top, s) => sum + (top * d[s]!) ** 2n, 0n);
  const excess = compare(
    { top: square, shift: 2 * (shiftG + shiftD - shiftM) },
    { top: (r.top * bottom) ** 2n, shift: 2 * r.shift },
  );
  return { tops, bottom, shift: shiftM - shiftG, excess };
}

/**
 * Solves rows [A | b] in place: afterwards A is the returned determinant times the identity.
 * @returns undefined if A is not positive definite: a leading minor, which each pivot is, is not positive.
 */
function eliminate(rows: bigint[][]): bigint | undefined {
  let last = 1n;
  for (const [k, pivotRow] of rows.entries()) {
    const pivot = pivotRow[k]!;
    if (pivot <= 0n) return undefined;
    for (const row of rows) {
      if (row === pivotRow) continue;
      const factor = row[k]!;
      for (let j = k + 1; j < row.length; j++) row[j] = (pivot * row[j]! - factor * pivotRow[j]!) / last;
    }
    last = pivot;
  }
  return last;
}

function rowsOf(size: number, entry: (s: number, t: number) => bigint): bigint[][] {
  return Array.from({ length: size }, (_, s) => Array.from({ length: size }, (_, t) => entry(s, t)));
}

/** Exactly what a double is. */
function dyadic(value: number): Dyadic {
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, value);
  const exponent = (bits.getUint16(0) >> 4) & 0x7ff;
  const fraction = bits.getBigUint64(0) & (2n ** 52n - 1n);
  const size = exponent === 0 ? fraction : fraction + 2n ** 52n;
  return { top: value < 0 ? -size : size, shift: 1075 - Math.max(exponent, 1) };
}

/** The least shift at which all of these are whole. */
function commonShift(values: Float64Array): number {
  return values.reduce((most, value) => (value === 0 ? most : Math.max(most, dyadic(value).shift)), -1000);
}

/** The number times 2^to, which must be whole. */
function shifted({ top, shift }: Dyadic, to: number): bigint {
  return to >= shift ? top << BigInt(to - shift) : top >> BigInt(shift - to);
}

function compare(a: Dyadic, b: Dyadic): number {
  const shift = Math.max(a.shift, b.shift);
  const [x, y] = [shifted(a, shift), shifted(b, shift)];
  return x < y ? -1 : x > y ? 1 : 0;
}

function sum(a: Dyadic, b: Dyadic): Dyadic {
  const shift = Math.max(a.shift, b.shift);
  return { top: shifted(a, shift) + shifted(b, shift), shift };
}

function powerOfTwo(power: number): Dyadic {
  return { top: 1n, shift: -power };
}

/** The least power for which something holds that holds for all larger ones. */
function leastExponent(holds: (power: number) => boolean): number {
  let [low, high] = [-1100, 1100];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (holds(middle)) high = middle;
    else low = middle;
  }
  return high;
}

/** top / bottom · 2^shift. */
function toDouble(top: bigint, bottom: bigint, shift: number): number {
  const size = top < 0n ? -top : top;
  if (size === 0n) return 0;
  const spare = BigInt(bottom.toString(2).length - size.toString(2).length + 64);
  const quotient = spare >= 0n ? (size << spare) / bottom : size / (bottom << -spare);
  const exponent = shift - Number(spare);
  const half = Math.trunc(exponent / 2);
  return (top < 0n ? -1 : 1) * Number(quotient) * 2 ** half * 2 ** (exponent - half);
}
