import { isBatch } from "../graph/index.ts";
import * as ops from "../ops/index.ts";
import { OptionError, ShapeError } from "../util/errors.ts";
import { checkWhole, refuseUnknown } from "../util/options.ts";
import { currentTrace, Tensor } from "./tensor.ts";

/** A whole number for every spatial axis, or one for each. */
export type Size = number | readonly number[];

/** Options of convolutions. */
export interface ConvOptions {
  /** Steps between the places of the kernel; 1 by default. */
  readonly stride?: Size;
  /** Zeros on both sides; 0 by default. "same" keeps the size, for stride 1; "valid" is 0. */
  readonly padding?: Size | "same" | "valid";
  /** The distance between the kernel's entries; 1 by default. */
  readonly dilation?: Size;
  /** Blocks of channels, each with weights of its own; 1 by default. */
  readonly groups?: number;
}

/** Options of transposed convolutions. */
export interface ConvTransposeOptions extends Omit<ConvOptions, "padding"> {
  /** Entries taken off on both sides; 0 by default. */
  readonly padding?: Size;
  /** Entries added at the end, fewer than the stride; 0 by default. */
  readonly outputPadding?: Size;
}

/** One whole number for each of the axes. @throws OptionError */
export function sizes(what: string, value: Size, axes: number, least: number): number[] {
  const all = Array.isArray(value) ? [...value] : new Array<number>(axes).fill(value as number);
  if (all.length !== axes) throw new OptionError(`${what}: expected one whole number or ${axes}, found [${all}]`);
  for (const each of all) checkWhole(what, each, least);
  return all;
}

/**
 * Cross-correlation over one spatial axis.
 * @param x [N, C, L]. @param weight [O, C / groups, k]. @param bias [O].
 * @throws ShapeError, OptionError
 */
export function conv1d(x: Tensor, weight: Tensor, bias?: Tensor, options: ConvOptions = {}): Tensor {
  return convolution("conv1d", 1, x, weight, bias, options);
}

/**
 * Cross-correlation over two spatial axes.
 * @param x [N, C, H, W]. @param weight [O, C / groups, kH, kW]. @param bias [O].
 * @throws ShapeError, OptionError
 */
export function conv2d(x: Tensor, weight: Tensor, bias?: Tensor, options: ConvOptions = {}): Tensor {
  return convolution("conv2d", 2, x, weight, bias, options);
}

function convolution(
  what: string,
  axes: number,
  x: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  options: ConvOptions,
): Tensor {
  refuseUnknown(what, options, ["stride", "padding", "dilation", "groups"]);
  const kernel = kernelOf(what, axes, x, weight);
  const stride = sizes(`${what}: stride`, options.stride ?? 1, axes, 1);
  const dilation = sizes(`${what}: dilation`, options.dilation ?? 1, axes, 1);
  const { groups = 1 } = options;
  checkWhole(`${what}: groups`, groups, 1);
  const [before, after] = convPadding(what, options.padding ?? 0, kernel, stride, dilation);
  const attrs = { stride, before, after, dilation, groups };
  const made = new Tensor(ops.conv(currentTrace().builder, x.node, weight.node, attrs));
  return withBias(made, bias);
}

/** Zeros before and after each axis; where "same" needs an odd number, the last side gets one more, as in PyTorch. */
function convPadding(
  what: string,
  padding: Size | "same" | "valid",
  kernel: readonly number[],
  stride: readonly number[],
  dilation: readonly number[],
): [number[], number[]] {
  if (padding === "same") {
    if (stride.some((step) => step !== 1))
      throw new OptionError(`${what}: padding "same" needs stride 1, found [${stride}]`);
    const all = kernel.map((length, i) => dilation[i]! * (length - 1));
    return [all.map((amount) => Math.floor(amount / 2)), all.map((amount) => Math.ceil(amount / 2))];
  }
  if (typeof padding === "string" && padding !== "valid")
    throw new OptionError(`${what}: padding must be whole numbers, "same" or "valid"; found "${padding}"`);
  const sides = sizes(`${what}: padding`, padding === "valid" ? 0 : padding, kernel.length, 0);
  return [sides, sides];
}

function kernelOf(what: string, axes: number, x: Tensor, weight: Tensor): number[] {
  const kernel = weight.shape.slice(2);
  if (x.shape.length !== axes + 2 || kernel.length !== axes || kernel.some(isBatch))
    throw new ShapeError(
      `${what}: expected ${axes + 2} axes, samples and channels first, found ${x.shape.length} in the input and ${weight.shape.length} in the weight`,
    );
  return kernel as number[];
}

function withBias(x: Tensor, bias: Tensor | undefined): Tensor {
  return bias ? x.add(bias.reshape(-1, ...x.shape.slice(2).map(() => 1))) : x;
}

/**
 * Transposed convolution over one spatial axis: (L − 1) stride − 2 padding + dilation (k − 1) + outputPadding + 1 entries.
 * @param x [N, C, L]. @param weight [C, O / groups, k]. @param bias [O].
 * @throws ShapeError, OptionError
 */
export function convTranspose1d(x: Tensor, weight: Tensor, bias?: Tensor, options: ConvTransposeOptions = {}): Tensor {
  return transposedConvolution("convTranspose1d", 1, x, weight, bias, options);
}

/**
 * Transposed convolution over two spatial axes, each of the length that `convTranspose1d` gives.
 * @param x [N, C, H, W]. @param weight [C, O / groups, kH, kW]. @param bias [O].
 * @throws ShapeError, OptionError
 */
export function convTranspose2d(x: Tensor, weight: Tensor, bias?: Tensor, options: ConvTransposeOptions = {}): Tensor {
  return transposedConvolution("convTranspose2d", 2, x, weight, bias, options);
}

function transposedConvolution(
  what: string,
  axes: number,
  x: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  options: ConvTransposeOptions,
): Tensor {
  refuseUnknown(what, options, ["stride", "padding", "outputPadding", "dilation", "groups"]);
  const kernel = kernelOf(what, axes, x, weight);
  const stride = sizes(`${what}: stride`, options.stride ?? 1, axes, 1);
  const padding = sizes(`${what}: padding`, options.padding ?? 0, axes, 0);
  const dilation = sizes(`${what}: dilation`, options.dilation ?? 1, axes, 1);
  const added = sizes(`${what}: outputPadding`, options.outputPadding ?? 0, axes, 0);
  const { groups = 1 } = options;
  checkWhole(`${what}: groups`, groups, 1);
  if (added.some((amount, i) => amount >= stride[i]!))
    throw new OptionError(`${what}: outputPadding [${added}] must be below the stride [${stride}]`);
  const size = kernel.map((length, i) => {
    const places = x.shape[i + 2] as number;
    return (places - 1) * stride[i]! - 2 * padding[i]! + dilation[i]! * (length - 1) + added[i]! + 1;
  });
  if (size.some((length) => length < 1))
    throw new ShapeError(`${what}: padding [${padding}] leaves nothing of [${size}]`);
  const attrs = { stride, before: padding, after: padding, dilation, groups, size };
  return withBias(new Tensor(ops.convInput(currentTrace().builder, x.node, weight.node, attrs)), bias);
}
