import { defaultEngine, inTurn } from "../engine/index.ts";
import type { FullLoss, Loss, Module, Parameter, StateDict } from "../nn/index.ts";
import type { ParameterGroup } from "../summary/index.ts";
import { checkPositive, refuseUnknown } from "../util/options.ts";
import { FixedRateOptimizer } from "./fixed-rate.ts";
import { COMMON, type CommonOptions, checkCommon, checkUpdater } from "./newton-options.ts";
import { inOneRun, propose } from "./propose.ts";
import { type BegunStep, type StepInput, Stepper } from "./stepper.ts";
import { resolveTarget } from "./target.ts";
import type { Updater } from "./updater.ts";

/** Options of {@link Optimizer}. */
export interface OptimizerOptions extends CommonOptions {
  readonly updater: Updater;
  /** The learning rate of every parameter, above 0. */
  readonly lr: number;
}

/** An updater with a fixed learning rate: SGD or Adam as usual. A step is one compiled call. */
export class Optimizer extends FixedRateOptimizer {
  /** @throws OptionError, and what the updater throws where it does not take a parameter */
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
    const stepper = new Stepper(engine, { objective, groups, updater: options.updater }, options);
    // What such an updater keeps may be in units of the learning rate.
    const settings = options.updater.evaluation ? { lr: options.lr } : {};
    return new Optimizer("Optimizer", stepper, options, settings);
  }

  /**
   * The weights to use at this point, for `loadStateDict`: the model's own parameters and buffers, unless the updater trains
   * others than it gives, as {@link ScheduleFreeAdamWUpdater} does. The model keeps those that are trained.
   */
  evaluationWeights(): Promise<StateDict> {
    return this.inTurn(() => this.stepper.evaluationWeights(this.learningRates));
  }

  /**
   * Runs a task while the model holds {@link evaluationWeights}: an evaluation, or the saving of a model. Afterwards it holds
   * the weights that are trained again. No step may be taken meanwhile.
   */
  async withEvaluationWeights<T>(task: () => Promise<T>): Promise<T> {
    const putBack = await this.inTurn(() => this.stepper.useEvaluationWeights(this.learningRates));
    try {
      return await task();
    } finally {
      await inTurn(this.stepper.engine, async () => putBack());
    }
  }

  protected override async begin(from: StepInput, after: BegunStep | undefined): Promise<BegunStep | undefined> {
    return inOneRun(this.stepper, from) ? await this.stepper.begin(from, this.learningRates, after) : undefined;
  }

  protected async advance(
    from: StepInput,
    signal: AbortSignal | undefined,
    begun: BegunStep | undefined,
  ): Promise<number | undefined> {
    if (inOneRun(this.stepper, from)) return await this.stepper.step(from, this.learningRates, begun);
    return await this.stepper.apply(await propose(this.stepper, from, signal), this.learningRates);
  }
}
