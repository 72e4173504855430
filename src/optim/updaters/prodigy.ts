import { type Tensor, where } from "../../nn/index.ts";
import { checkPositive, checkShare, listOf, readOptions } from "../../util/options.ts";
import {
  average,
  COMMON_UPDATER_OPTIONS,
  type CommonUpdaterOptions,
  type SharedInputs,
  type SharedNumbers,
  signedGradient,
  type Updater,
  type UpdaterInputs,
  type UpdaterOutputs,
  withDecay,
} from "../updater.ts";

/** Options of {@link ProdigyUpdater}. */
export interface ProdigyOptions extends CommonUpdaterOptions {
  /** Decay of the averages of the gradient and of its square; [0.9, 0.999] by default. */
  readonly betas?: readonly [number, number];
  /** Added, times d, to the root of the second average; 1e-8 by default. */
  readonly eps?: number;
  /** The first estimate of the distance, well below it; 1e-6 by default. */
  readonly d0?: number;
}

/**
 * Prodigy (Mishchenko & Defazio, 2024, arXiv 2306.06101, its Adam version): Adam whose learning rate is an estimate d, which only
 * grows, of the distance from the start to a solution. Use it with `lr: 1`. Weight decay is added to Adam's direction,
 * so d multiplies it.
 *
 * The learning rate's factors in the paper's r and s cancel where it stays the same, and are left out. d is kept in units of
 * d₀, the averages in units of d₀ and d₀², so that float32 holds them.
 */
export class ProdigyUpdater implements Updater {
  readonly name = "Prodigy";
  readonly options: Required<ProdigyOptions>;
  /** Adam's averages, the paper's s, and where the parameter started. */
  readonly stateNames: readonly string[] = ["mean", "square", "slopes", "start"];
  /** d, 0 standing for d₀ before the first step, and the paper's r. */
  readonly shared: SharedNumbers = { names: ["d", "progress"], next: (inputs) => this.#nextShared(inputs) };
  readonly nonNegative: readonly string[] = ["square", "d"];

  /** @throws OptionError */
  constructor(options: ProdigyOptions = {}) {
    this.options = readOptions<ProdigyOptions>("ProdigyUpdater", options, {
      betas: [[0.9, 0.999], listOf(checkShare, checkShare)],
      eps: [1e-8, checkPositive],
      d0: [1e-6, checkPositive],
      ...COMMON_UPDATER_OPTIONS,
    });
  }

  scalars(step: number): Record<string, number> {
    return { first: step === 0 ? 1 : 0 };
  }

  update(inputs: UpdaterInputs): UpdaterOutputs {
    const { betas, eps, d0 } = this.options;
    const { parameter, state, shared, scalars } = inputs;
    const gradient = signedGradient(inputs, this.options);
    const d = shared.d!.add(scalars.first!);
    const start = state.start!.add(parameter.mul(scalars.first!));
    const scaled = gradient.mul(d);
    const mean = average(state.mean!, scaled, betas[0]);
    const square = average(state.square!, scaled.mul(scaled), betas[1]);
    const slopes = average(state.slopes!, scaled.mul(d), Math.sqrt(betas[1]));
    const move = mean.div(square.sqrt().add(d.mul(eps)));
    return {
      direction: withDecay(move, inputs, this.options).mul(d).mul(d0),
      state: { mean, square, slopes, start },
      sums: { progress: scaled.mul(d).mul(start.sub(parameter)).sum(), size: slopes.abs().sum() },
    };
  }

  /** r, and d = max(d, r / ‖s‖₁); without slopes there is nothing to estimate from. */
  #nextShared({ shared, sums, scalars }: SharedInputs): Record<string, Tensor> {
    const { betas, d0 } = this.options;
    const d = shared.d!.add(scalars.first!);
    const progress = average(shared.progress!, sums.progress!, Math.sqrt(betas[1]));
    const estimate = progress.div(where(sums.size!.gt(0), sums.size!, 1)).div(d0);
    return { d: where(estimate.gt(d), estimate, d), progress };
  }
}
