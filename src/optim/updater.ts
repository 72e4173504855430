import type { Builder, Node } from "../graph/index.ts";
import { add, greater, mul, reciprocal, scale, shift, sqrt, where } from "../ops/index.ts";
import { OptionError } from "../util/errors.ts";
import { checkBoolean, checkNonNegative, refuseUnknown } from "../util/options.ts";

/** What a rule for one parameter reads. */
export interface UpdaterInputs {
  readonly gradient: Node;
  readonly parameter: Node;
  /** The rule's tensors of the parameter's shape, by name; zeros before the first step. */
  readonly state: Readonly<Record<string, Node>>;
  /** Numbers that change from step to step, by name. */
  readonly scalars: Readonly<Record<string, Node>>;
}

/** What it gives: a direction that points along the gradient (the step subtracts it), and the state to keep. */
export interface UpdaterOutputs {
  readonly direction: Node;
  readonly state: Readonly<Record<string, Node>>;
}

/** A rule (gradient, state) → (direction, state), written as a graph function that is compiled into the step. */
export interface Updater {
  readonly name: string;
  /** What identifies the rule in a saved state. */
  readonly options: Readonly<Record<string, number | boolean>>;
  /** The tensors that it keeps for each parameter. */
  readonly stateNames: readonly string[];
  /** The numbers for a step, counted from 0. */
  scalars(step: number): Readonly<Record<string, number>>;
  update(b: Builder, inputs: UpdaterInputs): UpdaterOutputs;
}

/** What every updater may be told. */
interface CommonOptions {
  /** Adds this times the parameter to the gradient; 0 by default. */
  readonly weightDecay?: number;
  /** Follows the gradient upwards; false by default. */
  readonly maximize?: boolean;
}

/** Options of {@link SGDUpdater}. */
export interface SGDOptions extends CommonOptions {
  /** How much of the buffer is kept; 0 by default, which is no buffer. */
  readonly momentum?: number;
  /** The share of the gradient that does not enter the buffer; 0 by default. */
  readonly dampening?: number;
  /** Nesterov's momentum: the gradient is added to the buffer's direction; false by default. */
  readonly nesterov?: boolean;
}

function effectiveGradient(
  b: Builder,
  { gradient, parameter }: UpdaterInputs,
  { weightDecay, maximize }: Required<CommonOptions>,
): Node {
  const signed = maximize ? scale(b, gradient, -1) : gradient;
  return weightDecay === 0 ? signed : add(b, signed, scale(b, parameter, weightDecay));
}

function checkShare(where: string, name: string, value: number): void {
  if (!(Number.isFinite(value) && value >= 0 && value < 1))
    throw new OptionError(`${where}: ${name} must be at least 0 and below 1; found ${value}`);
}

function checkCommon(where: string, { weightDecay, maximize }: Required<CommonOptions>): void {
  checkNonNegative(`${where}: weightDecay`, weightDecay);
  checkBoolean(`${where}: maximize`, maximize);
}

/**
 * Stochastic gradient descent with momentum, as `torch.optim.SGD`: buffer ← momentum · buffer + (1 − dampening) · gradient,
 * where the first buffer is the gradient itself. With momentum = dampening it is an exponential average of gradients.
 */
export class SGDUpdater implements Updater {
  readonly name = "SGD";
  readonly options: Required<SGDOptions> & Readonly<Record<string, number | boolean>>;
  readonly stateNames: readonly string[];

  /** @throws OptionError */
  constructor(options: SGDOptions = {}) {
    refuseUnknown("SGDUpdater", options, ["momentum", "dampening", "nesterov", "weightDecay", "maximize"]);
    const { momentum = 0, dampening = 0, nesterov = false, weightDecay = 0, maximize = false } = options;
    this.options = { momentum, dampening, nesterov, weightDecay, maximize };
    checkShare("SGDUpdater", "momentum", momentum);
    checkShare("SGDUpdater", "dampening", dampening);
    checkBoolean("SGDUpdater: nesterov", nesterov);
    checkCommon("SGDUpdater", this.options);
    if (momentum === 0 && dampening !== 0)
      throw new OptionError("SGDUpdater: dampening would be ignored without momentum");
    if (nesterov && (momentum === 0 || dampening !== 0))
      throw new OptionError("SGDUpdater: nesterov needs momentum, and dampening 0");
    this.stateNames = momentum === 0 ? [] : ["momentum"];
  }

