import type { Tensor } from "../nn/index.ts";
import { OptionError } from "../util/errors.ts";
import { checkBoolean, checkNonNegative, checkShare, type OptionTable, readOptions } from "../util/options.ts";

/** What a rule for one parameter reads: tensors of the graph that the step is compiled from. */
export interface UpdaterInputs {
  readonly gradient: Tensor;
  readonly parameter: Tensor;
  /** The rule's tensors of the parameter's shape, by name; zeros before the first step. */
  readonly state: Readonly<Record<string, Tensor>>;
  /** Numbers that change from step to step, by name. */
  readonly scalars: Readonly<Record<string, Tensor>>;
  /** The rule's numbers for all parameters together, as they are before the step. */
  readonly shared: Readonly<Record<string, Tensor>>;
  /** For a rule with `hessianVector`: this parameter's part of H v. */
  readonly hessianProduct?: Tensor;
}

/** What is known of a parameter between two steps. */
export type EvaluationInputs = Pick<UpdaterInputs, "parameter" | "state">;

/** What it gives: a direction that points along the gradient (the step subtracts it), and the state to keep. */
export interface UpdaterOutputs {
  readonly direction: Tensor;
  /** A tensor of the parameter's shape for each of the rule's names. */
  readonly state: Readonly<Record<string, Tensor>>;
  /** Numbers whose sums over all parameters the rule's shared numbers follow from. */
  readonly sums?: Readonly<Record<string, Tensor>>;
}

/** What a rule's shared numbers follow from. */
export interface SharedInputs extends Pick<UpdaterInputs, "shared" | "scalars"> {
  /** The sums over all parameters of what the rule gave as `sums`. */
  readonly sums: Readonly<Record<string, Tensor>>;
}

/** Numbers that a rule keeps for all parameters together, such as an estimate over the whole model. */
export interface SharedNumbers {
  /** They are 0 before the first step. */
  readonly names: readonly string[];
  /** Writes what they are for the next step. */
  next(inputs: SharedInputs): Readonly<Record<string, Tensor>>;
}

/**
 * A rule (gradient, state) → (direction, state), written with the operations of tensors and compiled into the step. Any
 * object of this shape is one; `docs/optimizers.md` has an example. The learning rate is not the rule's affair: the
 * optimiser multiplies the direction by it.
 */
export interface Updater {
  readonly name: string;
  /** What identifies the rule in a saved state, beside its name: plain data. */
  readonly options: object;
  /** The tensors that it keeps for each parameter, where that depends on its shape as a function. */
  readonly stateNames: readonly string[] | ((shape: readonly number[]) => readonly string[]);
  /** The numbers that it keeps for all parameters together; none by default. */
  readonly shared?: SharedNumbers;
  /** Which of its tensors and shared numbers are never below 0: a saved state where they are is refused. None by default. */
  readonly nonNegative?: readonly string[];
  /** The numbers for a step, counted from 0; none by default. */
  scalars?(step: number): Readonly<Record<string, number>>;
  /** Writes the rule for one parameter. It is called when a step is compiled, twice for each, not at each step. */
  update(inputs: UpdaterInputs): UpdaterOutputs;
  /**
   * For a rule that reads a product H v with the Hessian of the step's loss: this parameter's part of v. The product, over all
   * parameters together and exact, is `hessianProduct` of `update`'s inputs. Such a rule takes no gradients from the caller.
   */
  hessianVector?(inputs: EvaluationInputs): Tensor;
  /**
   * For a rule that trains other weights than those to use afterwards: the latter are the parameter less the learning rate
   * times this.
   */
  evaluation?(inputs: EvaluationInputs): Tensor;
}

/** The tensors that an updater keeps for a parameter of this shape. */
export function stateNamesOf({ stateNames }: Updater, shape: readonly number[]): readonly string[] {
  return typeof stateNames === "function" ? stateNames(shape) : stateNames;
}

/** What the updaters of this package may be told. */
export interface CommonUpdaterOptions {
  /** This times the parameter is added, to the gradient or (decoupled) to the direction; 0 unless the updater says otherwise. */
  readonly weightDecay?: number;
  /** Follows the gradient upwards; false by default. */
  readonly maximize?: boolean;
}

export const COMMON_UPDATER_OPTIONS: OptionTable<CommonUpdaterOptions> = {
  weightDecay: [0, checkNonNegative],
  maximize: [false, checkBoolean],
};

/** The gradient to go down along. */
export function signedGradient(
  { gradient }: UpdaterInputs,
  { maximize }: Required<Pick<CommonUpdaterOptions, "maximize">>,
): Tensor {
  return maximize ? gradient.neg() : gradient;
}

/** A direction or gradient with the pull of weight decay added. */
export function withDecay(
  direction: Tensor,
  { parameter }: UpdaterInputs,
  { weightDecay }: Required<Pick<CommonUpdaterOptions, "weightDecay">>,
): Tensor {
  return weightDecay === 0 ? direction : direction.add(parameter.mul(weightDecay));
}

/** An exponential average that keeps this share of what it was. */
export function average(old: Tensor, value: Tensor, keep: number): Tensor {
  return old.mul(keep).add(value.mul(1 - keep));
}

/** Options of {@link SGDUpdater}. */
export interface SGDOptions extends CommonUpdaterOptions {
  /** How much of the buffer is kept; 0 by default, which is no buffer. */
  readonly momentum?: number;
  /** The share of the gradient that does not enter the buffer; 0 by default. */
  readonly dampening?: number;
  /** Nesterov's momentum: the gradient is added to the buffer's direction; false by default. */
  readonly nesterov?: boolean;
}

/**
 * Stochastic gradient descent with momentum, as `torch.optim.SGD`: buffer ← momentum · buffer + (1 − dampening) · gradient,
 * where the first buffer is the gradient itself. With momentum = dampening it is an exponential average of gradients.
 */
export class SGDUpdater implements Updater {
  readonly name = "SGD";
  readonly options: Required<SGDOptions>;
  readonly stateNames: readonly string[];

  /** @throws OptionError */
  constructor(options: SGDOptions = {}) {
    this.options = readOptions<SGDOptions>("SGDUpdater", options, {
      momentum: [0, checkShare],
      dampening: [0, checkShare],
      nesterov: [false, checkBoolean],
      ...COMMON_UPDATER_OPTIONS,
    });
    const { momentum, dampening, nesterov } = this.options;
    if (momentum === 0 && dampening !== 0)
      throw new OptionError("SGDUpdater: dampening would be ignored without momentum");
    if (nesterov && (momentum === 0 || dampening !== 0))
      throw new OptionError("SGDUpdater: nesterov needs momentum, and dampening 0");
    this.stateNames = momentum === 0 ? [] : ["momentum"];
  }

  scalars(step: number): Record<string, number> {
    const { dampening } = this.options;
    return dampening === 0 ? {} : { gain: step === 0 ? 1 : 1 - dampening };
  }

  update(inputs: UpdaterInputs): UpdaterOutputs {
    const gradient = withDecay(signedGradient(inputs, this.options), inputs, this.options);
    const { momentum, nesterov } = this.options;
    if (momentum === 0) return { direction: gradient, state: {} };
    const { gain } = inputs.scalars;
    const buffer = inputs.state.momentum!.mul(momentum).add(gain ? gradient.mul(gain) : gradient);
    return { direction: nesterov ? gradient.add(buffer.mul(momentum)) : buffer, state: { momentum: buffer } };
  }
}
