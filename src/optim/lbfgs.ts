import { defaultEngine, type Variable } from "../engine/index.ts";
import type { FullLoss, Loss, Module, Parameter } from "../nn/index.ts";
import type { ParameterGroup } from "../summary/index.ts";
import { NonFiniteError, OptionError } from "../util/errors.ts";
import { type FloatData, type NDArray, sizeOf } from "../util/ndarray.ts";
import { checkNonNegative, checkPositive, checkWhole, type OptionCheck, type OptionTable } from "../util/options.ts";
import { listOf, optional, real, record, vector } from "../util/schema.ts";
import { FixedRateOptimizer, readSettings, type UnclippedOptions } from "./fixed-rate.ts";
import { type LinePoint, strongWolfe } from "./line-search.ts";
import { propose } from "./propose.ts";
import type { Fields, UncheckedState } from "./saved-state.ts";
import { type Proposal, type StepInput, Stepper } from "./stepper.ts";
import { resolveTarget } from "./target.ts";
import { SGDUpdater } from "./updater.ts";

/** What {@link LBFGS} has of its own. */
interface LBFGSSettings {
  /** The first step length that a line search tries; 1 by default. */
  readonly lr?: number;
  /** Iterations of one step; 20 by default. */
  readonly maxIter?: number;
  /** Evaluations of loss and gradient in one step, after which no iteration begins; 1.25 maxIter by default. */
  readonly maxEval?: number;
  /** A step ends where no entry of the gradient is larger; 1e-7 by default. */
  readonly toleranceGrad?: number;
  /** A step ends where neither a parameter nor the loss changes by more; 1e-9 by default. */
  readonly toleranceChange?: number;
  /** How many iterations the Hessian is estimated from; 100 by default. */
  readonly historySize?: number;
}

/** Options of {@link LBFGS}. */
export interface LBFGSOptions extends UnclippedOptions, LBFGSSettings {}

const count: OptionCheck = (name, value) => checkWhole(name, value, 1);

function settingsTable(maxIter = 20): OptionTable<LBFGSSettings> {
  return {
    lr: [1, checkPositive],
    maxIter: [20, count],
    maxEval: [Math.floor((maxIter * 5) / 4), count],
    toleranceGrad: [1e-7, checkNonNegative],
    toleranceChange: [1e-9, checkNonNegative],
    historySize: [100, count],
  };
}

/** An iteration's step and how the gradient changed along it. */
interface Pair {
  readonly step: Float64Array;
  readonly change: Float64Array;
  /** Their product, above 0. */
  readonly curvature: number;
}

/** What the next iteration knows of those before. */
interface Memory {
  /** The newest last. */
  readonly pairs: readonly Pair[];
  /** The last iteration's step, and the gradient at its start. */
  readonly last?: { readonly step: Float64Array; readonly gradient: Float64Array };
}

/** Loss and gradient at a place. */
interface Evaluated {
  readonly value: number;
  readonly gradient: Float64Array;
}

type Evaluate = (x: Float64Array) => Promise<Evaluated>;

/** A pair whose product is not above this tells nothing of the curvature, as in PyTorch. */
const LEAST_CURVATURE = 1e-10;

/** A place with its loss, gradient, and derivative along the line that it was found on. */
interface Place extends LinePoint, Evaluated {
  readonly x: Float64Array;
}

/**
 * L-BFGS with a line search to the strong Wolfe conditions, as `torch.optim.LBFGS` with `line_search_fn="strong_wolfe"`
 * (Nocedal & Wright, algorithm 7.5). A step is up to `maxIter` iterations on its batch; each evaluation of loss and gradient is
 * a run of one compiled program, what is between them is float64 arithmetic on the host.
 *
 * Random masks are drawn once for a step, and buffers are updated once, by its first evaluation.
 */
export class LBFGS extends FixedRateOptimizer {
  readonly #settings: Required<LBFGSSettings>;
  #memory: Memory = { pairs: [] };

  private constructor(stepper: Stepper, options: LBFGSOptions, settings: Required<LBFGSSettings>) {
    super("LBFGS", stepper, { ...options, lr: settings.lr }, { historySize: settings.historySize });
    this.#settings = settings;
  }

