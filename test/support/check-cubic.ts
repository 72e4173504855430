/** What is wrong with a solution of a cubic problem, told without the solver's own arithmetic. */

import type { CubicProblem, CubicSolution } from "../../src/nesterov/index.ts";
import { exactDiagonal, exactSolution, isDefinite as isExactlyDefinite } from "./exact.ts";

type Found = Extract<CubicSolution, { found: true }>;
type Missing = Extract<CubicSolution, { found: false }>;

/** ‖M(r) η − g‖ / (‖M(r)‖ ‖η‖ + ‖g‖), and ‖Dη‖ beside r. */
const TOLERANCE = 1e-12;

/** Pivots of a scaled matrix below this, times its size, may be rounding of either factorisation. */
const ROUNDING = 64 * Number.EPSILON;

/** What is wrong, or undefined. */
export function faultOf(problem: CubicProblem, solution: CubicSolution): string | undefined {
  return solution.found ? faultOfRates(problem, solution) : faultOfReason(problem, solution);
}

/** What is wrong beside the solution in whole numbers, of a small problem. */
export function faultBesideExact(problem: CubicProblem, solution: CubicSolution): string | undefined {
  // A true reason was found already: that nothing bounds the rates beyond rounding, whatever may hold in whole numbers.
  if (!solution.found) return faultOfReason(problem, solution);
  if (!isExactlyDefinite(freeBlock(problem))) return "found, but nothing bounds the rates";
  const exact = exactSolution(problem);
  const { r, lrs, hard } = solution;
  if (!(Math.abs(r - exact.r) <= 1e-8 * exact.r) && !isNoise(problem, lrs, r)) return `r is ${r}, exactly ${exact.r}`;
  const unit = unitsOf(problem, exact.r);
  const away =
    weightedNorm(
      lrs.map((entry, s) => entry - exact.lrs[s]!),
      unit,
    ) / (weightedNorm(exact.lrs, unit) || 1);
  return hard || exact.hard || away <= 1e-3 ? undefined : `the rates are off by ${away}`;
}

/** H on the kernel of λ D². */
function freeBlock({ H, D, dampingInt }: CubicProblem): Float64Array {
  const free = Array.from(D.keys()).filter((s) => dampingInt === 0 || D[s] === 0);
  return Float64Array.from(free.flatMap((s) => free.map((t) => H[s * D.length + t]!)));
}

function faultOfRates(problem: CubicProblem, solution: Found): string | undefined {
  const { lrs, r, hard } = solution;
  const error = backwardError(problem, lrs, r);
  if (!(error <= TOLERANCE)) return `the backward error is ${error}`;
  const length = weightedNorm(lrs, problem.D);
  if (!(Math.abs(length - r) <= TOLERANCE * r) && !isNoise(problem, lrs, r)) return `‖Dη‖ is ${length}, r is ${r}`;
  if (!isSemidefinite(problem.H, diagonalAt(problem, r, 1))) return `M(${r}) has a negative eigenvalue`;
  if (hard && isDefinite(problem.H, diagonalAt(problem, r * (1 - 1e-8), -1)))
    return `hard, but M(${r}) is positive definite`;
  return undefined;
}

/** Whether there is a minimum, by more than rounding, in spite of the reason. */
function faultOfReason(problem: CubicProblem, { reason }: Missing): string | undefined {
  const { D, dampingInt } = problem;
  const free = Array.from(D.keys()).filter((s) => D[s] === 0);
  const named = dampingInt === 0 ? "dampingInt is 0" : `where D is 0 (groups ${free.join(", ")})`;
  if (!reason.includes(named)) return `the reason is not ${named}: ${reason}`;
  const block = freeBlock(problem);
  const size = Math.sqrt(block.length);
  const least = diagonalAt({ H: block, g: block, D: new Float64Array(size), dampingInt: 0 }, 0, -2);
  return isDefinite(block, least) ? `there is a minimum: ${reason}` : undefined;
}

/**
 * In the norm of the largest column, which is below the spectral one. Half a unit in the last place of r changes M(r) η by more
 * than the bound where nearly all of M(r) cancels (so it does with S = 1 near the pole): then with r to so many more digits that
 * M(r) is known to 29 of its terms.
 */
