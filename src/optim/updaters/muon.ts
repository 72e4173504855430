import type { Tensor } from "../../nn/index.ts";
import { OptionError, ShapeError } from "../../util/errors.ts";
import {
  checkBoolean,
  checkFinite,
  checkNonNegative,
  checkOneOf,
  checkPositive,
  checkShare,
  checkWhole,
  listOf,
  type OptionCheck,
  readOptions,
} from "../../util/options.ts";
import { average, stateNamesOf, type Updater, type UpdaterInputs, type UpdaterOutputs, withDecay } from "../updater.ts";

/** How the length of an orthogonal direction follows the shape of its matrix, [A, B]: a factor, by PyTorch's name. */
const ADJUSTMENTS = {
  original: (A: number, B: number) => Math.sqrt(Math.max(1, A / B)),
  match_rms_adamw: (A: number, B: number) => 0.2 * Math.sqrt(Math.max(A, B)),
  spectral_unclamped: (A: number, B: number) => Math.sqrt(A / B),
};

/** Options of {@link MuonUpdater}. */
export interface MuonOptions {
  /** How much of the momentum is kept; 0.95 by default. */
  readonly momentum?: number;
  /** Nesterov's momentum; true by default. */
  readonly nesterov?: boolean;
  /** This times the parameter is added to the direction; 0.1 by default. */
  readonly weightDecay?: number;
  /** Of the iteration's polynomial a x + b x³ + c x⁵; [3.4445, −4.775, 2.0315] by default. */
  readonly nsCoefficients?: readonly [number, number, number];
  /** Iterations, fewer than 100; 5 by default. */
  readonly nsSteps?: number;
  /** The least norm that a momentum is divided by; 1e-7 by default. */
  readonly eps?: number;
  /** "original" (default), "match_rms_adamw" or "spectral_unclamped". */
  readonly adjustLrFn?: keyof typeof ADJUSTMENTS;
  /** The rule for parameters that are no matrices; without one they are refused. */
  readonly others?: Updater | undefined;
}

const checkOthers: OptionCheck = (name, value) => {
  if (value === undefined) return;
  const { update, evaluation, shared, hessianVector } = (value ?? {}) as Partial<Updater>;
  if (typeof update !== "function") throw new OptionError(`${name} must be an updater; found ${String(value)}`);
  if (evaluation || shared || hessianVector)
    throw new OptionError(`${name} must be an updater of single parameters that gives the weights that it trains`);
};

const checkSteps: OptionCheck = (name, value) => {
  checkWhole(name, value, 1);
  if (value >= 100) throw new OptionError(`${name} must be below 100; found ${value}`);
};

/**
 * Muon (K. Jordan, 2024, kellerjordan.github.io/posts/muon), as `torch.optim.Muon`: the momentum of a matrix, its singular
 * values all brought near 1 by Newton–Schulz iterations. PyTorch iterates in bfloat16, this in the engine's precision.
 * PyTorch refuses parameters that are no matrices; here `others` may take them.
 */
export class MuonUpdater implements Updater {
  readonly name = "Muon";
  readonly options: object;
  /** Those of the other rule, but for a momentum: Muon's own has either sign. */
  readonly nonNegative: readonly string[];
  readonly #settings: Required<MuonOptions>;

  /** @throws OptionError */
  constructor(options: MuonOptions = {}) {
    this.#settings = readOptions<MuonOptions>("MuonUpdater", options, {
      momentum: [0.95, checkShare],
      nesterov: [true, checkBoolean],
      weightDecay: [0.1, checkNonNegative],
      nsCoefficients: [[3.4445, -4.775, 2.0315], listOf(checkFinite, checkFinite, checkFinite)],
      nsSteps: [5, checkSteps],
      eps: [1e-7, checkPositive],
      adjustLrFn: ["original", (name, value) => checkOneOf(name, value, Object.keys(ADJUSTMENTS))],
      others: [undefined, checkOthers],
    });
    const { others, ...own } = this.#settings;
    this.options = { ...own, ...(others && { others: { name: others.name, options: others.options } }) };
    this.nonNegative = (others?.nonNegative ?? []).filter((name) => name !== "momentum");
  }

  stateNames = (shape: readonly number[]): readonly string[] => {
    if (shape.length === 2) return ["momentum"];
    const { others } = this.#settings;
    if (others) return stateNamesOf(others, shape);
    throw new ShapeError(`MuonUpdater: expected matrices alone, found a parameter of shape [${shape}]; set others`);
  };

  /** Those of the other rule: Muon itself needs none. */
  scalars(step: number): Readonly<Record<string, number>> {
    return this.#settings.others?.scalars?.(step) ?? {};
  }

  update(inputs: UpdaterInputs): UpdaterOutputs {
    const { others, nesterov, adjustLrFn } = this.#settings;
    const shape = inputs.parameter.shape as readonly number[];
    if (shape.length !== 2) return others!.update(inputs);
    const momentum = average(inputs.state.momentum!, inputs.gradient, this.#settings.momentum);
    const along = nesterov ? average(momentum, inputs.gradient, this.#settings.momentum) : momentum;
    const factor = ADJUSTMENTS[adjustLrFn](shape[0]!, shape[1]!);
    const direction = withDecay(orthogonalised(along, this.#settings).mul(factor), inputs, this.#settings);
    return { direction, state: { momentum } };
  }
}

/** A matrix with the same singular vectors, its singular values near 1. */
function orthogonalised(
  matrix: Tensor,
  { nsCoefficients: [a, b, c], nsSteps, eps }: Required<Pick<MuonOptions, "nsCoefficients" | "nsSteps" | "eps">>,
): Tensor {
  const [rows, columns] = matrix.shape as readonly number[];
  const tall = rows! > columns!;
  const norm = matrix.mul(matrix).sum().sqrt().clamp(eps);
  let x = (tall ? matrix.t() : matrix).div(norm);
  for (let step = 0; step < nsSteps; step++) {
    const gram = x.matmul(x.t());
    x = x.mul(a).add(gram.mul(b).add(gram.matmul(gram).mul(c)).matmul(x));
  }
  return tall ? x.t() : x;
}
