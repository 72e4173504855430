import { checkShare, listOf, readOptions } from "../../util/options.ts";
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

/** Options of {@link LionUpdater}. */
export interface LionOptions extends CommonUpdaterOptions {
  /** How much of the momentum is in the direction, and how much of it is kept; [0.9, 0.99] by default. */
  readonly betas?: readonly [number, number];
}

/**
 * Lion (Chen et al., 2023, arXiv 2302.06675, algorithm 2): the sign of β₁ · momentum + (1 − β₁) · gradient, with weight decay
 * added to that direction.
 */
export class LionUpdater implements Updater {
  readonly name = "Lion";
  readonly options: Required<LionOptions>;
  readonly stateNames: readonly string[] = ["momentum"];

  /** @throws OptionError */
  constructor(options: LionOptions = {}) {
    this.options = readOptions<LionOptions>("LionUpdater", options, {
      betas: [[0.9, 0.99], listOf(checkShare, checkShare)],
      ...COMMON_UPDATER_OPTIONS,
    });
  }

  update(inputs: UpdaterInputs): UpdaterOutputs {
    const [beta1, beta2] = this.options.betas;
    const gradient = signedGradient(inputs, this.options);
    const momentum = inputs.state.momentum!;
    const direction = withDecay(average(momentum, gradient, beta1).sign(), inputs, this.options);
    return { direction, state: { momentum: average(momentum, gradient, beta2) } };
  }
}
