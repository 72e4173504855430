import { type Tensor, where } from "../../nn/index.ts";
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

/** Options of {@link AdamUpdater}. */
export interface AdamOptions extends CommonUpdaterOptions {
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
  readonly options: Required<AdamOptions>;
  readonly stateNames: readonly string[];

  /** @throws OptionError */
  constructor(options: AdamOptions = {}) {
    this.options = readOptions<AdamOptions>("AdamUpdater", options, {
      betas: [[0.9, 0.999], listOf(checkShare, checkShare)],
      eps: [1e-8, checkPositive],
      amsgrad: [false, checkBoolean],
      ...COMMON_UPDATER_OPTIONS,
    });
    this.stateNames = this.options.amsgrad ? ["mean", "square", "largest"] : ["mean", "square"];
  }

  /** The corrections of the averages for their start at zero. */
  scalars(step: number): Record<string, number> {
    const [beta1, beta2] = this.options.betas;
    return { unbias: 1 / (1 - beta1 ** (step + 1)), unbiasRoot: 1 / Math.sqrt(1 - beta2 ** (step + 1)) };
  }

  update(inputs: UpdaterInputs): UpdaterOutputs {
    const { betas, eps, amsgrad } = this.options;
    const { state, scalars } = inputs;
    const gradient = withDecay(signedGradient(inputs, this.options), inputs, this.options);
    const mean = average(state.mean!, gradient, betas[0]);
    const square = average(state.square!, gradient.mul(gradient), betas[1]);
    const largest = amsgrad ? where(square.gt(state.largest!), square, state.largest!) : square;
    const direction = mean.div(largest.sqrt().mul(scalars.unbiasRoot!).add(eps)).mul(scalars.unbias!);
    return { direction, state: amsgrad ? { mean, square, largest } : { mean, square } };
  }
}

/** An exponential average that keeps this share of what it was. */
export function average(old: Tensor, value: Tensor, keep: number): Tensor {
  return old.mul(keep).add(value.mul(1 - keep));
}
