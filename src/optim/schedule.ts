import { NonFiniteError, OptionError, StateError } from "../util/errors.ts";
import {
  checkNonNegative,
  checkOneOf,
  checkPositive,
  checkWhole,
  type OptionCheck,
  readOptions,
} from "../util/options.ts";
import { anything, listOf, real, record, whole } from "../util/schema.ts";
import { multiplied } from "./damping.ts";
import { firstDifference } from "./saved-state.ts";

/** What a schedule turns: a `NewtonSummary`. */
export interface Scheduled {
  /** λ₁ of each group. */
  get damping(): Float64Array;
  set damping(value: number | ArrayLike<number>);
  /** Whether λ₁ adapts by itself. */
  readonly adapts: boolean;
  /** λ_int; undefined without cubic regularisation. */
  get dampingInt(): number | undefined;
  set dampingInt(value: number);
  /** From now on the schedule's state is saved and restored with that of the optimiser. */
  addSchedule(schedule: Schedule): void;
}

/** A rule that turns damping as a run goes on. Its user calls its `step`. */
export interface Schedule {
  /** Tells schedules apart in saved states, as do their options: plain data. */
  readonly name: string;
  readonly options: object;
  /** A plain tree of all that the rule remembers. Setting it throws a StateError where it is damaged, and then changes nothing. */
  state: unknown;
}

/** Which damping a schedule turns. */
export type AppliesTo = "damping" | "dampingInt";

/** Options of {@link ReduceDampingOnPlateau}. */
export interface PlateauOptions {
  /** Whether the metric should fall ("min", the default) or rise ("max"). */
  readonly mode?: "min" | "max";
  /** What damping is multiplied by: below 1 (0.1 by default); dampingInt: not 1 (10 by default, which holds rates back). */
  readonly factor?: number;
  /** Steps in a row without an improvement that are let pass; 10 by default. */
  readonly patience?: number;
  /** By how much a metric must be better than the best one to count as an improvement; 1e-4 by default. */
  readonly threshold?: number;
  /** Whether the threshold is a share of the best metric ("rel", the default) or a difference ("abs"). */
  readonly thresholdMode?: "rel" | "abs";
  /** Steps after a change in which nothing is counted; 0 by default. */
  readonly cooldown?: number;
  /** A factor below 1 makes what it turns no smaller than this: one number, or one for each group's damping; 0 by default. */
  readonly min?: number | readonly number[];
  /** Smaller changes are not made; 1e-8 by default. */
  readonly eps?: number;
  readonly applyTo?: AppliesTo;
}

/** What {@link ReduceDampingOnPlateau} remembers. */
export interface PlateauState {
  /** The best metric; undefined before the first. After a change, the metric of that step. */
  readonly best?: number;
  readonly badSteps: number;
  /** Steps of the cooldown that are left. */
  readonly cooldown: number;
}

/**
 * Multiplies damping (and with it the rates), or dampingInt, by a factor when a metric has stopped to improve: as
 * `torch.optim.lr_scheduler.ReduceLROnPlateau`, but that a change makes the metric of that step the best one.
 *
 * ```ts
 * const schedule = new ReduceDampingOnPlateau(optimizer, { factor: 0.5, patience: 2 });
 * // after each epoch
 * schedule.step((await evaluate(model, loss, batches)).loss);
 * ```
 */
export class ReduceDampingOnPlateau implements Schedule {
  readonly name = "ReduceDampingOnPlateau";
  readonly options: Required<PlateauOptions>;
  readonly #target: Scheduled;
  #state: PlateauState = { badSteps: 0, cooldown: 0 };