  scalars(step: number): Record<string, number> {
    const { momentum, dampening } = this.options;
    if (momentum === 0) return {};
    return step === 0 ? { keep: 0, gain: 1 } : { keep: momentum, gain: 1 - dampening };
  }

  update(b: Builder, inputs: UpdaterInputs): UpdaterOutputs {
    const gradient = effectiveGradient(b, inputs, this.options);
    const { momentum, nesterov } = this.options;
    if (momentum === 0) return { direction: gradient, state: {} };
    const { keep, gain } = inputs.scalars;
    const buffer = add(b, mul(b, inputs.state.momentum!, keep!), mul(b, gradient, gain!));
    const direction = nesterov ? add(b, gradient, scale(b, buffer, momentum)) : buffer;
    return { direction, state: { momentum: buffer } };
  }
}

/** Options of {@link AdamUpdater}. */
export interface AdamOptions extends CommonOptions {
  /** Decay of the averages of the gradient and of its square; [0.9, 0.999] by default. */
  readonly betas?: readonly [number, number];
  /** Added to the root of the second average; 1e-8 by default. */
  readonly eps?: number;
  /** Divides by the largest second average so far (Reddi et al., 2018); false by default. */
  readonly amsgrad?: boolean;
}

/** Adam (Kingma & Ba, 2015), as `torch.optim.Adam`: weight decay is added to the gradient. */
export class AdamUpdater implements Updater {
  readonly name = "Adam";
  readonly options: Readonly<Record<"beta1" | "beta2" | "eps" | "weightDecay", number>> & {
    readonly amsgrad: boolean;
    readonly maximize: boolean;
  };
  readonly stateNames: readonly string[];

  /** @throws OptionError */
  constructor(options: AdamOptions = {}) {
    refuseUnknown("AdamUpdater", options, ["betas", "eps", "amsgrad", "weightDecay", "maximize"]);
    const { betas = [0.9, 0.999], eps = 1e-8, amsgrad = false, weightDecay = 0, maximize = false } = options;
    const [beta1, beta2] = betas;
    this.options = { beta1, beta2, eps, amsgrad, weightDecay, maximize };
    checkShare("AdamUpdater", "betas[0]", beta1);
    checkShare("AdamUpdater", "betas[1]", beta2);
    checkBoolean("AdamUpdater: amsgrad", amsgrad);
    if (!(eps > 0 && Number.isFinite(eps))) throw new OptionError(`AdamUpdater: eps must be above 0; found ${eps}`);
    checkCommon("AdamUpdater", this.options);
    this.stateNames = amsgrad ? ["mean", "square", "largest"] : ["mean", "square"];
  }

  /** The corrections of the averages for their start at zero. */
  scalars(step: number): Record<string, number> {
    const { beta1, beta2 } = this.options;
    return { unbias: 1 / (1 - beta1 ** (step + 1)), unbiasRoot: 1 / Math.sqrt(1 - beta2 ** (step + 1)) };
  }

  update(b: Builder, inputs: UpdaterInputs): UpdaterOutputs {
    const { beta1, beta2, eps, amsgrad } = this.options;
    const gradient = effectiveGradient(b, inputs, this.options);
    const { unbias, unbiasRoot } = inputs.scalars;
    const average = (old: Node, value: Node, beta: number): Node =>
      add(b, scale(b, old, beta), scale(b, value, 1 - beta));
    const mean = average(inputs.state.mean!, gradient, beta1);
    const square = average(inputs.state.square!, mul(b, gradient, gradient), beta2);
    const old = inputs.state.largest;
    const largest = amsgrad ? where(b, greater(b, square, old!), square, old!) : square;
    const root = shift(b, mul(b, sqrt(b, largest), unbiasRoot!), eps);
    const direction = mul(b, mul(b, mean, reciprocal(b, root)), unbias!);
    return { direction, state: amsgrad ? { mean, square, largest } : { mean, square } };
  }
}