  /** @throws OptionError */
  static create(model: Module, loss: Loss, options?: LBFGSOptions): Promise<LBFGS>;
  static create(groups: readonly ParameterGroup<Parameter>[], loss: FullLoss, options?: LBFGSOptions): Promise<LBFGS>;
  static async create(
    target: Module | readonly ParameterGroup<Parameter>[],
    loss: Loss | FullLoss,
    options: LBFGSOptions = {},
  ): Promise<LBFGS> {
    const settings = readSettings<LBFGSSettings>("LBFGS", options, settingsTable(options?.maxIter));
    const { objective, groups } = resolveTarget(target, loss, undefined);
    const engine = options.engine ?? (await defaultEngine());
    // The direction of plain SGD is the gradient.
    const stepper = new Stepper(engine, { objective, groups, updater: new SGDUpdater() }, options);
    return new LBFGS(stepper, options, settings);
  }

  protected async advance(input: StepInput, signal?: AbortSignal): Promise<number | undefined> {
    if ("gradient" in input)
      throw new OptionError(
        "LBFGS: a step needs a batch, since it evaluates the loss at several points; found a gradient",
      );
    const { random } = this.stepper;
    const drawn = random.state;
    const start = await this.#parameters();
    const proposal = await propose(this.stepper, input, signal);
    const next = random.state;
    const evaluate = async (x: Float64Array): Promise<Evaluated> => {
      random.state = drawn;
      return await this.#evaluate(x, input, signal);
    };
    try {
      const end = await this.#iterate(start, proposal, evaluate);
      this.#write(end.x);
      // Nothing is left to move: this is for the buffers of the first evaluation.
      const loss = await this.stepper.apply(proposal, new Float64Array(this.groups.length));
      random.state = next;
      this.#memory = end.memory;
      return loss;
    } catch (error) {
      this.#write(start);
      throw error;
    }
  }

  protected override memory(): { readonly memory: Memory } {
    return { memory: this.#memory };
  }

  protected override fields({ stepper, memory }: UncheckedState): Fields {
    const numbers = vector(this.#places().at(-1)?.end ?? 0);
    const pair = record({ step: numbers, change: numbers, curvature: real("positive") });
    const last = record({ step: numbers, gradient: numbers });
    const most = stepper?.updates === 0 ? 0 : this.#settings.historySize;
    const hasPairs = Array.isArray(memory?.pairs) && memory.pairs.length > 0;
    return {
      memory: record({ pairs: listOf(pair, 0, most), ...(most > 0 && { last: hasPairs ? last : optional(last) }) }),
    };
  }

  protected override recall({ memory }: { readonly memory: Memory }): void {
    this.#memory = memory;
  }

  /** Iterations until one of the tolerances or limits is met. The proposal is given back where one fails. */
  async #iterate(
    start: Float64Array,
    proposal: Proposal,
    evaluate: Evaluate,
  ): Promise<{ x: Float64Array; memory: Memory }> {
    try {
      const gradient = await this.#gradientOf(proposal);
      return await descend({ x: start, value: proposal.loss!, gradient }, this.#memory, evaluate, this.#settings);
    } catch (error) {
      this.stepper.discard(proposal);
      throw error;
    }
  }

  /** Loss and gradient at a place; an infinite loss where they are not finite. */
  async #evaluate(x: Float64Array, input: StepInput, signal: AbortSignal | undefined): Promise<Evaluated> {
    this.#write(x);
    try {
      const proposal = await propose(this.stepper, input, signal);
      const gradient = await this.#gradientOf(proposal);
      this.stepper.discard(proposal);
      return { value: proposal.loss!, gradient };
    } catch (error) {
      if (!(error instanceof NonFiniteError)) throw error;
      return { value: Number.POSITIVE_INFINITY, gradient: new Float64Array(x.length) };
    }
  }

  /** The parameters that are trained, one after the other, and where each begins in a vector of all. */
  #places(): { name: string; variable: Variable; begin: number; end: number }[] {
    let end = 0;
    return [...this.stepper.members].map((name) => {
      const variable = this.stepper.parts.objective.variables.get(name)!;
      const begin = end;
      end += sizeOf(variable.shape);
      return { name, variable, begin, end };
    });
  }

