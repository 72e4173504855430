import { formatShape } from "../../graph/index.ts";
import { OptionError, ShapeError } from "../../util/errors.ts";
import { checkWhole, refuseUnknown } from "../../util/options.ts";
import { ones, zeros } from "../init.ts";
import { Module, Parameter } from "../module.ts";
import type { Tensor } from "../tensor.ts";

/** x with mean 0 and variance 1 over some axes: (x − mean) / √(variance + eps), the variance with the number of entries. */
export function standardize(x: Tensor, dims: readonly number[], eps: number): Tensor {
  const centred = x.sub(x.mean(dims, true));
  return centred.mul(centred.square().mean(dims, true).add(eps).pow(-0.5));
}

/** Options of layer normalisation. */
export interface LayerNormOptions {
  /** Added to the variance; 1e-5 by default. */
  readonly eps?: number;
  /** Whether there is a weight, and a bias with it; true by default. */
  readonly elementwiseAffine?: boolean;
  /** Whether there is a bias beside the weight; true by default. */
  readonly bias?: boolean;
}

/** The last axes, whose lengths are given, standardised for each sample and place (Ba et al., 2016). */
export class LayerNorm extends Module {
  readonly weight?: Parameter;
  readonly bias?: Parameter;
  readonly #shape: readonly number[];
  readonly #eps: number;

  /** @throws OptionError */
  constructor(normalizedShape: number | readonly number[], options: LayerNormOptions = {}) {
    super();
    refuseUnknown("LayerNorm", options, ["eps", "elementwiseAffine", "bias"]);
    const { eps = 1e-5, elementwiseAffine = true, bias = true } = options;
    this.#shape = lengthsOf("LayerNorm", normalizedShape);
    this.#eps = checkedEps("LayerNorm", eps);
    if (!elementwiseAffine) return;
    this.weight = new Parameter(ones(this.#shape));
    if (bias) this.bias = new Parameter(zeros(this.#shape));
  }

  override forward(x: Tensor): Tensor {
    const z = standardize(x, lastAxes("LayerNorm", x, this.#shape), this.#eps);
    const scaled = this.weight ? z.mul(this.weight) : z;
    return this.bias ? scaled.add(this.bias) : scaled;
  }
}

/** Options of RMSNorm. */
export interface RMSNormOptions {
  /** Added to the mean square; 2⁻²³ by default, as in PyTorch for float32. */
  readonly eps?: number;
  /** Whether there is a weight; true by default. */
  readonly elementwiseAffine?: boolean;
}

/** The last axes, whose lengths are given, divided by the root of their mean square (Zhang & Sennrich, 2019). */
export class RMSNorm extends Module {
  readonly weight?: Parameter;
  readonly #shape: readonly number[];
  readonly #eps: number;

  /** @throws OptionError */
  constructor(normalizedShape: number | readonly number[], options: RMSNormOptions = {}) {
    super();
    refuseUnknown("RMSNorm", options, ["eps", "elementwiseAffine"]);
    const { eps = 2 ** -23, elementwiseAffine = true } = options;
    this.#shape = lengthsOf("RMSNorm", normalizedShape);
    this.#eps = checkedEps("RMSNorm", eps);
    if (elementwiseAffine) this.weight = new Parameter(ones(this.#shape));
  }

  override forward(x: Tensor): Tensor {
    const dims = lastAxes("RMSNorm", x, this.#shape);
    const z = x.mul(x.square().mean(dims, true).add(this.#eps).pow(-0.5));
    return this.weight ? z.mul(this.weight) : z;
  }
}

/** Options of group normalisation. */
export interface GroupNormOptions {
  /** Added to the variance; 1e-5 by default. */
  readonly eps?: number;
  /** Whether each channel has a weight and a bias; true by default. */
  readonly affine?: boolean;
}

/** Channels of [N, C, …] in groups, each standardised for each sample (Wu & He, 2018). */
export class GroupNorm extends Module {
  readonly weight?: Parameter;
  readonly bias?: Parameter;
  readonly #groups: number;
  readonly #channels: number;
  readonly #eps: number;

  /** @throws OptionError */
  constructor(numGroups: number, numChannels: number, options: GroupNormOptions = {}) {
    super();
    refuseUnknown("GroupNorm", options, ["eps", "affine"]);
    const { eps = 1e-5, affine = true } = options;
    checkWhole("GroupNorm: numGroups", numGroups, 1);
    checkWhole("GroupNorm: numChannels", numChannels, 1);
    if (numChannels % numGroups !== 0)
      throw new OptionError(`GroupNorm: ${numChannels} channels cannot be divided into ${numGroups} groups`);
    this.#groups = numGroups;
    this.#channels = numChannels;
    this.#eps = checkedEps("GroupNorm", eps);
    if (!affine) return;
    this.weight = new Parameter(ones([numChannels]));
    this.bias = new Parameter(zeros([numChannels]));
  }

  override forward(x: Tensor): Tensor {
    const [samples, channels, ...size] = x.shape;
    if (channels !== this.#channels)
      throw new ShapeError(`GroupNorm: expected [N, ${this.#channels}, …], found ${formatShape(x.shape)}`);
    const grouped = x.reshape(samples!, this.#groups, channels / this.#groups, ...size);
    const dims = grouped.shape.map((_, axis) => axis).slice(2);
    const z = standardize(grouped, dims, this.#eps).reshape(...x.shape);
    if (!this.weight || !this.bias) return z;
    const each = [-1, ...size.map(() => 1)];
    return z.mul(this.weight.reshape(...each)).add(this.bias.reshape(...each));
  }
}

function lengthsOf(what: string, shape: number | readonly number[]): readonly number[] {
  const lengths = typeof shape === "number" ? [shape] : [...shape];
  for (const length of lengths) checkWhole(`${what}: normalizedShape`, length, 1);
  return lengths;
}

function checkedEps(what: string, eps: number): number {
  if (!(eps >= 0 && Number.isFinite(eps))) throw new OptionError(`${what}: eps must be at least 0; found ${eps}`);
  return eps;
}

/** The axes that a shape stands for at the end of x's. @throws ShapeError */
function lastAxes(what: string, x: Tensor, shape: readonly number[]): number[] {
  const first = x.shape.length - shape.length;
  if (first < 0 || shape.some((length, i) => x.shape[first + i] !== length))
    throw new ShapeError(`${what}: expected last axes [${shape}], found ${formatShape(x.shape)}`);
  return shape.map((_, i) => first + i);
}
