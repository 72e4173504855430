import { isBetween, middle } from "./bracket.ts";
import { difference, double2 } from "./double2.ts";
import { type CubicModel, evaluate, excess, type Point, tangentStep } from "./model.ts";
import { type CubicSolution, found, MAX_TRIALS, missing, TOLERANCE } from "./solution.ts";

/** A bracket so narrow, of the way to it, tells no more of the root. */
const NARROW = 2 ** -44;

/** What agreement of ‖Dη‖ and r is still taken where rounding allows no better. */
const LOOSE_TOLERANCE = 1e-12;

/**
 * Climbs to the root from a point below it where M is positive definite. Tangent steps rise to the root and cannot
 * pass it, quadratically in the end; bisection is for rounding and for data that span many scales.
 */
export function climb(model: CubicModel, start: Point): CubicSolution {
  let low = start.r;
  let high = double2(start.norm);
  let best = start;
  let next = tangentStep(model, start);
  for (let i = 1; i < MAX_TRIALS; i++) {
    if (i % 8 === 0 || !isBetween(low, next, high)) next = middle(low, high);
    const point = evaluate(model, next);
    if (!point.definite) {
      low = next;
      continue;
    }
    const error = Math.abs(excess(point)) / point.norm;
    const bestError = Math.abs(excess(best)) / best.norm;
    if (error < bestError) best = point;
    if (error <= TOLERANCE || (error <= LOOSE_TOLERANCE && error > bestError / 2)) return found(best);
    if (excess(point) > 0) low = next;
    else high = next;
    // Then ‖Dη‖ is rounding of the rates of other groups.
    if (difference(high, low) <= NARROW * difference(high, start.r)) return found(best);
    next = tangentStep(model, point);
  }
  return missing("the secular equation was not solved within rounding");
}
