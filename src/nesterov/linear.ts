import { LuDecomposition, Matrix } from "ml-matrix";
import { factorise } from "./cholesky.ts";
import { double2, ZERO } from "./double2.ts";
import { REFINED, type Refined, refine, type ShiftedMatrix } from "./matrix.ts";
import { checkedLinear, type LinearProblem } from "./problem.ts";

/** Rates that solve a linear system, or why there are none. */
export type LinearSolution =
  | { readonly found: true; readonly lrs: Float64Array }
  | { readonly found: false; readonly reason: string };

/** What {@link dampedLrs} found: the rates and the damping that it took, or why there are none. */
export type DampedSolution =
  | { readonly found: true; readonly lrs: Float64Array; readonly mu: number }
  | { readonly found: false; readonly reason: string };

const SINGULAR = "the matrix is singular to rounding";

/** The grid of μ in {@link dampedLrs}: 0, then powers of two from 2^LEAST to 2^MOST. */
const LEAST_POWER = -10;
const MOST_POWER = 90;

/**
 * The Newton step: η with (H + ridge·I) η = g. H may be indefinite: then η is a stationary point of the quadratic model,
 * not a minimum.
 * @returns the rates, or the reason where the matrix is singular to rounding.
 * @throws ShapeError, NonFiniteError or OptionError for a problem that is not one (lengths, NaN, asymmetric H,
 * ridge < 0).
 */
export function newtonLrs(problem: LinearProblem): LinearSolution {
  const { H, g, ridge } = checkedLinear(problem);
  if (g.length === 0) return { found: true, lrs: new Float64Array() };
  const matrix = { size: g.length, base: H, shift: Array.from(g, () => double2(ridge)) };
  const scale = equilibration(matrix);
  const lu = new LuDecomposition(scaledMatrix(matrix, scale));
  if (isSingular(lu, g.length)) return { found: false, reason: SINGULAR };
  const solve = (b: Float64Array): Float64Array => {
    const right = Matrix.columnVector(b.map((entry, s) => entry * scale[s]!));
    return Float64Array.from(lu.solve(right).to1DArray(), (entry, s) => entry * scale[s]!);
  };
  const weights = scale.map((entry) => 1 / entry);
  return checked(refine(matrix, g, solve, weights, REFINED));
}

/**
 * Each group for itself: η_s = g_s / (H_ss + ridge), as if the rest of H were 0.
 * @returns the rates, or the reason where some H_ss + ridge is 0.
 * @throws as {@link newtonLrs}.
 */
export function diagonalLrs(problem: LinearProblem): LinearSolution {
  const { H, g, ridge } = checkedLinear(problem);
  const curvature = g.map((_, s) => H[s * g.length + s]! + ridge);
  const flat = curvature.indexOf(0);
  if (flat >= 0) return { found: false, reason: `H[${flat}, ${flat}] + ridge is 0` };
  return checked({ x: g.map((entry, s) => entry / curvature[s]!), settled: true });
}

/**
 * H without its off-diagonal entries, for the diagonal variant of {@link nesterovLrs}.
 * @param H [size, size], row-major.
 */
export function diagonalPart(H: Float64Array, size: number): Float64Array {
  return H.map((entry, i) => (i % (size + 1) === 0 ? entry : 0));
}

/**
 * Rates where the cubic model has no minimum: (H + μ Diag|H_ss|) η = g with the smallest μ among 0, 2⁻¹⁰, 2⁻⁹ … that
 * makes the matrix positive definite. Like the cubic model's, the rates follow the scale of each group's direction.
 * A group with H_ss = 0 has no scale of its own: its rate is 0 and the others are solved without it.
 * @param margin by how much it must be positive definite: H + (μ − margin) Diag|H_ss| is still so. No eigenvalue of the
 * matrix, scaled to the diagonal |H_ss|, then lies below it, which bounds the rates. 0 by default.
 * @returns the rates and μ, or the reason where no group has curvature.
 * @throws as {@link newtonLrs}.
 */
export function dampedLrs(problem: Pick<LinearProblem, "H" | "g">, margin: number = 0): DampedSolution {
  const { H, g } = checkedLinear(problem);
  const curved = Array.from(g.keys()).filter((s) => H[s * g.length + s] !== 0);
  if (curved.length === 0 && g.length > 0) return { found: false, reason: "the diagonal of H is 0" };
  const base = Float64Array.from(curved.flatMap((s) => curved.map((t) => H[s * g.length + t]!)));
  const at = (mu: number): ShiftedMatrix => dampedMatrix(base, curved.length, mu);
  const power = leastDefinite((candidate) => factorise(at(gridValue(candidate) - margin)).definite);
  const factor = factorise(at(gridValue(power)));
  if (!factor.definite)
    return { found: false, reason: `H + μ Diag|H_ss| is not positive definite up to μ = ${gridValue(power)}` };
  const solved = checked(factor.solve(Float64Array.from(curved, (s) => g[s]!)));
  if (!solved.found) return solved;
  const lrs = new Float64Array(g.length);
  curved.forEach((s, i) => {
    lrs[s] = solved.lrs[i]!;
  });
  return { found: true, lrs, mu: gridValue(power) };
}

function gridValue(power: number): number {
  return power < LEAST_POWER ? 0 : 2 ** power;
}

/** The least power on the grid that is definite, by bisection: more damping never undoes it. MOST_POWER if none is. */
function leastDefinite(isDefinite: (power: number) => boolean): number {
  let low = LEAST_POWER - 1;
  let high = MOST_POWER;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (isDefinite(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

function dampedMatrix(base: Float64Array, size: number, mu: number): ShiftedMatrix {
  const shift = Array.from({ length: size }, (_, s) => double2(mu * Math.abs(base[s * size + s]!)));
  return { size, base, shift: mu === 0 ? shift.map(() => ZERO) : shift };
}

/** Powers of two that bring the largest entry of every row and column near 1 (D. Ruiz, RAL-TR-2001-034). */
function equilibration(matrix: ShiftedMatrix): Float64Array {
  const scale = new Float64Array(matrix.size).fill(1);
  for (let sweep = 0; sweep < 12; sweep++) {
    const scaled = scaledMatrix(matrix, scale);
    for (let s = 0; s < matrix.size; s++) {
      const most = scaled.getRow(s).reduce((max, entry) => Math.max(max, Math.abs(entry)), 0);
      if (most > 0) scale[s]! *= 2 ** -Math.round(Math.log2(most) / 2);
    }
  }
  return scale;
}

function scaledMatrix({ size, base, shift }: ShiftedMatrix, scale: Float64Array): Matrix {
  const out = new Matrix(size, size);
  for (let s = 0; s < size; s++)
    for (let t = 0; t < size; t++) {
      const entry = base[s * size + t]! + (s === t ? shift[s]!.hi : 0);
      out.set(s, t, entry * scale[s]! * scale[t]!);
    }
  return out;
}

function isSingular(lu: LuDecomposition, size: number): boolean {
  const pivots = lu.upperTriangularMatrix.diagonal().map(Math.abs);
  const largest = pivots.reduce((most, pivot) => Math.max(most, pivot), 0);
  return !pivots.every((pivot) => pivot > size * Number.EPSILON * largest);
}

function checked({ x, settled }: Refined): LinearSolution {
  if (!x.every(Number.isFinite)) return { found: false, reason: "the rates overflow" };
  return settled ? { found: true, lrs: x } : { found: false, reason: SINGULAR };
}
