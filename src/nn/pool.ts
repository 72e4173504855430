import { formatShape, isBatch } from "../graph/index.ts";
import * as ops from "../ops/index.ts";
import { OptionError, ShapeError } from "../util/errors.ts";
import { ndarray, sizeOf } from "../util/ndarray.ts";
import { refuseUnknown } from "../util/options.ts";
import { type Size, sizes } from "./conv.ts";
import { cat, constant, currentTrace, nodeOf, Tensor } from "./tensor.ts";

/** Options of pooling. */
export interface PoolOptions {
  /** Steps between windows; the kernel by default. */
  readonly stride?: Size;
  /** Entries on both sides that no maximum takes, and that count as 0 in a mean; at most half the kernel; 0 by default. */
  readonly padding?: Size;
}

/** Options of maxima. */
export interface MaxPoolOptions extends PoolOptions {
  /** The distance between the entries of a window; 1 by default. */
  readonly dilation?: Size;
}

/** Options of means. */
export interface AvgPoolOptions extends PoolOptions {
  /** Whether padding counts in the number that the sum is divided by; true by default. */
  readonly countIncludePad?: boolean;
}

/** The largest entry of each window along the last axis of [N, C, L]; the derivative goes to the first one. */
export function maxPool1d(x: Tensor, kernelSize: Size, options: MaxPoolOptions = {}): Tensor {
  return maxima("maxPool1d", 1, x, kernelSize, options);
}

/** The largest entry of each window over the last two axes of [N, C, H, W]; the derivative goes to the first one. */
export function maxPool2d(x: Tensor, kernelSize: Size, options: MaxPoolOptions = {}): Tensor {
  return maxima("maxPool2d", 2, x, kernelSize, options);
}

function maxima(what: string, axes: number, x: Tensor, kernelSize: Size, options: MaxPoolOptions): Tensor {
  refuseUnknown(what, options, ["stride", "padding", "dilation"]);
  const { kernel, stride, padding } = poolWindow(what, axes, kernelSize, options);
  const dilation = sizes(`${what}: dilation`, options.dilation ?? 1, axes, 1);
  const attrs = { kernel, stride, before: padding, after: padding, dilation };
  return new Tensor(ops.maxPool(currentTrace().builder, x.node, attrs));
}

function poolWindow(what: string, axes: number, kernelSize: Size, options: PoolOptions) {
  const kernel = sizes(`${what}: kernelSize`, kernelSize, axes, 1);
  const stride = sizes(`${what}: stride`, options.stride ?? kernel, axes, 1);
  const padding = sizes(`${what}: padding`, options.padding ?? 0, axes, 0);
  if (padding.some((amount, i) => 2 * amount > kernel[i]!))
    throw new OptionError(`${what}: padding [${padding}] must be at most half the kernel [${kernel}]`);
  return { kernel, stride, padding };
}

/** The mean of each window along the last axis of [N, C, L]. */
export function avgPool1d(x: Tensor, kernelSize: Size, options: AvgPoolOptions = {}): Tensor {
  return means("avgPool1d", 1, x, kernelSize, options);
}

/** The mean of each window over the last two axes of [N, C, H, W]. */
export function avgPool2d(x: Tensor, kernelSize: Size, options: AvgPoolOptions = {}): Tensor {
  return means("avgPool2d", 2, x, kernelSize, options);
}

function means(what: string, axes: number, x: Tensor, kernelSize: Size, options: AvgPoolOptions): Tensor {
  refuseUnknown(what, options, ["stride", "padding", "countIncludePad"]);
  const { kernel, stride, padding } = poolWindow(what, axes, kernelSize, options);
  const image = imageOf(what, axes, x);
  const tiles = kernel.every((length, i) => length === stride[i] && padding[i] === 0 && image[i + 1]! % length === 0);
  if (tiles) return tileMeans(x, image, kernel);
  const total = windowSums(x, image, { kernel, stride, padding });
  if (options.countIncludePad ?? true) return total.div(sizeOf(kernel));
  const ones = ops.broadcast(currentTrace().builder, nodeOf(1), [1, ...image]);
  return total.div(windowSums(new Tensor(ones), image, { kernel, stride, padding }));
}

