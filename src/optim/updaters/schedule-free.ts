import type { Tensor } from "../../nn/index.ts";
import { checkPositive, checkShare, checkWhole, listOf, readOptions } from "../../util/options.ts";
import {
  average,
  COMMON_UPDATER_OPTIONS,
  type CommonUpdaterOptions,
  type EvaluationInputs,
  signedGradient,
  type Updater,
  type UpdaterInputs,
  type UpdaterOutputs,
  withDecay,
} from "../updater.ts";

/** Options of {@link ScheduleFreeAdamWUpdater}. */
export interface ScheduleFreeAdamWOptions extends CommonUpdaterOptions {
  /** How near the average gradients are taken, and the decay of their squares' average; [0.9, 0.999] by default. */
  readonly betas?: readonly [number, number];
  /** Added to the root of the squares' average; 1e-8 by default. */
  readonly eps?: number;
  /** Steps over which the learning rate grows to its full size; 0 by default. */
  readonly warmupSteps?: number;
}

/**
 * AdamW that needs no schedule of the learning rate (Defazio et al., 2024, arXiv 2405.15682). Steps are taken at z, of
 * which x is an average, and gradients between the two, at y = (1 − β₁) z + β₁ x. The model holds y while it trains; x are
 * the weights to use: `Optimizer.evaluationWeights()`. Weight decay is of y, and added to the direction.
 *
 * With a learning rate γ that stays the same, z − x is γ times a tensor that knows nothing of γ. That one is kept, so
 * the direction is free of γ too. Between summaries, whose rates change, the method is an approximation.
 */
export class ScheduleFreeAdamWUpdater implements Updater {
  readonly name = "ScheduleFreeAdamW";
  readonly options: Required<ScheduleFreeAdamWOptions>;
  /** The average of squares, and (z − x) / γ. */
  readonly stateNames: readonly string[] = ["square", "spread"];
  readonly nonNegative: readonly string[] = ["square"];

  /** @throws OptionError */
  constructor(options: ScheduleFreeAdamWOptions = {}) {
    this.options = readOptions<ScheduleFreeAdamWOptions>("ScheduleFreeAdamWUpdater", options, {
      betas: [[0.9, 0.999], listOf(checkShare, checkShare)],
      eps: [1e-8, checkPositive],
      warmupSteps: [0, (name, value) => checkWhole(name, value, 0)],
      ...COMMON_UPDATER_OPTIONS,
    });
  }

  /** The warm-up's factor w, the weight c = w² / Σ w² of the newest z in x, and 1 − c; the correction of the squares' average. */
  scalars(step: number): Record<string, number> {
    const { betas, warmupSteps } = this.options;
    const steps = step + 1;
    const growing = Math.min(steps, warmupSteps);
    const before = growing === 0 ? 0 : (growing * (growing + 1) * (2 * growing + 1)) / (6 * warmupSteps ** 2);
    const warmup = steps < warmupSteps ? steps / warmupSteps : 1;
    const weight = warmup ** 2 / (before + steps - growing);
    return { warmup, weight, rest: 1 - weight, unbiasRoot: 1 / Math.sqrt(1 - betas[1] ** steps) };
  }

  update(inputs: UpdaterInputs): UpdaterOutputs {
    const { betas, eps } = this.options;
    const { warmup, weight, rest, unbiasRoot } = inputs.scalars;
    const gradient = signedGradient(inputs, this.options);
    const square = average(inputs.state.square!, gradient.mul(gradient), betas[1]);
    const scaled = gradient.div(square.sqrt().mul(unbiasRoot!).add(eps));
    const move = withDecay(scaled, inputs, this.options).mul(warmup!);
    const spread = inputs.state.spread!;
    // γ times what y goes down by: z's own share of y, what x takes over of z's move, and x's approach to z.
    const direction = move.mul(1 - betas[0]).add(move.sub(spread).mul(weight!).mul(betas[0]));
    return { direction, state: { square, spread: spread.sub(move).mul(rest!) } };
  }

  /** y − x = (1 − β₁) (z − x) */
  evaluation({ state }: EvaluationInputs): Tensor {
    return state.spread!.mul(1 - this.options.betas[0]);
  }
}
