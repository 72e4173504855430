import { OptionError } from "../../util/errors.ts";
import { sizeOf } from "../../util/ndarray.ts";
import { checkWhole, refuseUnknown } from "../../util/options.ts";
import {
  type ConvOptions,
  type ConvTransposeOptions,
  conv1d,
  conv2d,
  convTranspose1d,
  convTranspose2d,
  type Size,
  sizes,
} from "../conv.ts";
import { uniform } from "../init.ts";
import { Module, Parameter } from "../module.ts";
import type { Tensor } from "../tensor.ts";

interface BiasOption {
  /** Whether a bias is added to each output channel; true by default. */
  readonly bias?: boolean;
}

const CONV = ["stride", "padding", "dilation", "groups", "bias"];
const CONV_TRANSPOSE = [...CONV, "outputPadding"];

/** Weights [outer, inner / groups, …kernel] and a bias, uniform on ±1/√(inner / groups · kernel) as in PyTorch. */
abstract class Convolution extends Module {
  readonly weight: Parameter;
  readonly bias?: Parameter;

  /** @throws OptionError */
  protected constructor(
    [outer, inner]: readonly [number, number],
    outChannels: number,
    kernel: readonly number[],
    groups: number,
    bias: boolean,
  ) {
    super();
    const { name } = new.target;
    checkWhole(`${name}: groups`, groups, 1);
    for (const channels of [outer, inner]) {
      checkWhole(`${name}: channels`, channels, 1);
      if (channels % groups !== 0)
        throw new OptionError(`${name}: ${channels} channels cannot be divided into ${groups} groups`);
    }
    const shape = [outer, inner / groups, ...kernel];
    const b = 1 / Math.sqrt(sizeOf(shape.slice(1)));
    this.weight = new Parameter(uniform(shape, { a: -b, b }));
    if (bias) this.bias = new Parameter(uniform([outChannels], { a: -b, b }));
  }
}

/** Convolution over one spatial axis; see `conv1d`. `weight` is [out, in / groups, k], `bias` [out]. */
export class Conv1d extends Convolution {
  readonly #options: ConvOptions;

  /** @throws OptionError */
  constructor(inChannels: number, outChannels: number, kernelSize: Size, options: ConvOptions & BiasOption = {}) {
    refuseUnknown("Conv1d", options, CONV);
    const kernel = sizes("Conv1d: kernelSize", kernelSize, 1, 1);
    const { bias = true, ...window } = options;
    super([outChannels, inChannels], outChannels, kernel, window.groups ?? 1, bias);
    this.#options = window;
  }

  override forward(x: Tensor): Tensor {
    return conv1d(x, this.weight, this.bias, this.#options);
  }
}

/** Convolution over two spatial axes; see `conv2d`. `weight` is [out, in / groups, kH, kW], `bias` [out]. */
export class Conv2d extends Convolution {
  readonly #options: ConvOptions;

  /** @throws OptionError */
  constructor(inChannels: number, outChannels: number, kernelSize: Size, options: ConvOptions & BiasOption = {}) {
    refuseUnknown("Conv2d", options, CONV);
    const kernel = sizes("Conv2d: kernelSize", kernelSize, 2, 1);
    const { bias = true, ...window } = options;
    super([outChannels, inChannels], outChannels, kernel, window.groups ?? 1, bias);
    this.#options = window;
  }

  override forward(x: Tensor): Tensor {
    return conv2d(x, this.weight, this.bias, this.#options);
  }
}

/** Transposed convolution over one spatial axis; see `convTranspose1d`. `weight` is [in, out / groups, k], `bias` [out]. */
export class ConvTranspose1d extends Convolution {
  readonly #options: ConvTransposeOptions;

  /** @throws OptionError */
  constructor(
    inChannels: number,
    outChannels: number,
    kernelSize: Size,
    options: ConvTransposeOptions & BiasOption = {},
  ) {
    refuseUnknown("ConvTranspose1d", options, CONV_TRANSPOSE);
    const kernel = sizes("ConvTranspose1d: kernelSize", kernelSize, 1, 1);
    const { bias = true, ...window } = options;
    super([inChannels, outChannels], outChannels, kernel, window.groups ?? 1, bias);
    this.#options = window;
  }

  override forward(x: Tensor): Tensor {
    return convTranspose1d(x, this.weight, this.bias, this.#options);
  }
}

/** Transposed convolution over two spatial axes; see `convTranspose2d`. `weight` is [in, out / groups, kH, kW], `bias` [out]. */
export class ConvTranspose2d extends Convolution {
  readonly #options: ConvTransposeOptions;

  /** @throws OptionError */
  constructor(
    inChannels: number,
    outChannels: number,
    kernelSize: Size,
    options: ConvTransposeOptions & BiasOption = {},
  ) {
    refuseUnknown("ConvTranspose2d", options, CONV_TRANSPOSE);
    const kernel = sizes("ConvTranspose2d: kernelSize", kernelSize, 2, 1);
    const { bias = true, ...window } = options;
    super([inChannels, outChannels], outChannels, kernel, window.groups ?? 1, bias);
    this.#options = window;
  }

  override forward(x: Tensor): Tensor {
    return convTranspose2d(x, this.weight, this.bias, this.#options);
  }
}
