import { diagonal, type Refined, refine, type ShiftedMatrix } from "./matrix.ts";

/** A matrix that is positive definite beyond rounding, factorised. */
export interface DefiniteFactor {
  readonly definite: true;
  /** M⁻¹ b, as the factors give it. */
  roughSolve(b: Float64Array): Float64Array;
  /** M⁻¹ b, refined. */
  solve(b: Float64Array): Refined;
  /** bᵀ M⁻¹ b. */
  inverseForm(b: Float64Array): number;
}

/** A matrix that is not, with the proof: `direction`ᵀ M `direction` ≤ 0, but for rounding. */
export interface IndefiniteFactor {
  readonly definite: false;
  readonly direction: Float64Array;
}

/** A pivot of the scaled matrix below this, times its size, is rounding. */
const PIVOT_TOLERANCE = 2 * Number.EPSILON;

/**
 * Factorises a symmetric matrix, scaled to unit diagonal, by Cholesky. With that scaling "positive definite" is decided
 * as well as the entries allow, however widely the diagonal ranges (A. van der Sluis, Numer. Math. 14, 1969;
 * N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, ch. 10).
 */
export function factorise(matrix: ShiftedMatrix): DefiniteFactor | IndefiniteFactor {
  const { size, base } = matrix;
  const diag = diagonal(matrix);
  const worst = diag.findIndex((entry) => !(entry > 0));
  if (worst >= 0) return { definite: false, direction: unit(size, worst) };
  const scale = diag.map((entry) => 1 / Math.sqrt(entry));
  const lower = new Float64Array(size * size);
  for (let s = 0; s < size; s++) {
    for (let t = 0; t < s; t++) {
      const entry = base[s * size + t]! * scale[s]! * scale[t]!;
      lower[s * size + t] = (entry - rowProduct(lower, size, s, t)) / lower[t * size + t]!;
    }
    const pivot = 1 - rowProduct(lower, size, s, s);
    if (!(pivot > size * PIVOT_TOLERANCE)) return { definite: false, direction: descend(lower, scale, s) };
    lower[s * size + s] = Math.sqrt(pivot);
  }
  return definiteFactor(matrix, diag, scale, lower);
}

function definiteFactor(
  matrix: ShiftedMatrix,
  diag: Float64Array,
  scale: Float64Array,
  lower: Float64Array,
): DefiniteFactor {
  const scaled = (x: Float64Array): Float64Array => x.map((entry, s) => entry * scale[s]!);
  const roughSolve = (b: Float64Array): Float64Array => scaled(backward(lower, forward(lower, scaled(b))));
  const weights = diag.map(Math.sqrt);
  return {
    definite: true,
    roughSolve,
    solve: (b) => refine(matrix, b, roughSolve, weights),
    inverseForm: (b) => forward(lower, scaled(b)).reduce((sum, entry) => sum + entry * entry, 0),
  };
}

/** Σ_k L[s, k] L[t, k] over k < t. */
function rowProduct(lower: Float64Array, size: number, s: number, t: number): number {
  const first = s * size;
  const second = t * size;
  let even = 0;
  let odd = 0;
  let k = 0;
  for (; k + 1 < t; k += 2) {
    even += lower[first + k]! * lower[second + k]!;
    odd += lower[first + k + 1]! * lower[second + k + 1]!;
  }
  if (k < t) even += lower[first + k]! * lower[second + k]!;
  return even + odd;
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

/** L⁻ᵀ b. */
function backward(lower: Float64Array, b: Float64Array): Float64Array {
  const size = b.length;
  const x = b.slice();
  for (let s = size - 1; s >= 0; s--) {
    x[s]! /= lower[s * size + s]!;
    for (let t = 0; t < s; t++) x[t]! -= lower[s * size + t]! * x[s]!;
  }
  return x;
}

/**
 * Where pivot `failed` is not positive: v = [−L₁₁⁻ᵀ l; 1; 0], with l the row's part of L, has vᵀ A v = that pivot
 * (Conn, Gould & Toint, *Trust-Region Methods*, §7.3).
 */
function descend(lower: Float64Array, scale: Float64Array, failed: number): Float64Array {
  const size = scale.length;
  const v = new Float64Array(size);
  for (let t = 0; t < failed; t++) v[t] = -lower[failed * size + t]!;
  for (let s = failed - 1; s >= 0; s--) {
    v[s]! /= lower[s * size + s]!;
    for (let t = 0; t < s; t++) v[t]! -= lower[s * size + t]! * v[s]!;
  }
  v[failed] = 1;
  return v.map((entry, s) => entry * scale[s]!);
}

function unit(size: number, s: number): Float64Array {
  const v = new Float64Array(size);
  v[s] = 1;
  return v;
}
