import { type DefiniteFactor, type Factor, factorise, type IndefiniteFactor } from "./cholesky.ts";
import { factorise2 } from "./cholesky2.ts";
import { add, type Double2, difference, double2, multiply } from "./double2.ts";
import { type ShiftedMatrix, weightedNorm } from "./matrix.ts";
import type { CubicProblem } from "./problem.ts";

/** A checked problem, with W = ½ λ D² to 32 digits, so that M(r) = H + r W. */
export interface CubicModel extends CubicProblem {
  readonly size: number;
  readonly weights: readonly Double2[];
}

/** η = M(r)⁻¹ g at an r where M(r) is positive definite. */
export interface Point extends DefiniteFactor {
  readonly r: Double2;
  readonly lrs: Float64Array;
  /** ‖Dη‖, which falls as r grows; at the solution it is r. */
  readonly norm: number;
}

export function cubicModel(problem: CubicProblem): CubicModel {
  const half = double2(problem.dampingInt / 2);
  const weights = Array.from(problem.D, (entry) => multiply(multiply(double2(entry), double2(entry)), half));
  return { ...problem, size: problem.g.length, weights };
}

/** M(r) = H + ½ λ r D². */
export function matrixAt({ size, H, weights }: CubicModel, r: Double2): ShiftedMatrix {
  return { size, base: H, shift: weights.map((weight) => multiply(weight, r)) };
}

/** η at an r, or the proof that M(r) is not positive definite; in doubles where they can tell, in pairs of them else. */
export function evaluate(model: CubicModel, r: Double2): Point | IndefiniteFactor {
  const rough = evaluateWith(factorise, model, r);
  return rough.definite || rough.certain ? rough : evaluateWith(factorise2, model, r);
}

/** As {@link evaluate}, in doubles: what is positive definite only by less than their rounding counts as not. */
export function evaluateRoughly(model: CubicModel, r: Double2): Point | IndefiniteFactor {
  return evaluateWith(factorise, model, r);
}

function evaluateWith(
  factoriser: (matrix: ShiftedMatrix) => Factor,
  model: CubicModel,
  r: Double2,
): Point | IndefiniteFactor {
  const factor = factoriser(matrixAt(model, r));
  if (!factor.definite) return factor;
  const { x, settled } = factor.solve(model.g);
  // Otherwise rounding spoilt the factor, and a solution is nearly all kernel.
  if (!settled) return { definite: false, certain: false, direction: factor.roughSolve(model.g) };
  return { ...factor, r, lrs: x, norm: weightedNorm(x, model.D) };
}

/** How far ‖Dη‖ is above r. */
export function excess({ norm, r }: Point): number {
  return difference(double2(norm), r);
}

/**
 * The next r. 1/‖Dη(r)‖ is concave in r and nearly a line (Conn, Gould & Toint, *Trust-Region Methods*, §7.3), so it is
 * replaced by its tangent and the rest of 1/‖Dη‖ = 1/r is solved as it is, a quadratic (as Cartis, Gould & Toint do,
 * Math. Program. 127, 2011, §6). The tangent lies above: the result never exceeds the root.
 */
export function tangentStep(model: CubicModel, point: Point): Double2 {
  const { r, norm, lrs } = point;
  if (norm === 0) return double2(Number.NEGATIVE_INFINITY);
  const pulled = lrs.map((entry, s) => entry * model.D[s]! * (model.D[s]! / norm));
  const slope = (model.dampingInt / 2) * point.inverseForm(pulled);
  const lean = slope * r.hi;
  const step = (2 * excess(point)) / (1 + lean + Math.sqrt((1 - lean) ** 2 + 4 * slope * norm));
  return add(r, double2(step));
}
