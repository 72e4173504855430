import { checkBoolean, checkPositive, checkShare, readOptions } from "../../util/options.ts";
import {
  average,
  COMMON_UPDATER_OPTIONS,
  type CommonUpdaterOptions,
  signedGradient,
  type Updater,
  type UpdaterInputs,
  type UpdaterOutputs,
  withDecay,
} from "../updater.ts";

/** Options of {@link RMSpropUpdater}. */
export interface RMSpropOptions extends CommonUpdaterOptions {
  /** Decay of the average of the gradient's square; 0.99 by default. */
  readonly alpha?: number;
  /** Added to the root of the average; 1e-8 by default. */
  readonly eps?: number;
  /** Divides by an estimate of the deviation, the squared average of the gradient taken off; false by default. */
  readonly centered?: boolean;
  /** How much of the buffer is kept; 0 by default, which is no buffer. */
  readonly momentum?: number;
}

/**
 * RMSprop (Hinton, 2012; centred: Graves, 2013), as `torch.optim.RMSprop`, its weight decay added to the gradient. An estimate
 * of the variance that rounding makes negative counts as 0.
 */
export class RMSpropUpdater implements Updater {
  readonly name = "RMSprop";
  readonly options: Required<RMSpropOptions>;
  readonly stateNames: readonly string[];
  readonly nonNegative: readonly string[] = ["square"];

  /** @throws OptionError */
  constructor(options: RMSpropOptions = {}) {
    this.options = readOptions<RMSpropOptions>("RMSpropUpdater", options, {
      alpha: [0.99, checkShare],
      eps: [1e-8, checkPositive],
      centered: [false, checkBoolean],
      momentum: [0, checkShare],
      ...COMMON_UPDATER_OPTIONS,
    });
    const { centered, momentum } = this.options;
    this.stateNames = ["square", ...(centered ? ["mean"] : []), ...(momentum > 0 ? ["momentum"] : [])];
  }

  update(inputs: UpdaterInputs): UpdaterOutputs {
    const { alpha, eps, centered, momentum } = this.options;
    const { state } = inputs;
    const gradient = withDecay(signedGradient(inputs, this.options), inputs, this.options);
    const square = average(state.square!, gradient.mul(gradient), alpha);
    const mean = centered ? average(state.mean!, gradient, alpha) : undefined;
    const variance = mean ? square.sub(mean.mul(mean)).clamp(0) : square;
    const scaled = gradient.div(variance.sqrt().add(eps));
    const direction = momentum > 0 ? state.momentum!.mul(momentum).add(scaled) : scaled;
    return { direction, state: { square, ...(mean && { mean }), ...(momentum > 0 && { momentum: direction }) } };
  }
}
