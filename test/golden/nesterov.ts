import { EigenvalueDecomposition, Matrix } from "ml-matrix";
import { type CubicSolution, nesterovLrs } from "../../src/nesterov/index.ts";
import type { Item } from "./json.ts";
import { largest, Report } from "./report.ts";

const BOUND = 1e-8;
const LABEL = "solver";

/** Checks every problem of a file. */
export async function checkNesterov(file: Item, report: Report): Promise<void> {
  for (const [i, item] of file.get("cases").list().entries())
    checkCase(item, `case ${i} (${item.get("tag").text()})`, report);
}

/** What is wrong with our solution of one problem. */
export function caseFailures(item: Item): readonly string[] {
  const report = new Report();
  checkCase(item, "solution", report);
  return report.failures;
}

/** A problem as plain arrays. */
interface Problem {
  readonly H: Float64Array;
  readonly g: Float64Array;
  readonly D: Float64Array;
  readonly dampingInt: number;
}

function checkCase(item: Item, what: string, report: Report): void {
  const problem: Problem = {
    H: Float64Array.from(item.get("H").matrix()),
    g: Float64Array.from(item.get("g").numbers()),
    D: Float64Array.from(item.get("D").numbers()),
    dampingInt: item.get("damping_int").number(),
  };
  const solution = nesterovLrs(problem);
  const exact = item.find("exact");
  if (exact) checkExact(solution, exact, what, report);
  else if (solution.found) checkMinimiser(problem, solution.lrs, what, report);
  else {
    report.require(solution.reason !== "", `${what}: found nothing and gave no reason`);
    report.require(unbounded(problem), `${what}: found nothing although there is a minimum: ${solution.reason}`);
  }
}

/** In a hard case the mirror solution is as good. */
function checkExact(solution: CubicSolution, exact: Item, what: string, report: Report): void {
  if (!solution.found) {
    report.failures.push(`${what}: not found: ${solution.reason}`);
    return;
  }
  const r = exact.get("r").number();
  report.compare(LABEL, `${what} r`, [solution.r], [r], { bound: BOUND });
  report.require(solution.hard === (exact.find("hard")?.flag() ?? false), `${what}: hard is ${solution.hard}`);
  const [lrs, other] = [exact.get("lrs").numbers(), exact.find("other_lrs")?.numbers()];
  const nearer = other && distance(solution.lrs, other) < distance(solution.lrs, lrs) ? other : lrs;
  report.compare(LABEL, `${what} lrs`, solution.lrs, nearer, { bound: BOUND });
}

function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return largest(Array.from(a, (value, i) => value - b[i]!));
}

/**
 * Where the file has no exact solution: η is the global minimiser of the cubic model if and only if M(r) η = g with
 * r = ‖Dη‖ and M(r) positive semidefinite (Nesterov and Polyak 2006, theorem 10), here up to the rounding of the sums.
 */
function checkMinimiser({ H, g, D, dampingInt }: Problem, lrs: Float64Array, what: string, report: Report): void {
  const shift = Array.from(D, (d) => 0.5 * dampingInt * Math.hypot(...D.map((e, s) => e * lrs[s]!)) * d * d);
  const entry = (s: number, t: number): number => H[s * g.length + t]! + (s === t ? shift[s]! : 0);
  const rows = [...g.keys()];
  for (const s of rows) {
    const terms = rows.map((t) => entry(s, t) * lrs[t]!);
    const sizes = rows.map((t) => (Math.abs(H[s * g.length + t]!) + (s === t ? shift[s]! : 0)) * Math.abs(lrs[t]!));
    const scale = sum(sizes) + Math.abs(g[s]!) || 1;
    report.compare(LABEL, `${what} (M(r) η)[${s}]`, [sum(terms)], [g[s]!], { bound: BOUND, scale });
  }
  const unit = rows.map((s) => Math.sqrt(Math.abs(H[s * g.length + s]!) + shift[s]!) || 1);
  const scaled = rows.map((s) => rows.map((t) => entry(s, t) / (unit[s]! * unit[t]!)));
  report.require(lowest(scaled) >= -BOUND, `${what}: M(r) is not positive semidefinite`);
}

/** Whether the cubic model has no minimum: H is not positive definite on the kernel of λ D². */
function unbounded({ H, g, D, dampingInt }: Problem): boolean {
  const kernel = [...g.keys()].filter((s) => dampingInt === 0 || D[s] === 0);
  return kernel.length > 0 && lowest(kernel.map((s) => kernel.map((t) => H[s * g.length + t]!))) <= 0;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** The lowest eigenvalue of a symmetric matrix. */
function lowest(rows: number[][]): number {
  const { realEigenvalues } = new EigenvalueDecomposition(new Matrix(rows), { assumeSymmetric: true });
  return Math.min(...realEigenvalues);
}
