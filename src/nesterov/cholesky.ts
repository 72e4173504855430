import { ZERO } from "./double2.ts";
import { anyDirection, diagonal, dot, REFINED, type Refined, refine, type ShiftedMatrix } from "./matrix.ts";

/** A positive definite matrix M, factorised. */
export interface DefiniteFactor {
  readonly definite: true;
  /** M⁻¹ b, as the factors give it. */
  roughSolve(b: Float64Array): Float64Array;
  /** M⁻¹ b, refined. */
  solve(b: Float64Array): Refined;
  /** bᵀ M⁻¹ b. */
  inverseForm(b: Float64Array): number;
}

/** A matrix M that is not positive definite, as far as the arithmetic can tell. */
export interface IndefiniteFactor {
  readonly definite: false;
  /** Whether `direction`ᵀ M `direction` is below 0 beyond rounding. */
  readonly certain: boolean;
  readonly direction: Float64Array;
}

export type Factor = DefiniteFactor | IndefiniteFactor;

/** A pivot of the scaled matrix below this, times its size, is rounding. */
const PIVOT_TOLERANCE = 2 * Number.EPSILON;

/** An inverse as large as this, divided by the size, is rounding. */
const LARGEST_INVERSE = 1 / (8 * Number.EPSILON);

/**
 * Factorises a symmetric matrix, scaled to a diagonal near 1, by Cholesky. With that scaling "positive definite" is decided
 * as well as the entries allow, however widely the diagonal ranges (A. van der Sluis, Numer. Math. 14, 1969;
 * N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, ch. 10).
 */
export function factorise(matrix: ShiftedMatrix): Factor {
  const { size, base } = matrix;
  const diag = diagonal(matrix);
  const flat = notPositive(diag);
  if (flat) return flat;
  const scale = unitScale(diag);
  const lower = new Float64Array(size * size);
  for (let s = 0; s < size; s++) {
    for (let t = 0; t < s; t++) {
      const entry = base[s * size + t]! * scale[s]! * scale[t]!;
      lower[s * size + t] = (entry - rowProduct(lower, size, s, t)) / lower[t * size + t]!;
    }
    const pivot = diag[s]! * scale[s]! ** 2 - rowProduct(lower, size, s, s);
    if (!(pivot > size * PIVOT_TOLERANCE)) return indefinite(descent(lower, size, s), pivot, scale);
    lower[s * size + s] = Math.sqrt(pivot);
  }
  const half = (b: Float64Array): Float64Array => forward(lower, b);
  const solve = (b: Float64Array): Float64Array => backward(lower, half(b));
  const lean = leanDirection(solve, size);
  return lean ? indefinite(lean, 0, scale) : definiteFactor(matrix, scale, { solve, half, tolerance: REFINED });
}

/** Whether a symmetric matrix, [size, size] row-major, is positive definite beyond rounding. */
export function isDefinite(base: Float64Array): boolean {
  const size = Math.sqrt(base.length);
  return factorise({ size, base, shift: new Array(size).fill(ZERO) }).definite;
}

/** The proof that a matrix with such a diagonal is not positive definite; undefined if it may be. */
export function notPositive(diag: Float64Array): IndefiniteFactor | undefined {
  const worst = diag.findIndex((entry) => !(entry > 0));
  if (worst < 0) return undefined;
  return { definite: false, certain: true, direction: diag.map((_, s) => (s === worst ? 1 : 0)) };
}

/** Powers of two that scale a positive diagonal to one near 1, without rounding. */
export function unitScale(diag: Float64Array): Float64Array {
  return diag.map((entry) => 2 ** -Math.round(Math.log2(entry) / 2));
}

/** The factor L of a scaled matrix. */
export interface Triangle {
  /** (L Lᵀ)⁻¹ b. */
  solve(b: Float64Array): Float64Array;
  /** L⁻¹ b. */
  half(b: Float64Array): Float64Array;
  /** Of a solution's last refinement. */
  readonly tolerance: number;
}

/** @param scale by which the rows and columns of the matrix were multiplied before it was factorised. */
export function definiteFactor(
  matrix: ShiftedMatrix,
  scale: Float64Array,
  { solve, half, tolerance }: Triangle,
): DefiniteFactor {
  const scaled = (x: Float64Array): Float64Array => x.map((entry, s) => entry * scale[s]!);
  const weights = scale.map((entry) => 1 / entry);
  const roughSolve = (b: Float64Array): Float64Array => scaled(solve(scaled(b)));
  return {
    definite: true,
    roughSolve,
    solve: (b) => refine(matrix, b, roughSolve, weights, tolerance),
    inverseForm: (b) => squaredNorm(half(scaled(b))),
  };
}

/** @param v a direction along which the scaled matrix has the value `pivot`. */
function indefinite(v: Float64Array, pivot: number, scale: Float64Array): IndefiniteFactor {
  const certain = pivot < -v.length * PIVOT_TOLERANCE * squaredNorm(v);
  return { definite: false, certain, direction: v.map((entry, s) => entry * scale[s]!) };
}

/** A⁻¹ v where it is so large that it is rounding. */
function leanDirection(solve: Triangle["solve"], size: number): Float64Array | undefined {
  const v = anyDirection(size);
  const x = solve(v);
  return Math.sqrt(squaredNorm(x) / squaredNorm(v)) * size > LARGEST_INVERSE ? x : undefined;
}

function squaredNorm(x: Float64Array): number {
  return dot(x, x);
}

/** Σ_k L[s, k] L[t, k] over k < t; four sums at once, as one would wait for each addition. */
function rowProduct(lower: Float64Array, size: number, s: number, t: number): number {
  let i = s * size;
  let j = t * size;
  let [a, b, c, d] = [0, 0, 0, 0];
  for (const end = j + t - 3; j < end; i += 4, j += 4) {
    a += lower[i]! * lower[j]!;
    b += lower[i + 1]! * lower[j + 1]!;
    c += lower[i + 2]! * lower[j + 2]!;
    d += lower[i + 3]! * lower[j + 3]!;
  }
  for (const end = t * size + t; j < end; i++, j++) a += lower[i]! * lower[j]!;
  return a + b + (c + d);
}

/** L⁻¹ b. */
function forward(lower: Float64Array, b: Float64Array): Float64Array {
  const size = b.length;
  const x = b.slice();
  for (let s = 0; s < size; s++) {
    for (let t = 0; t < s; t++) x[s]! -= lower[s * size + t]! * x[t]!;
    x[s]! /= lower[s * size + s]!;
  }
  return x;
}

/** L⁻ᵀ b, or with `count` the same for the leading block. */
function backward(lower: Float64Array, b: Float64Array, count: number = b.length): Float64Array {
  const size = b.length;
  const x = b.slice();
  for (let s = count - 1; s >= 0; s--) {
    x[s]! /= lower[s * size + s]!;
    for (let t = 0; t < s; t++) x[t]! -= lower[s * size + t]! * x[s]!;
  }
  return x;
}

/**
 * Where a pivot is not positive: v = [−L₁₁⁻ᵀ l; 1; 0], with l the row's part of L, has vᵀ A v = that pivot
 * (Conn, Gould & Toint, *Trust-Region Methods*, §7.3).
 * @param lower L, as far as row `failed`.
 */
export function descent(lower: Float64Array, size: number, failed: number): Float64Array {
  const row = Float64Array.from({ length: size }, (_, t) => (t < failed ? -lower[failed * size + t]! : 0));
  const v = backward(lower, row, failed);
  v[failed] = 1;
  return v;
}