export function backwardError(problem: CubicProblem, lrs: Float64Array, r: number): number {
  const { g, H, D, dampingInt } = problem;
  const diag = exactDiagonal(problem, r, 0);
  const plain = errorAt(problem, lrs, diag, 0);
  if (plain <= TOLERANCE) return plain;
  const error = residual(H, diag, lrs, g);
  const slope = lrs.map((entry, s) => (dampingInt / 2) * D[s]! ** 2 * entry);
  const more = -dot(slope, error) / dot(slope, slope);
  if (!(Math.abs(more) <= Number.EPSILON * r)) return plain;
  const terms = largestColumn(
    H,
    diag.map((_, s) => Math.abs(H[s * (D.length + 1)]!)),
  );
  return errorAt(problem, lrs, exactDiagonal(problem, r, more), (1e-29 / TOLERANCE) * terms);
}

/** @param size added to the size of M. */
function errorAt({ H, g }: CubicProblem, lrs: Float64Array, diag: Float64Array, size: number): number {
  const error = norm(residual(H, diag, lrs, g));
  return error === 0 ? 0 : error / ((largestColumn(H, diag) + size) * norm(lrs) + norm(g));
}

/** M η − g, for M with this diagonal and else the entries of H. */
function residual(H: Float64Array, diag: Float64Array, lrs: Float64Array, g: Float64Array): Float64Array {
  const size = g.length;
  return g.map((entry, s) => {
    let sum = diag[s]! * lrs[s]! - entry;
    for (let t = 0; t < size; t++) if (t !== s) sum += H[s * size + t]! * lrs[t]!;
    return sum;
  });
}

function largestColumn(H: Float64Array, diag: Float64Array): number {
  const size = diag.length;
  return diag.reduce((most, entry, s) => {
    const column = H.slice(s * size, (s + 1) * size);
    column[s] = entry;
    return Math.max(most, norm(column));
  }, 0);
}

/** Whether the rates of groups that D weighs vanish beside the others, so that ‖Dη‖ is rounding of those. */
function isNoise(problem: CubicProblem, lrs: Float64Array, r: number): boolean {
  const unit = unitsOf(problem, r);
  const share = problem.D.reduce((most, d, s) => (d === 0 ? most : Math.max(most, d / unit[s]!)), 0);
  return r <= 1e-11 * share * weightedNorm(lrs, unit);
}

/** What makes the rates comparable: the root of what the diagonal of M(r) is added up from. */
function unitsOf({ H, D, dampingInt }: CubicProblem, r: number): Float64Array {
  return D.map((d, s) => Math.sqrt(Math.abs(H[s * (D.length + 1)]!) + (dampingInt / 2) * r * d * d));
}

/** The diagonal of M(r), with so many roundings of what it is added up from. */
function diagonalAt({ H, D, dampingInt }: CubicProblem, r: number, roundings: number): Float64Array {
  const size = D.length;
  return D.map((d, s) => {
    const [own, weight] = [H[s * (size + 1)]!, (dampingInt / 2) * r * d * d];
    return own + weight + roundings * size * ROUNDING * (Math.abs(own) + weight);
  });
}

function isDefinite(H: Float64Array, diag: Float64Array): boolean {
  return diag.every((entry) => entry > 0) && isSemidefinite(H, diag);
}

/** Whether Cholesky finds a matrix with this diagonal, and else the entries of H, to be positive semidefinite. */
function isSemidefinite(H: Float64Array, diag: Float64Array): boolean {
  const size = diag.length;
  const rows = Array.from({ length: size }, () => new Float64Array(size));
  for (let s = 0; s < size; s++)
    for (let t = 0; t <= s; t++) {
      const entry = s === t ? Math.sign(diag[s]!) : scaledEntry(H[s * size + t]!, diag[s]!, diag[t]!);
      const rest = entry - dot(rows[s]!.subarray(0, t), rows[t]!.subarray(0, t));
      if (!(s === t ? rest >= 0 : Number.isFinite(rest))) return false;
      rows[s]![t] = s === t ? Math.sqrt(rest) : rest === 0 ? 0 : rest / rows[t]![t]!;
    }
  return true;
}

function scaledEntry(entry: number, first: number, second: number): number {
  return entry === 0 ? 0 : entry / Math.sqrt(first) / Math.sqrt(second);
}

function weightedNorm(x: Float64Array, scale: Float64Array): number {
  return norm(x.map((entry, s) => entry * scale[s]!));
}

function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0;
  for (let s = 0; s < x.length; s++) sum += x[s]! * y[s]!;
  return sum;
}

/** ‖x‖, of entries of any size. */
function norm(x: Float64Array): number {
  const most = x.reduce((max, entry) => Math.max(max, Math.abs(entry)), 0);
  return most === 0 ? 0 : most * Math.sqrt(x.reduce((total, entry) => total + (entry / most) ** 2, 0));
}