  async #gathered(numbersOf: (name: string, variable: Variable) => Promise<NDArray>): Promise<Float64Array> {
    const places = this.#places();
    const all = new Float64Array(places.at(-1)?.end ?? 0);
    for (const { name, variable, begin } of places) all.set((await numbersOf(name, variable)).data as FloatData, begin);
    return all;
  }

  #parameters(): Promise<Float64Array> {
    return this.#gathered((_name, variable) => variable.read());
  }

  #gradientOf({ directions }: Proposal): Promise<Float64Array> {
    return this.#gathered((name) => this.stepper.engine.read(directions[name]!));
  }

  #write(x: Float64Array): void {
    for (const { variable, begin, end } of this.#places())
      variable.write({ shape: variable.shape, data: x.subarray(begin, end) });
  }
}

/** Iterations from a place on, until one of the tolerances or limits is met. */
async function descend(
  first: Evaluated & { readonly x: Float64Array },
  before: Memory,
  evaluate: Evaluate,
  { lr, maxIter, maxEval, toleranceGrad, toleranceChange, historySize }: Required<LBFGSSettings>,
): Promise<{ x: Float64Array; memory: Memory }> {
  let [here, memory, evaluations] = [first, before, 1];
  for (let i = 0; i < maxIter && largest(here.gradient) > toleranceGrad; i++) {
    if (i > 0 && evaluations >= maxEval) break;
    const { x, value, gradient } = here;
    const known = learn(memory, gradient, historySize);
    const direction = newtonLike(known.pairs, gradient);
    const slope = dot(gradient, direction);
    if (slope > -toleranceChange) break;
    const { point, evaluations: more } = await strongWolfe<Place>({
      at: async (t) => {
        const place = x.map((each, j) => each + t * direction[j]!);
        const found = await evaluate(place);
        return { t, x: place, ...found, slope: dot(found.gradient, direction) };
      },
      start: { t: 0, x, value, gradient, slope },
      first: memory.last ? lr : Math.min(1, 1 / absoluteSum(gradient)) * lr,
      length: largest(direction),
      tries: maxEval - evaluations,
    });
    const step = direction.map((each) => point.t * each);
    memory = { pairs: known.pairs, last: { step, gradient } };
    evaluations += more;
    here = point;
    if (largest(step) <= toleranceChange || Math.abs(point.value - value) < toleranceChange) break;
  }
  return { x: here.x, memory };
}

/** The memory with the last iteration in it, if the loss curves upwards along its step. */
function learn(memory: Memory, gradient: Float64Array, historySize: number): Memory {
  if (!memory.last) return memory;
  const { step, gradient: before } = memory.last;
  const change = gradient.map((value, i) => value - before[i]!);
  const curvature = dot(change, step);
  if (!(curvature > LEAST_CURVATURE)) return memory;
  return { ...memory, pairs: [...memory.pairs, { step, change, curvature }].slice(-historySize) };
}

/** −H g by two loops over the pairs (Nocedal & Wright, algorithm 7.4), from H = s·y / y·y of the newest one. */
function newtonLike(pairs: readonly Pair[], gradient: Float64Array): Float64Array {
  const direction = gradient.map((value) => -value);
  const weights: number[] = [];
  for (const { step, change, curvature } of pairs.toReversed()) {
    const weight = dot(step, direction) / curvature;
    addTimes(direction, -weight, change);
    weights.unshift(weight);
  }
  const newest = pairs.at(-1);
  const scale = newest ? newest.curvature / dot(newest.change, newest.change) : 1;
  for (let i = 0; i < direction.length; i++) direction[i]! *= scale;
  for (const [i, { step, change, curvature }] of pairs.entries())
    addTimes(direction, weights[i]! - dot(change, direction) / curvature, step);
  return direction;
}

/** Adds a multiple of y to x. A loop: with hundreds of vectors an iteration waits for this, and `map` takes five times as long. */
function addTimes(x: Float64Array, factor: number, y: Float64Array): void {
  for (let i = 0; i < x.length; i++) x[i]! += factor * y[i]!;
}

function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!;
  return sum;
}

function absoluteSum(x: Float64Array): number {
  return x.reduce((sum, value) => sum + Math.abs(value), 0);
}

/** The largest absolute value of an entry. */
function largest(x: Float64Array): number {
  return x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}
