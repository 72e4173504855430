import type { Tensor } from "../../nn/index.ts";
import { checkNonNegative, checkPositive, readOptions } from "../../util/options.ts";
import type { EvaluationInputs, Updater, UpdaterInputs, UpdaterOutputs } from "../updater.ts";

/** Options of {@link StochasticHvUpdater}. */
export interface StochasticHvOptions {
  /** How fast the direction is learned, above 0; 0.1 by default. */
  readonly lr?: number;
  /** Added to the Hessian's diagonal, at least 0; 1 by default. */
  readonly ridge?: number;
}

/**
 * A direction that is learned, d ← d − lr (H d + ridge d − g), from 0: gradient descent on ½ dᵀ(H + ridge) d − gᵀd, one step of it
 * with each batch's gradient g and exact product H d. Where these stay the same, d tends to (H + ridge)⁻¹ g if every
 * eigenvalue λ of H has 0 < λ + ridge < 2 / lr; beyond either bound it grows without end.
 *
 * With H = 0 it is momentum 1 − lr ridge. A step costs about three times one on the gradient alone.
 */
export class StochasticHvUpdater implements Updater {
  readonly name = "StochasticHv";
  readonly options: Required<StochasticHvOptions>;
  readonly stateNames: readonly string[] = ["direction"];

  /** @throws OptionError */
  constructor(options: StochasticHvOptions = {}) {
    this.options = readOptions<StochasticHvOptions>("StochasticHvUpdater", options, {
      lr: [0.1, checkPositive],
      ridge: [1, checkNonNegative],
    });
  }

  hessianVector({ state }: EvaluationInputs): Tensor {
    return state.direction!;
  }

  update({ gradient, state, hessianProduct }: UpdaterInputs): UpdaterOutputs {
    const { lr, ridge } = this.options;
    const old = state.direction!;
    const residual = hessianProduct!.add(old.mul(ridge)).sub(gradient);
    const direction = old.sub(residual.mul(lr));
    return { direction, state: { direction } };
  }
}
