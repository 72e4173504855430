import { defaultEngine, inTurn } from "../engine/index.ts";
import type { FullLoss, Loss, Module, Parameter, StateDict } from "../nn/index.ts";
import type { NamedGroup, ParameterGroup } from "../summary/index.ts";
import { DisposedError, NonFiniteError } from "../util/errors.ts";
import { refuseUnknown } from "../util/options.ts";
import { COMMON, type CommonOptions, checkCommon, checkPositive, checkUpdater } from "./newton-options.ts";
import type { StepArgument, StepResult, TrainingOptimizer } from "./result.ts";
import { checkIdentity, type Identity, identityOf } from "./saved-state.ts";
import { Stepper, type StepperState } from "./stepper.ts";
import { resolveTarget } from "./target.ts";
import type { Updater } from "./updater.ts";

/** Options of {@link Optimizer}. */
export interface OptimizerOptions extends CommonOptions {
  readonly updater: Updater;
  /** The learning rate of every parameter, above 0. */
  readonly lr: number;
}

/** A saved state of {@link Optimizer}: all but parameters and buffers. */
export interface OptimizerState extends Identity {
  readonly step: number;
  readonly stepper: StepperState;
}

/** An updater with a fixed learning rate: SGD or Adam as usual. A step is one compiled call. */
export class Optimizer implements TrainingOptimizer {
  readonly groups: readonly NamedGroup[];
  readonly #stepper: Stepper;
  readonly #options: OptimizerOptions;
  #step = 0;
  #disposed = false;

  private constructor(stepper: Stepper, options: OptimizerOptions) {
    this.groups = stepper.parts.groups;
    this.#stepper = stepper;
    this.#options = options;
  }

  /** @throws OptionError */
  static create(model: Module, loss: Loss, options: OptimizerOptions): Promise<Optimizer>;
  static create(
    groups: readonly ParameterGroup<Parameter>[],
    loss: FullLoss,
    options: OptimizerOptions,
  ): Promise<Optimizer>;
  static async create(
    target: Module | readonly ParameterGroup<Parameter>[],
    loss: Loss | FullLoss,
    options: OptimizerOptions,
  ): Promise<Optimizer> {
    refuseUnknown("Optimizer", options, ["updater", "lr", ...COMMON]);
    checkUpdater(options.updater);
    checkPositive("lr", options.lr);
    checkCommon(options);
    const { objective, groups } = resolveTarget(target, loss, undefined);
    const engine = options.engine ?? (await defaultEngine());
    const parts = { objective, groups, updater: options.updater, clipGradNorm: options.clipGradNorm };
    return new Optimizer(new Stepper(engine, parts, options.seed ?? 0), options);
  }

  /** The learning rate, once for each group. */
  get learningRates(): Float64Array {
    return new Float64Array(this.groups.length).fill(this.#options.lr);
  }

  /** One step; see {@link NewtonSummary.step}. */
  step(input?: StepArgument, options: { readonly signal?: AbortSignal } = {}): Promise<StepResult> {
    return inTurn(this.#stepper.engine, async () => {
      this.#assertAlive();
      options.signal?.throwIfAborted();
      const result = await this.#guarded(input);
      this.#step++;
      this.#options.onStep?.(result);
      return result;
    });
  }

  /**
   * The weights to use at this point, for `loadStateDict`: the model's own parameters and buffers, unless the updater trains
   * others than it gives, as {@link ScheduleFreeAdamWUpdater} does. The model keeps those that are trained.
   */
  evaluationWeights(): Promise<StateDict> {
    return inTurn(this.#stepper.engine, async () => {
      this.#assertAlive();
      return await this.#stepper.evaluationWeights(this.learningRates);
    });
  }

  state(): Promise<OptimizerState> {
    return inTurn(this.#stepper.engine, async () => {
      this.#assertAlive();
      return {
        ...identityOf("Optimizer", this.#stepper.parts),
        step: this.#step,
        stepper: await this.#stepper.state(),
      };
    });
  }

  /** @throws StateError; then nothing changed */
  restore(saved: unknown): Promise<void> {
    return inTurn(this.#stepper.engine, async () => {
      this.#assertAlive();
      checkIdentity(identityOf("Optimizer", this.#stepper.parts), saved);
      const { step, stepper } = saved as OptimizerState;
      await this.#stepper.restore(stepper);
      this.#step = step;
    });
  }

  dispose(): Promise<void> {
    return inTurn(this.#stepper.engine, async () => {
      this.#disposed = true;
      await this.#stepper.dispose();
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #assertAlive(): void {
    if (this.#disposed) throw new DisposedError("this optimiser was disposed");
  }

  async #guarded(input: StepArgument | undefined): Promise<StepResult> {
    const learningRates = this.learningRates;
    const { random } = this.#stepper;
    const drawn = random.state;
    try {
      const from = input && "gradient" in input ? { gradient: input.gradient } : { batch: input };
      const loss = await this.#stepper.step(from, learningRates);
      return { step: this.#step, loss: loss ?? Number.NaN, learningRates };
    } catch (error) {
      random.state = drawn;
      if (!(error instanceof NonFiniteError) || this.#options.onNonFinite !== "skip") throw error;
      (this.#options.log ?? console.warn)(`step ${this.#step} was left out: ${error.message}`);
      return { step: this.#step, loss: Number.NaN, learningRates, skipped: error.message };
    }
  }
}
