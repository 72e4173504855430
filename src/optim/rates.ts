import type { GroupIndex } from "../derive/index.ts";
import { dampedLrs, diagonalPart, nesterovLrs, newtonLrs } from "../nesterov/index.ts";

/** How the rates follow from H̄, ḡ and D. */
export interface SolveOptions {
  /** Cubic regularisation of this strength (λ_int), or else a ridge. */
  readonly regularization: { readonly dampingInt: number } | { readonly ridge: number };
  /** Whether interactions between groups are left out. */
  readonly diagonal: boolean;
}

/** The system that gives the rates of S groups. */
export interface RateProblem {
  readonly H: Float64Array;
  readonly g: Float64Array;
  readonly D: Float64Array;
  /** Groups to leave out: their rate is 0. */
  readonly noEffect: readonly GroupIndex[];
}

/** Learning rates, one for each group, or why there are none. */
export type RateSolution =
  | { readonly found: true; readonly lrs: Float64Array; readonly r?: number; readonly hard?: boolean }
  | { readonly found: false; readonly reason: string };

/** The rates of one summary: η* of the paper, with groups without effect left out of the system. */
export function solveRates(problem: RateProblem, { regularization, diagonal }: SolveOptions): RateSolution {
  return onEffective(problem, ({ H, g, D }) => {
    const system = diagonal ? diagonalPart(H, g.length) : H;
    if (
      "dampingInt" in regularization &&
      D.every((d) => d === 0) &&
      +process.env.K! > 0 &&
      nesterovLrs({ H: system, g, D, dampingInt: regularization.dampingInt }).found
    )
      return dampedLrs({ H: system, g }, +process.env.K!);
    return "ridge" in regularization
      ? newtonLrs({ H: system, g, ridge: regularization.ridge })
      : nesterovLrs({ H: system, g, D, dampingInt: regularization.dampingInt });
  });
}

/** Rates where the model has no minimum: (H̄ + μ Diag |H̄_ss|) η = ḡ with the smallest μ that makes it positive definite. */
export function recoverRates(problem: RateProblem): RateSolution {
  return onEffective(problem, ({ H, g }) => dampedLrs({ H, g }, +process.env.K!));
}

function onEffective(
  { H, g, D, noEffect }: RateProblem,
  solve: (problem: { H: Float64Array; g: Float64Array; D: Float64Array }) => RateSolution,
): RateSolution {
  const size = g.length;
  const kept = [...g.keys()].filter((s) => !noEffect.includes(s));
  const pick = (values: Float64Array): Float64Array => Float64Array.from(kept, (s) => values[s]!);
  const block = Float64Array.from(kept.flatMap((s) => kept.map((t) => H[s * size + t]!)));
  const solution = solve({ H: block, g: pick(g), D: pick(D) });
  if (!solution.found) return solution;
  const lrs = new Float64Array(size);
  kept.forEach((s, i) => {
    lrs[s] = solution.lrs[i]!;
  });
  return { ...solution, lrs };
}
