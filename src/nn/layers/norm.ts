import { countOf, formatShape, type Shape } from "../../graph/index.ts";
import { OptionError, ShapeError } from "../../util/errors.ts";
import { checkBoolean, checkWhole, refuseUnknown } from "../../util/options.ts";
import { ones, zeros } from "../init.ts";
import { Buffer, Module, Parameter } from "../module.ts";
import { entriesAlong, requireSamples, type Tensor } from "../tensor.ts";

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
    const z = standardize(x, lastAxes(x, this.#shape), this.#eps);
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
    const dims = lastAxes(x, this.#shape);
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
      throw new ShapeError(`expected [N, ${this.#channels}, …], found ${formatShape(x.shape)}`);
    const grouped = x.reshape(samples!, this.#groups, channels / this.#groups, ...size);
    const dims = grouped.shape.map((_, axis) => axis).slice(2);
    const z = standardize(grouped, dims, this.#eps).reshape(...x.shape);
    if (!this.weight || !this.bias) return z;
    const each = [-1, ...size.map(() => 1)];
    return z.mul(this.weight.reshape(...each)).add(this.bias.reshape(...each));
  }
}

/** Options of batch normalisation. */
export interface BatchNormOptions {
  /** Added to the variance; 1e-5 by default. */
  readonly eps?: number;
  /** How much of the running statistics a batch replaces; 0.1 by default. With null they are the means of all batches. */
  readonly momentum?: number | null;
  /** Whether each channel has a weight and a bias; true by default. */
  readonly affine?: boolean;
  /** Whether there are running statistics; true by default. Without, evaluation mode uses the batch's own too. */
  readonly trackRunningStats?: boolean;
}

/**
 * Channels standardised over the batch (Ioffe & Szegedy, 2015): by the batch's own mean and variance in training mode, which
 * couples its samples, and by running ones in evaluation mode. The running variance is of unbiased ones, as in PyTorch.
 */
abstract class BatchNorm extends Module {
  readonly weight?: Parameter;
  readonly bias?: Parameter;
  readonly runningMean?: Buffer;
  readonly runningVar?: Buffer;
  readonly numBatchesTracked?: Buffer;
  readonly #layouts: readonly string[];
  readonly #channels: number;
  readonly #eps: number;
  readonly #momentum: number | null;

  /**
   * @param layouts the axes that an input may have: "N, C, L".
   * @throws OptionError
   */
  constructor(layouts: readonly string[], numFeatures: number, options: BatchNormOptions) {
    super();
    refuseUnknown("BatchNorm", options, ["eps", "momentum", "affine", "trackRunningStats"]);
    const { eps = 1e-5, momentum = 0.1, affine = true, trackRunningStats = true } = options;
    checkWhole("BatchNorm: numFeatures", numFeatures, 1);
    checkBoolean("BatchNorm: affine", affine);
    checkBoolean("BatchNorm: trackRunningStats", trackRunningStats);
    if (momentum !== null && !(momentum >= 0 && momentum <= 1))
      throw new OptionError(`BatchNorm: momentum must be null or from 0 to 1; found ${momentum}`);
    this.#layouts = layouts;
    this.#channels = numFeatures;
    this.#eps = checkedEps("BatchNorm", eps);
    this.#momentum = momentum;
    if (affine) {
      this.weight = new Parameter(ones([numFeatures]));
      this.bias = new Parameter(zeros([numFeatures]));
    }
    if (!trackRunningStats) return;
    this.runningMean = new Buffer(zeros([numFeatures]));
    this.runningVar = new Buffer(ones([numFeatures]));
    this.numBatchesTracked = new Buffer(zeros([]));
  }

  override fields(): [string, unknown][] {
    return [
      ["weight", this.weight],
      ["bias", this.bias],
      ["running_mean", this.runningMean],
      ["running_var", this.runningVar],
      ["num_batches_tracked", this.numBatchesTracked],
    ];
  }

  /** @throws ShapeError; DataError with a batch that gives each channel one value, in training mode */
  override forward(x: Tensor): Tensor {
    this.#check(x);
    const each = [this.#channels, ...x.shape.slice(2).map(() => 1)];
    const { centred, variance } =
      this.training || !this.runningMean || !this.runningVar
        ? this.#ofBatch(x)
        : { centred: x.sub(this.runningMean.reshape(...each)), variance: this.runningVar };
    const inverse = variance.add(this.#eps).pow(-0.5);
    const scale = this.weight ? inverse.mul(this.weight) : inverse;
    const scaled = centred.mul(scale.reshape(...each));
    return this.bias ? scaled.add(this.bias.reshape(...each)) : scaled;
  }

  /** x without its mean, and its variance; in training mode they enter the running statistics. */
  #ofBatch(x: Tensor): { centred: Tensor; variance: Tensor } {
    const dims = [...x.shape.keys()].filter((axis) => axis !== 1);
    requireMoreThanOne(dims.map((axis) => x.shape[axis]!));
    const mean = x.mean(dims, true);
    const centred = x.sub(mean);
    const variance = centred.square().mean(dims);
    if (this.training) this.#track(mean.reshape(this.#channels), variance, entriesAlong(x, dims));
    return { centred, variance };
  }

  #track(mean: Tensor, variance: Tensor, count: Tensor): void {
    if (!this.runningMean || !this.runningVar || !this.numBatchesTracked) return;
    this.numBatchesTracked.assign(this.numBatchesTracked.add(1));
    const share = this.#momentum ?? this.numBatchesTracked.reciprocal();
    const follow = (running: Buffer, value: Tensor): void => running.assign(running.add(value.sub(running).mul(share)));
    follow(this.runningMean, mean);
    follow(this.runningVar, variance.mul(count.div(count.sub(1))));
  }

  #check(x: Tensor): void {
    const fits = this.#layouts.some((layout) => layout.split(",").length === x.shape.length);
    if (fits && x.shape[1] === this.#channels) return;
    const expected = this.#layouts.map((layout) => `[${layout}]`).join(" or ");
    throw new ShapeError(`expected ${expected} with C = ${this.#channels}, found ${formatShape(x.shape)}`);
  }
}

/** Batch normalisation of [N, C] or [N, C, L]. State names are PyTorch's: `running_mean`, `num_batches_tracked`. */
export class BatchNorm1d extends BatchNorm {
  /** @throws OptionError */
  constructor(numFeatures: number, options: BatchNormOptions = {}) {
    super(["N, C", "N, C, L"], numFeatures, options);
  }
}

/** Batch normalisation of images [N, C, H, W]. */
export class BatchNorm2d extends BatchNorm {
  /** @throws OptionError */
  constructor(numFeatures: number, options: BatchNormOptions = {}) {
    super(["N, C, H, W"], numFeatures, options);
  }
}

/** One value has no variance. @throws ShapeError where that is known now; else a small batch is refused later */
function requireMoreThanOne(axes: Shape): void {
  const { factor, power } = countOf(axes);
  if (factor > 1) return;
  const reason = "batch statistics need more than one value per channel";
  if (power === 0) throw new ShapeError(reason);
  requireSamples(2, reason);
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
function lastAxes(x: Tensor, shape: readonly number[]): number[] {
  const first = x.shape.length - shape.length;
  if (first < 0 || shape.some((length, i) => x.shape[first + i] !== length))
    throw new ShapeError(`expected last axes [${shape}], found ${formatShape(x.shape)}`);
  return shape.map((_, i) => first + i);
}