  /** @throws OptionError */
  constructor(target: Scheduled, options: PlateauOptions = {}) {
    this.options = readOptions<PlateauOptions>(this.name, options, {
      mode: ["min", oneOf("min", "max")],
      factor: [options.applyTo === "dampingInt" ? 10 : 0.1, checkPositive],
      patience: [10, wholeFrom0],
      threshold: [1e-4, checkNonNegative],
      thresholdMode: ["rel", oneOf("rel", "abs")],
      cooldown: [0, wholeFrom0],
      min: [0, checkMin],
      eps: [1e-8, checkNonNegative],
      applyTo: ["damping", oneOf("damping", "dampingInt")],
    });
    const { factor, applyTo } = this.options;
    if (factor === 1 || (factor > 1 && applyTo === "damping"))
      throw new OptionError(`${this.name}: factor must be below 1 for damping, and not 1; found ${factor}`);
    checkTarget(this.name, target, this.options);
    this.#target = target;
    target.addSchedule(this);
  }

  get state(): PlateauState {
    return { ...this.#state };
  }

  set state(saved: unknown) {
    const begun = (saved as Partial<PlateauState> | undefined)?.best !== undefined;
    record({
      ...(begun && { best: real() }),
      badSteps: whole(0, begun ? this.options.patience : 0),
      cooldown: whole(0, begun ? this.options.cooldown : 0),
    })(this.name, saved);
    this.#state = { ...(saved as PlateauState) };
  }

  /**
   * Takes note of a metric, and changes what it turns where too many were no improvement.
   * @throws NonFiniteError where the metric is NaN or infinite; then nothing changed.
   */
  step(metric: number): void {
    if (!Number.isFinite(metric)) throw new NonFiniteError(`${this.name}: the metric is ${metric}`);
    const { best, badSteps, cooldown } = this.#state;
    const better = best === undefined || this.#improves(metric, best);
    const bad = better || cooldown > 0 ? 0 : badSteps + 1;
    const next = { best: better ? metric : best, badSteps: bad, cooldown: Math.max(cooldown - 1, 0) };
    if (bad <= this.options.patience) this.#state = next;
    else {
      this.#change();
      this.#state = { best: metric, badSteps: 0, cooldown: this.options.cooldown };
    }
  }

  #improves(metric: number, best: number): boolean {
    const { mode, threshold, thresholdMode } = this.options;
    const sign = mode === "min" ? -1 : 1;
    const bar = thresholdMode === "rel" ? best * (1 + sign * threshold) : best + sign * threshold;
    return sign * metric > sign * bar;
  }

  #change(): void {
    const { factor, min, eps, applyTo } = this.options;
    multiply(this.#target, applyTo, factor, min, eps);
  }
}

/** Options of {@link GeometricDamping}. */
export interface GeometricOptions {
  /** What the damping is multiplied by at each step after the warm-up; above 0, 1 by default. */
  readonly factor?: number;
  /** Damping rises evenly over so many steps from a share of what it was to all of it; 0 by default. */
  readonly warmup?: number;
  /** A factor below 1 makes what it turns no smaller than this: one number, or one for each group's damping; 0 by default. */
  readonly min?: number | readonly number[];
  readonly applyTo?: AppliesTo;
}

/**
 * A geometric schedule: each `step()` (after an epoch, or after a step of the optimiser) multiplies damping or dampingInt by
 * a factor. With a warm-up of n steps they begin at 1/(n + 1) of what was set, and grow by as much with each.
 */
export class GeometricDamping implements Schedule {
  readonly name = "GeometricDamping";
  readonly options: Required<GeometricOptions>;
  readonly #target: Scheduled;
  #steps = 0;

  /** @throws OptionError */
  constructor(target: Scheduled, options: GeometricOptions = {}) {
    this.options = readOptions<GeometricOptions>(this.name, options, {
      factor: [1, checkPositive],
      warmup: [0, wholeFrom0],
      min: [0, checkMin],
      applyTo: ["damping", oneOf("damping", "dampingInt")],
    });
    const { applyTo, warmup } = this.options;
    checkTarget(this.name, target, this.options);
    this.#target = target;
    target.addSchedule(this);
    if (warmup > 0) multiply(target, applyTo, 1 / (warmup + 1), 0, 0);
  }

