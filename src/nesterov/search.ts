import { between, isBetween, larger } from "./bracket.ts";
import { climb } from "./climb.ts";
import { add, type Double2, difference, double2, round, ZERO } from "./double2.ts";
import { firstTrial } from "./first-trial.ts";
import { type CubicModel, evaluate, excess, type Point, tangentStep } from "./model.ts";
import { minimiserAtPole, mixed, type Pole, poleBelow, poleBound } from "./pole.ts";
import { type CubicSolution, found, MAX_TRIALS, missing, TOLERANCE } from "./solution.ts";

/** How much of the pole's drift in inverse iteration may still be to come. */
const DRIFT_FACTOR = 32;

/** Trials near a hidden root: where it is not found by then, it moves by rounding. */
const PATIENCE = 3;

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
  /** An r that is as good as 0. */
  #nothing = 0;
  /** Trials near a hidden root. */
  #looks = 0;

  /** @param direction one along which H is not positive. */
  constructor(model: CubicModel, direction: Float64Array) {
    this.#model = model;
    this.#direction = direction;
  }

  run(): CubicSolution {
    let r = firstTrial(this.#model);
    this.#nothing = r.hi * Number.EPSILON ** 2;
    for (let i = 1; i < MAX_TRIALS && Number.isFinite(r.hi); i++) {
      const trial = evaluate(this.#model, r);
      const step = trial.definite ? this.#above(trial) : this.#below(r, trial.direction);
      if ("found" in step) return step;
      r = step;
    }
    return missing("the pole of the secular equation was not found within rounding");
  }

  /** A trial where M(r) is positive definite: ends the search, or gives the next r. */
  #above(point: Point): CubicSolution | Double2 {
    this.#misses = 0;
    if (Math.abs(excess(point)) <= TOLERANCE * point.norm) return found(point);
    if (excess(point) < 0) this.#high = point;
    const next = tangentStep(this.#model, point);
    const isAhead = excess(point) < 0 && isBetween(this.#low, next, point.r);
    return isAhead && !(this.#pole && isHidden(this.#pole)) ? next : this.#from(point);
  }

  /** A trial where M(r) is not positive definite: as above. */
  #below(r: Double2, direction: Float64Array): CubicSolution | Double2 {
    this.#misses++;
    this.#direction = direction;
    this.#low = larger(this.#low, larger(r, poleBound(this.#model, r, direction)));
    if (this.#high === undefined) return double2(round(this.#low) * 2 ** this.#misses);
    if (this.#misses > 1 && this.#misses % 2 === 0)
      return between(this.#low, this.#high.r, Math.min(1 / 2, 2 ** (this.#misses - 7)));
    return this.#from(this.#high);
  }

  /** Goes on by what the pole looks like from a point. */
  #from(point: Point): CubicSolution | Double2 {
    const pole = this.#locate(point);
    if (point.r.hi <= this.#nothing) return atPole(this.#model, point, pole);
    if (!isHidden(pole)) return excess(point) > 0 ? climb(this.#model, point) : beyond(pole, this.#low, point.r);
    if (difference(point.r, pole.x0) <= pole.hidden) this.#looks++;
    if (isAtRoot(pole, point) || this.#looks > PATIENCE) return atPole(this.#model, point, pole);
    return beyond(pole, this.#low, this.#high ? larger(this.#high.r, point.r) : point.r);
  }

  #locate(point: Point): Pole {
    const pole = poleBelow(this.#model, point, mixed(this.#model, this.#direction));
    this.#pole = pole;
    this.#direction = pole.q;
    this.#low = larger(this.#low, pole.least);
    return pole;
  }
}

/**
 * The minimiser at a pole that the point is as good as on. Of a kernel of several dimensions, g has a part along one direction:
 * that of η.
 */
function atPole(model: CubicModel, point: Point, pole: Pole): CubicSolution {
  const along = point.norm > 0 ? poleBelow(model, point, point.lrs) : pole;
  const isSame = Math.abs(difference(along.x0, pole.x0)) <= pole.hidden;
  return { found: true, ...minimiserAtPole(model, isSame ? along : pole) };
}

/** Whether the root is so near the pole that η cannot be computed there. */
function isHidden({ delta, hidden }: Pole): boolean {
  return delta <= hidden;
}

/** Whether a point is as good as on a hidden root, so that p and q are those at the root. */
function isAtRoot({ x0, delta, near }: Pole, point: Point): boolean {
  return Math.abs(difference(point.r, x0) - delta) <= Math.max(near, delta * 2 ** -20);
}

/**
 * The root that the pole predicts, or a little above the pole where it is not known well enough: from closer by,
 * inverse iteration finds it the faster.
 */
function beyond(pole: Pole, low: Double2, high: Double2): Double2 {
  const root = add(pole.x0, double2(Math.max(pole.delta, pole.near / 2, DRIFT_FACTOR * pole.drift)));
  return isBetween(low, root, high) ? root : between(low, high, 1 / 32);
}
