import { between, isBetween, larger } from "./bracket.ts";
import { climb } from "./climb.ts";
import { add, type Double2, difference, double2, round, ZERO } from "./double2.ts";
import { firstTrial } from "./first-trial.ts";
import { type CubicModel, evaluate, excess, type Point, tangentStep } from "./model.ts";
import { minimiserAtPole, type Pole, poleBelow, poleBound } from "./pole.ts";
import { type CubicSolution, found, MAX_TRIALS, missing, TOLERANCE } from "./solution.ts";

/** How much of the pole's drift in inverse iteration may still be to come. */
const DRIFT_FACTOR = 32;

/**
 * Finds the root, or the hard case, where H is not positive definite. Below the pole M(r) is not either, and a direction
 * of negative curvature says how far the pole is at least; above it the expansion about the pole says where to look.
 */
export class PoleSearch {
  readonly #model: CubicModel;
  /** No root and no pole lies below. */
  #low = ZERO;
  /** ‖Dη‖ < r here, so that the root or the pole lies below. */
  #high: Point | undefined;
  /** The last guess of the kernel at the pole. */
  #direction: Float64Array;
  #pole: Pole | undefined;
  /** Trials in a row at which M(r) was not positive definite. */
  #misses = 0;

  /** @param direction one along which H is not positive. */
  constructor(model: CubicModel, direction: Float64Array) {
    this.#model = model;
    this.#direction = direction;
  }

  run(): CubicSolution {
    let r = firstTrial(this.#model);
    const nothing = r.hi * Number.EPSILON ** 2;
    for (let i = 1; i < MAX_TRIALS && Number.isFinite(r.hi); i++) {
      const trial = evaluate(this.#model, r);
      const step = trial.definite ? this.#above(trial, nothing) : this.#below(r, trial.direction);
      if ("found" in step) return step;
      r = step;
    }
    return missing("the pole of the secular equation was not found within rounding");
  }

  /** A trial where M(r) is positive definite: ends the search, or gives the next r. */
  #above(point: Point, nothing: number): CubicSolution | Double2 {
    this.#misses = 0;
    if (Math.abs(excess(point)) <= TOLERANCE * point.norm) return found(point);
    const rising = excess(point) > 0;
    if (!rising) this.#high = point;
    const next = tangentStep(this.#model, point);
    const ahead = difference(next, this.#low) > 0;
    if (!rising && ahead && !(this.#pole && isHidden(this.#pole, point))) return next;
    const pole = this.#locate(point);
    if (isHidden(pole, point) || point.r.hi <= nothing)
      return { found: true, ...minimiserAtPole(this.#model, point, pole) };
    return rising ? climb(this.#model, point) : beyond(pole, this.#low, point.r);
  }

  /** A trial where M(r) is not positive definite: gives the next r. */
  #below(r: Double2, direction: Float64Array): Double2 {
    this.#misses++;
    this.#direction = direction;
    this.#low = larger(this.#low, larger(r, poleBound(this.#model, r, direction)));
    if (this.#high === undefined) return double2(round(this.#low) * 2 ** this.#misses);
    if (this.#misses > 1 && this.#misses % 2 === 0)
      return between(this.#low, this.#high.r, Math.min(1 / 2, 2 ** (this.#misses - 7)));
    return beyond(this.#locate(this.#high), this.#low, this.#high.r);
  }

  #locate(point: Point): Pole {
    const pole = poleBelow(this.#model, point, this.#direction);
    this.#pole = pole;
    this.#direction = pole.q;
    this.#low = larger(this.#low, pole.x0);
    return pole;
  }
}

/** Whether rounding could hide all that lies between the pole and both the point and the root. */
function isHidden({ x0, noise, delta }: Pole, point: Point): boolean {
  return Math.max(difference(point.r, x0), delta) <= 4 * noise;
}

/**
 * The root that the pole predicts, or a little above the pole where it is not known well enough: from closer by,
 * inverse iteration finds it the faster.
 */
function beyond(pole: Pole, low: Double2, high: Double2): Double2 {
  const root = add(pole.x0, double2(Math.max(pole.delta, 2 * pole.noise, DRIFT_FACTOR * pole.drift)));
  return isBetween(low, root, high) ? root : between(low, high, 1 / 32);
}