  get state(): { readonly steps: number } {
    return { steps: this.#steps };
  }

  set state(saved: unknown) {
    record({ steps: whole(0) })(this.name, saved);
    this.#steps = (saved as { readonly steps: number }).steps;
  }

  step(): void {
    const { factor, warmup, min, applyTo } = this.options;
    this.#steps++;
    if (this.#steps <= warmup) multiply(this.#target, applyTo, (this.#steps + 1) / this.#steps, 0, 0);
    else multiply(this.#target, applyTo, factor, min, 0);
  }
}

/** Multiplies what a schedule turns, unless that would change it by too little, or across its minimum. */
function multiply(
  target: Scheduled,
  applyTo: AppliesTo,
  factor: number,
  min: number | readonly number[],
  eps: number,
): void {
  const turned = (value: number, i: number): number => {
    const next = Math.max(multiplied(value, factor), typeof min === "number" ? min : min[i]!);
    return (factor < 1 ? value - next : next - value) > eps ? next : value;
  };
  if (applyTo === "damping") target.damping = target.damping.map(turned);
  else target.dampingInt = turned(target.dampingInt!, 0);
}

/** @throws OptionError where a schedule's options do not suit what it turns */
function checkTarget(
  name: string,
  target: Scheduled,
  { applyTo, factor, min }: Required<Pick<GeometricOptions, "applyTo" | "factor" | "min">>,
): void {
  if (typeof target?.addSchedule !== "function")
    throw new OptionError(`${name}: expected an optimiser with a damping to turn, such as NewtonSummary`);
  if (applyTo === "dampingInt" && target.dampingInt === undefined)
    throw new OptionError(`${name}: applyTo "dampingInt" would be ignored by an optimiser with nesterov.use false`);
  if (applyTo === "damping" && target.adapts)
    throw new OptionError(
      `${name}: applyTo "damping" would be undone by automatic damping: give the optimiser a number for damping, or set applyTo: "dampingInt"`,
    );
  const places = applyTo === "damping" ? target.damping.length : 1;
  if (typeof min !== "number" && min.length !== places)
    throw new OptionError(`${name}: min must be one number or ${places}; found ${min.length}`);
  if (factor >= 1 && [min].flat().some((each) => each > 0))
    throw new OptionError(`${name}: min would be ignored with factor ${factor}, which makes nothing smaller`);
}

const checkMin: OptionCheck = (name, value) => {
  for (const each of Array.isArray(value) ? value : [value]) checkNonNegative(name, each);
};

const wholeFrom0: OptionCheck = (name, value) => checkWhole(name, value, 0);

function oneOf(...known: readonly string[]): OptionCheck {
  return (name, value) => checkOneOf(name, value, known);
}

/**
 * Gives schedules their saved states.
 * @returns what gives them back those that they had.
 * @throws StateError where the states are of other schedules or options, or damaged; then nothing changed.
 */
export function placeSchedules(schedules: readonly Schedule[], saved: unknown): () => void {
  listOf(record({ name: anything, options: anything, state: anything }))("schedules", saved);
  const found = saved as readonly Pick<Schedule, "name" | "options" | "state">[];
  const named = (all: readonly Pick<Schedule, "name">[]): string => all.map(({ name }) => name).join(", ") || "none";
  if (named(schedules) !== named(found))
    throw new StateError(`state: it is of other schedules: expected ${named(schedules)}, found ${named(found)}`);
  for (const [i, { name, options }] of schedules.entries()) {
    const difference = firstDifference(options, found[i]!.options, name);
    if (difference !== undefined) throw new StateError(`state: it is of another schedule: ${difference}`);
  }
  const before = schedules.map(({ state }) => state);
  const back = (): void => {
    for (const [i, schedule] of schedules.entries()) schedule.state = before[i];
  };
  try {
    for (const [i, schedule] of schedules.entries()) schedule.state = structuredClone(found[i]!.state);
  } catch (error) {
    back();
    throw error;
  }
  return back;
}
