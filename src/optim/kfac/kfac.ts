import { defaultEngine } from "../../engine/index.ts";
import { type FullLoss, type Loss, Module, type Parameter } from "../../nn/index.ts";
import type { ParameterGroup } from "../../summary/index.ts";
import { OptionError } from "../../util/errors.ts";
import {
  checkNonNegative,
  checkOneOf,
  checkPositive,
  checkShare,
  checkWhole,
  type OptionCheck,
  type OptionTable,
} from "../../util/options.ts";
import { FixedRateOptimizer, readSettings, type UnclippedOptions } from "../fixed-rate.ts";
import { inOneRun } from "../propose.ts";
import { type StepInput, Stepper } from "../stepper.ts";
import { resolveTarget } from "../target.ts";
import { SGDUpdater } from "../updater.ts";
import { KroneckerPreconditioner } from "./kronecker.ts";

/** What {@link KFAC} has of its own. */
interface KFACSettings {
  /** The learning rate; 0.003 by default. */
  readonly lr?: number;
  /** λ, added to the Fisher matrix; 0.03 by default. */
  readonly damping?: number;
  /** How much of its Kronecker factors stays when new ones come in; 0.95 by default. */
  readonly factorDecay?: number;
  /** The most that a step may change the model's distribution, or Infinity; 0.001 by default. */
  readonly klClip?: number;
  /** How much of earlier steps is added to each; 0.9 by default. */
  readonly momentum?: number;
  /** η, for ½ η ‖θ‖² added to the loss, and η to the Fisher matrix; 0 by default. */
  readonly weightDecay?: number;
  /** Steps from one change of the factors to the next; 10 by default. */
  readonly factorUpdateSteps?: number;
  /** Steps from one inversion of the factors to the next, a multiple of `factorUpdateSteps`; 100 by default. */
  readonly invUpdateSteps?: number;
  /** Whose gradients make up the Fisher matrix: of targets drawn from the model's own distribution ("true", the default), or of the batch's ("empirical"). */
  readonly fisher?: "true" | "empirical";
}

/** Options of {@link KFAC}: its steps are not cut into parts, of which no Fisher matrix is made. */
export interface KFACOptions extends Omit<UnclippedOptions, "stepMicrobatch">, KFACSettings {}

const period: OptionCheck = (name, value) => checkWhole(name, value, 1);

const checkClip: OptionCheck = (name, value) => {
  if (value !== Number.POSITIVE_INFINITY) checkPositive(name, value);
};

const TABLE: OptionTable<KFACSettings> = {
  lr: [0.003, checkPositive],
  damping: [0.03, checkPositive],
  factorDecay: [0.95, checkShare],
  klClip: [0.001, checkClip],
  momentum: [0.9, checkShare],
  weightDecay: [0, checkNonNegative],
  factorUpdateSteps: [10, period],
  invUpdateSteps: [100, period],
  fisher: ["true", (name, value) => checkOneOf(name, value, ["true", "empirical"])],
};

/**
 * K-FAC (Martens & Grosse, 2015, arXiv 1503.05671; for convolutions Grosse & Martens, 2016, arXiv 1602.01407): the gradient times
 * the inverse of a Fisher matrix with a Kronecker product for each layer. The learning rate and momentum are fixed and steps
 * are held by `klClip`, as in PyTorch's K-FAC packages, where the papers' optimiser finds both from a quadratic model.
 *
 * Layers are found from what is computed: a weight that enters products with inputs alone (a matrix product, convolution or
 * transposed convolution, once or several times), with the bias that is added to the results. For other parameters the
 * Fisher matrix's diagonal is used.
 */
export class KFAC extends FixedRateOptimizer {
  private constructor(stepper: Stepper, options: KFACOptions, { lr, ...settings }: Required<KFACSettings>) {
    super("KFAC", stepper, { ...options, lr }, settings);
  }

  /** @throws OptionError */
  static create(model: Module, loss: Loss, options?: KFACOptions): Promise<KFAC>;
  static create(groups: readonly ParameterGroup<Parameter>[], loss: FullLoss, options?: KFACOptions): Promise<KFAC>;
  static async create(
    target: Module | readonly ParameterGroup<Parameter>[],
    loss: Loss | FullLoss,
    options: KFACOptions = {},
  ): Promise<KFAC> {
    const settings = readSettings<KFACSettings>("KFAC", options, TABLE, ["stepMicrobatch"]);
    const { factorUpdateSteps, invUpdateSteps, fisher, momentum } = settings;
    if (invUpdateSteps % factorUpdateSteps !== 0)
      throw new OptionError(
        `KFAC: invUpdateSteps must be a multiple of factorUpdateSteps, ${factorUpdateSteps}; found ${invUpdateSteps}`,
      );
    const { objective, groups } = resolveTarget(target, loss, undefined);
    if (fisher === "true" && !(target instanceof Module))
      throw new OptionError(
        'KFAC: a loss that contains the model does not tell its distribution: give the model and a loss of its output, or set fisher: "empirical"',
      );
    const engine = options.engine ?? (await defaultEngine());
    const preconditioner = new KroneckerPreconditioner(settings, objective, fisher === "true" ? loss : undefined);
    const updater = new SGDUpdater({ momentum });
    const stepper = new Stepper(engine, { objective, groups, updater, preconditioner }, options);
    return new KFAC(stepper, options, settings);
  }

  protected async advance(input: StepInput): Promise<number | undefined> {
    if ("gradient" in input || !input.batch)
      throw new OptionError(
        `KFAC: a step needs a batch, for the Fisher matrix; found ${"gradient" in input ? "a gradient" : "none"}`,
      );
    if (!inOneRun(this.stepper, input))
      throw new OptionError("KFAC: a step needs its batch in one run, for the Fisher matrix; found one in parts");
    return await this.stepper.step(input, this.learningRates);
  }
}
