import { where } from "../../nn/index.ts";
import { checkBoolean, checkPositive, checkShare, listOf, readOptions } from "../../util/options.ts";
import {
  COMMON_UPDATER_OPTIONS,
  type CommonUpdaterOptions,
  signedGradient,
  type Updater,
  type UpdaterInputs,
  type UpdaterOutputs,
  withDecay,
} from "../updater.ts";

/** Options of {@link AdamUpdater} and {@link AdamWUpdater}. */
export interface AdamOptions extends CommonUpdaterOptions {
  /** Decay of the averages of the gradient and of its square; [0.9, 0.999] by default. */
  readonly betas?: readonly [number, number];
  /** Added to the root of the second average; 1e-8 by default. */
  readonly eps?: number;
  /** Divides by the largest second average so far (Reddi et al., 2018); false by default. */
  readonly amsgrad?: boolean;
}

/** Adam, with weight decay added to the gradient or to the direction. */
class AdamRule implements Updater {
  readonly name: string;
  readonly options: Required<AdamOptions>;
  readonly stateNames: readonly string[];
  readonly nonNegative: readonly string[] = ["square", "largest"];
  readonly #decoupled: boolean;

  constructor(name: string, options: AdamOptions, weightDecay: number, decoupled: boolean) {
    this.name = name;
    this.options = readOptions<AdamOptions>(`${name}Updater`, options, {
      betas: [[0.9, 0.999], listOf(checkShare, checkShare)],
      eps: [1e-8, checkPositive],
      amsgrad: [false, checkBoolean],
      ...COMMON_UPDATER_OPTIONS,
      weightDecay: [weightDecay, COMMON_UPDATER_OPTIONS.weightDecay[1]],
    });
    this.stateNames = this.options.amsgrad ? ["sum", "square", "largest"] : ["sum", "square"];
    this.#decoupled = decoupled;
  }

  /**
   * What makes the sum an average, and the corrections of the averages for their start at zero, as one factor (Kingma & Ba, end of
   * section 2).
   */
  scalars(step: number): Record<string, number> {
    const { betas, eps } = this.options;
    const [mean, square] = betas.map((beta) => 1 - beta ** (step + 1));
    const root = Math.sqrt(square!);
    return { factor: ((1 - betas[0]) / this.#share) * (root / mean!), eps: eps * root };
  }

  /** What gradients are multiplied by, so that the square of one is what it adds to the average of squares. */
  get #share(): number {
    return Math.sqrt(1 - this.options.betas[1]);
  }

  update(inputs: UpdaterInputs): UpdaterOutputs {
    const { betas, amsgrad } = this.options;
    const { state, scalars } = inputs;
    const own = signedGradient(inputs, this.options);
    const gradient = this.#decoupled ? own : withDecay(own, inputs, this.options);
    // One multiple of the gradient serves both averages, and the product that a gradient often is can take the number in.
    const scaled = gradient.mul(this.#share);
    const sum = state.sum!.mul(betas[0]).add(scaled);
    const square = state.square!.mul(betas[1]).add(scaled.mul(scaled));
    const largest = amsgrad ? where(square.gt(state.largest!), square, state.largest!) : square;
    const direction = sum.div(largest.sqrt().add(scalars.eps!)).mul(scalars.factor!);
    return {
      direction: this.#decoupled ? withDecay(direction, inputs, this.options) : direction,
      state: amsgrad ? { sum, square, largest } : { sum, square },
    };
  }
}

/** Adam (Kingma & Ba, 2015), as `torch.optim.Adam`: weight decay, 0 by default, is added to the gradient. */
export class AdamUpdater extends AdamRule {
  /** @throws OptionError */
  constructor(options: AdamOptions = {}) {
    super("Adam", options, 0, false);
  }
}

/**
 * Adam with decoupled weight decay (Loshchilov & Hutter, 2019), as `torch.optim.AdamW`: weight decay, 0.01 by default, is
 * added to the direction, so the learning rate multiplies it.
 */
export class AdamWUpdater extends AdamRule {
  /** @throws OptionError */
  constructor(options: AdamOptions = {}) {
    super("AdamW", options, 1e-2, true);
  }
}
