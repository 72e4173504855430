import { Accumulator, type Double2 } from "./double2.ts";

/** The symmetric matrix base + diag(shift); `base` is [size, size], row-major. */
export interface ShiftedMatrix {
  readonly size: number;
  readonly base: Float64Array;
  readonly shift: readonly Double2[];
}

/** The diagonal, rounded once: base and shift may cancel. */
export function diagonal({ size, base, shift }: ShiftedMatrix): Float64Array {
  return Float64Array.from({ length: size }, (_, s) => base[s * size + s]! + shift[s]!.hi + shift[s]!.lo);
}

/** b − (base + diag(shift)) x, each entry summed to about 32 digits and then rounded. */
export function residual(matrix: ShiftedMatrix, x: Float64Array, b: Float64Array): Float64Array {
  const { size, base, shift } = matrix;
  const out = new Float64Array(size);
  for (let s = 0; s < size; s++) {
    const row = new Accumulator(b[s]!);
    for (let t = 0; t < size; t++) row.subtract(base[s * size + t]!, x[t]!);
    row.subtract(shift[s]!.hi, x[s]!);
    row.subtract(shift[s]!.lo, x[s]!);
    out[s] = row.value;
  }
  return out;
}

/** Every correction is at most half the last one, so that this many always reach full precision, in the small entries too. */
const MAX_REFINEMENTS = 60;

/** Where corrections in doubles stop shrinking above this, the matrix is singular to rounding. */
export const REFINED = 1e-13;

/** A solution, and whether corrections shrank as far as they should. */
export interface Refined {
  readonly x: Float64Array;
  readonly settled: boolean;
}

/**
 * Solves (base + diag(shift)) x = b by iterative refinement with residuals in twice the precision: x is right to its
 * last digits as long as `solve` gets one digit right (Wilkinson; N. J. Higham, *Accuracy and Stability of Numerical
 * Algorithms*, ch. 12).
 * @param solve an approximate solver.
 * @param scale positive weights that make the entries of x comparable, [size].
 * @param tolerance of the last correction, relative to x.
 */
export function refine(
  matrix: ShiftedMatrix,
  b: Float64Array,
  solve: (b: Float64Array) => Float64Array,
  scale: Float64Array,
  tolerance: number,
): Refined {
  const x = solve(b);
  let last = Number.POSITIVE_INFINITY;
  for (let i = 0; i < MAX_REFINEMENTS; i++) {
    const correction = solve(residual(matrix, x, b));
    const size = relativeSize(correction, x, scale);
    if (!(size <= last / 2)) break;
    for (let s = 0; s < x.length; s++) x[s]! += correction[s]!;
    last = size;
    if (size === 0) break;
  }
  return { x, settled: last <= tolerance };
}

function relativeSize(correction: Float64Array, x: Float64Array, scale: Float64Array): number {
  const size = weightedNorm(correction, scale);
  return size === 0 ? 0 : size / weightedNorm(x, scale);
}

/** ‖diag(scale) x‖₂, of entries of any size. */
export function weightedNorm(x: Float64Array, scale: Float64Array): number {
  let most = 0;
  for (let s = 0; s < x.length; s++) most = Math.max(most, Math.abs(scale[s]! * x[s]!));
  if (most === 0) return 0;
  let sum = 0;
  for (let s = 0; s < x.length; s++) sum += ((scale[s]! * x[s]!) / most) ** 2;
  return most * Math.sqrt(sum);
}

/** xᵀy. */
export function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0;
  for (let s = 0; s < x.length; s++) sum += x[s]! * y[s]!;
  return sum;
}

/** A direction that no other is orthogonal to but by accident. */
export function anyDirection(size: number): Float64Array {
  return Float64Array.from({ length: size }, (_, s) => Math.sin(12.9898 * (s + 1)));
}
