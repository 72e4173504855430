import { isDefinite } from "./cholesky.ts";
import { climb } from "./climb.ts";
import { ZERO } from "./double2.ts";
import { type CubicModel, cubicModel, evaluateRoughly } from "./model.ts";
import { type CubicProblem, checkedCubic } from "./problem.ts";
import { PoleSearch } from "./search.ts";
import { type CubicSolution, type Found, missing } from "./solution.ts";
import { FAINTEST, inUnits, timesPower } from "./units.ts";

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
 * @returns the rates, or the reason where nothing bounds them: H not positive definite, beyond rounding, on the groups with D = 0.
 * @throws ShapeError, NonFiniteError or OptionError for a problem that is not one (lengths, NaN, asymmetric H, D < 0,
 * λ < 0).
 */
export function nesterovLrs(problem: CubicProblem): CubicSolution {
  const checked = checkedCubic(problem);
  const definite = isDefinite(checked.H);
  const units = inUnits(checked, definite);
  const solution = solve(cubicModel(units.problem));
  if (!solution.found) return solution;
  if (units.raised && hasTraceOfG(solution)) return missing(TOO_WIDE);
  const lrs = solution.lrs.map((entry, s) => timesPower(entry, units.lrs[s]!));
  const r = timesPower(solution.r, units.r);
  return Number.isFinite(r) && lrs.every(Number.isFinite) ? { ...solution, lrs, r } : missing(TOO_WIDE);
}

const TOO_WIDE = "the rates are beyond doubles: H, g and D differ too much in scale";

/** Whether a g as small as {@link FAINTEST} shows in any rate: one of M(r)⁻¹ g, or, where M(0) is singular, of √g. */
function hasTraceOfG({ lrs, r }: Found): boolean {
  return [r, ...lrs].some((entry) => entry !== 0 && Math.abs(entry) < 2 ** (FAINTEST / 2 + 50));
}

function solve(model: CubicModel): CubicSolution {
  const newton = evaluateRoughly(model, ZERO);
  if (newton.definite && (newton.norm === 0 || model.dampingInt === 0))
    return { found: true, lrs: newton.lrs, r: newton.norm, hard: false };
  if (newton.definite) return climb(model, newton);
  return unbounded(model) ?? new PoleSearch(model, newton.direction).run();
}

/** Why no rates are held back: H is not positive definite on the kernel of λ D², or by no more than rounding. */
function unbounded({ H, D, dampingInt }: CubicModel): CubicSolution | undefined {
  if (dampingInt === 0)
    return missing("H is not positive definite beyond rounding and dampingInt is 0: nothing bounds the rates");
  const free = Array.from(D.keys()).filter((s) => D[s] === 0);
  if (isDefinite(Float64Array.from(free.flatMap((s) => free.map((t) => H[s * D.length + t]!))))) return undefined;
  return missing(
    `H is not positive definite beyond rounding where D is 0 (groups ${free.join(", ")}): nothing bounds their rates`,
  );
}
