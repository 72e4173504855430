import { factorise } from "./cholesky.ts";
import { climb } from "./climb.ts";
import { ZERO } from "./double2.ts";
import { type CubicModel, cubicModel, evaluate } from "./model.ts";
import { type CubicProblem, checkedCubic } from "./problem.ts";
import { PoleSearch } from "./search.ts";
import { type CubicSolution, found, missing } from "./solution.ts";

/**
 * Rates by anisotropic Nesterov cubic regularisation (arXiv 2312.03885): the global minimiser of
 *
 *     −gᵀη + ½ ηᵀHη + (λ / 6) ‖Dη‖³,
 *
 * that is η = M(r)⁻¹ g with M(r) = H + ½ λ r D² positive semidefinite and r = ‖Dη‖ (Nesterov & Polyak, Math. Program.
 * 108, 2006). Groups with D = 0 are not regularised; with λ = 0 or D = 0 throughout η is the Newton step. In the hard
 * case, where g has no part along the kernel q of M(r), η = M(r)⁺ g + τ q has a twin of equal value: the one with the
 * largest entry of τ q positive is returned, with `hard: true`.
 *
 * Multiplying group s of the direction by α ≠ 0 (its row and column of H and g_s by α, D_s by |α|) divides η_s by α.
 * @returns the rates, or the reason where the model has no minimum: H not positive definite on the groups with D = 0.
 * @throws ShapeError, NonFiniteError or OptionError for a problem that is not one (lengths, NaN, asymmetric H, D < 0,
 * λ < 0).
 */
export function nesterovLrs(problem: CubicProblem): CubicSolution {
  const model = cubicModel(checkedCubic(problem));
  const solution = solve(model);
  return solution.found && !solution.lrs.every(Number.isFinite)
    ? missing("the rates overflow: H, g and D differ too much in scale")
    : solution;
}

function solve(model: CubicModel): CubicSolution {
  const newton = evaluate(model, ZERO);
  if (newton.definite) return newton.norm === 0 || model.dampingInt === 0 ? found(newton) : climb(model, newton);
  return missingMinimum(model) ?? new PoleSearch(model, newton.direction).run();
}

/** Why the model has no minimum, where H is not positive definite on the kernel of D. */
function missingMinimum({ H, weights, dampingInt, size }: CubicModel): CubicSolution | undefined {
  if (dampingInt === 0) return missing("H is not positive definite and dampingInt is 0: the model has no minimum");
  const free = Array.from(weights.keys()).filter((s) => weights[s]!.hi === 0);
  const base = Float64Array.from(free.flatMap((s) => free.map((t) => H[s * size + t]!)));
  if (factorise({ size: free.length, base, shift: free.map(() => ZERO) }).definite) return undefined;
  return missing(`H is not positive definite where D is 0 (groups ${free.join(", ")}): the model has no minimum`);
}