/** Means over windows that lie side by side: a reshape and a mean over axes. */
function tileMeans(x: Tensor, [channels, ...size]: readonly number[], kernel: readonly number[]): Tensor {
  const tiled = x.reshape(x.shape[0]!, channels!, ...size.flatMap((length, i) => [length / kernel[i]!, kernel[i]!]));
  return tiled.mean(kernel.map((_, i) => 2 * i + 3));
}

/** Sums over windows: each channel's convolution with ones. */
function windowSums(
  x: Tensor,
  [channels, ...size]: readonly number[],
  { kernel, stride, padding }: ReturnType<typeof poolWindow>,
): Tensor {
  const { builder } = currentTrace();
  const ones = ops.broadcast(builder, nodeOf(1), [channels!, 1, ...kernel]);
  const attrs = { stride, before: padding, after: padding, dilation: size.map(() => 1), groups: channels! };
  return new Tensor(ops.conv(builder, x.node, ones, attrs));
}

/** Channels and size of images. @throws ShapeError */
function imageOf(what: string, axes: number, { shape }: Tensor): number[] {
  const image = shape.slice(1);
  if (image.length !== axes + 1 || image.some(isBatch))
    throw new ShapeError(`${what}: expected [N, C, …] with ${axes} spatial axes, found ${formatShape(shape)}`);
  return image as number[];
}

/**
 * Means over windows chosen so that [N, C, H, W] becomes [N, C, …outputSize]: entry i of an axis is the mean from
 * ⌊i · size / out⌋ up to ⌈(i + 1) · size / out⌉, as in PyTorch.
 */
export function adaptiveAvgPool2d(x: Tensor, outputSize: Size): Tensor {
  const image = imageOf("adaptiveAvgPool2d", 2, x);
  const [height, width] = image.slice(1) as [number, number];
  const [rows, columns] = sizes("adaptiveAvgPool2d: outputSize", outputSize, 2, 1) as [number, number];
  if (height % rows === 0 && width % columns === 0) return tileMeans(x, image, [height / rows, width / columns]);
  return averaging(rows, height).matmul(x).matmul(averaging(columns, width).t());
}

/** The matrix [out, size] of adaptive means along one axis. */
function averaging(out: number, size: number): Tensor {
  const data = new Float64Array(out * size);
  for (const [i, [start, end]] of adaptiveWindows(out, size).entries())
    data.fill(1 / (end - start), i * size + start, i * size + end);
  return constant(ndarray(data, [out, size]));
}

function adaptiveWindows(out: number, size: number): [number, number][] {
  return Array.from({ length: out }, (_, i) => [Math.floor((i * size) / out), Math.ceil(((i + 1) * size) / out)]);
}

/** Maxima over the windows of `adaptiveAvgPool2d`; the derivative goes to the first largest entry. */
export function adaptiveMaxPool2d(x: Tensor, outputSize: Size): Tensor {
  const [, height, width] = imageOf("adaptiveMaxPool2d", 2, x) as [number, number, number];
  const [rows, columns] = sizes("adaptiveMaxPool2d: outputSize", outputSize, 2, 1) as [number, number];
  if (height % rows === 0 && width % columns === 0) return maxPool2d(x, [height / rows, width / columns]);
  // Along rows first: of equal entries, the upper and then the left one is found.
  return adaptiveMax(adaptiveMax(x, 3, columns, width), 2, rows, height);
}

function adaptiveMax(x: Tensor, dim: number, out: number, size: number): Tensor {
  return cat(
    adaptiveWindows(out, size).map(([start, end]) => x.slice(dim, start, end).max(dim, true)),
    dim,
  );
}
