import type { Node, Shape } from "../graph/index.ts";
import type { Window } from "../ops/index.ts";
import { sizeOf } from "../util/ndarray.ts";
import type { Lowering } from "./lowering.ts";
import type { Attribute } from "./model-proto.ts";

/** A convolution of images [N, C, …size] by weights [O, C / groups, …kernel], with results [N, O, …places]. */
export interface Convolution {
  readonly window: Window;
  readonly groups: number;
  readonly images: Shape;
  readonly channels: number;
  readonly outputs: number;
  readonly kernel: readonly number[];
  readonly places: readonly number[];
  /** Whether the last entry of the kernel meets the image first. */
  readonly backwards?: boolean;
}

/** The lengths of the axes after samples and channels. */
export function spatial({ shape }: Node): number[] {
  return shape.slice(2) as number[];
}

/** Whether no padding is below 0, which the engine's own convolutions would refuse. */
export function isPadded({ window: { before, after } }: Convolution): boolean {
  return [...before, ...after].every((amount) => amount >= 0);
}

/** How a window moves, as attributes of ONNX operators. */
export function windowAttributes({ stride, before, after, dilation }: Window): Record<string, Attribute> {
  return { strides: stride, pads: [...before, ...after], dilations: dilation };
}

/** As a matrix product of the weights with the entries under the windows of each image. */
export function convByWindows(to: Lowering, form: Convolution, x: string, w: string): string {
  const { groups, outputs, channels, kernel, places } = form;
  const row = (channels / groups) * sizeOf(kernel);
  const rows = to.emit("Reshape", [w, to.ints([groups, outputs / groups, row])]);
  const product = to.emit("MatMul", [rows, windows(to, form, x)]);
  return to.emit("Reshape", [product, to.ints([0, outputs, ...places])]);
}

/** The weights' gradient as one matrix product for each image, and their sum. */
export function weightByWindows(to: Lowering, form: Convolution, x: string, z: string): string {
  const { groups, outputs, channels, kernel, places } = form;
  const rows = to.emit("Reshape", [z, to.ints([0, groups, outputs / groups, sizeOf(places)])]);
  const columns = to.emit("Transpose", [windows(to, form, x)], { perm: [0, 1, 3, 2] });
  const sum = to.emit("ReduceSum", [to.emit("MatMul", [rows, columns]), to.ints([0])], { keepdims: 0 });
  return to.emit("Reshape", [sum, to.ints([outputs, channels / groups, ...kernel])]);
}

/**
 * The entries under the windows, [N, groups, C / groups · kernel, places]; found along one axis after the other, so that all
 * copies but the first are of long stretches.
 */
function windows(to: Lowering, form: Convolution, x: string): string {
  const { window, groups, channels, kernel, places } = form;
  const columns = columnsAlong(to, form, padded(to, x, window, 2, 0), { before: 2, from: 0 });
  return to.emit("Reshape", [columns, to.ints([0, groups, (channels / groups) * sizeOf(kernel), sizeOf(places)])]);
}

/**
 * What the kernel's entries along the spatial axes from `from` on meet at all places there, on a new axis before the spatial
 * ones, of which the first is axis `before`.
 */
function columnsAlong(
  to: Lowering,
  { window, kernel, places, backwards }: Convolution,
  image: string,
  { before, from }: { readonly before: number; readonly from: number },
): string {
  let columns = to.emit("Unsqueeze", [image, to.ints([before])]);
  for (let axis = kernel.length - 1; axis >= from; axis--) {
    const taps = Array.from({ length: kernel[axis]! }, (_, k) => {
      const { start, stop, step } = stretch(window, axis, k, places);
      return to.emit("Slice", [columns, ...[start, stop, axis + before + 1, step].map((each) => to.ints([each]))]);
    });
    columns = to.emit("Concat", backwards ? taps.reverse() : taps, { axis: before });
  }
  return columns;
}

/**
 * As a sum over the kernel's entries of products of channels alone, over all images at once; in one group. Samples come
 * last meanwhile: small images are copied in long stretches.
 */
export function convByTaps(to: Lowering, form: Convolution, x: string, w: string): string {
  const { outputs, channels, kernel, places, backwards } = form;
  const count = sizeOf(kernel);
  const axes = places.map((_, i) => i + 1);
  const last = to.emit("Transpose", [x], { perm: [...axes, axes.length + 1, 0] });
  const entries = windowSlices(to, last, form, 1).map((tap) => to.emit("Reshape", [tap, to.ints([channels, -1])]));
  const matrix = backwards ? [channels, outputs] : [outputs, channels];
  const first = to.emit("Transpose", [to.emit("Reshape", [w, to.ints([...matrix, count])])], { perm: [2, 0, 1] });
  // In two transpositions: one that turns all axes takes ten times as long.
  const turned = backwards ? to.emit("Transpose", [first], { perm: [0, 2, 1] }) : first;
  const factors = count === 1 ? [turned] : to.emitAll("Split", [turned], count, { axis: 0, num_outputs: count });
  let sum: readonly string[] = [];
  entries.forEach((entry, k) => {
    const factor = to.emit("Reshape", [factors[backwards ? count - 1 - k : k]!, to.ints([outputs, channels])]);
    sum = [to.emit("Gemm", [factor, entry, ...sum])];
  });
  const images = to.emit("Reshape", [sum[0]!, to.ints([outputs, ...places, -1])]);
  return to.emit("Transpose", [images], { perm: [axes.length + 1, 0, ...axes] });
}

/** The weights' gradient as products of channels alone, over all images at once; in one group. */
export function weightByTaps(to: Lowering, form: Convolution, x: string, z: string): string {
  const { channels, outputs, kernel, places } = form;
  const first = to.emit("Transpose", [z], { perm: [1, 0, ...places.map((_, i) => i + 2)] });
  const rows = to.emit("Reshape", [first, to.ints([outputs, -1])]);
  const products = taps(to, form, x).map((tap) =>
    to.emit("Reshape", [to.emit("MatMul", [rows, tap]), to.ints([1, outputs, channels])]),
  );
  const last = to.emit("Transpose", [to.emit("Concat", products, { axis: 0 })], { perm: [1, 2, 0] });
  return to.emit("Reshape", [last, to.ints([outputs, channels, ...kernel])]);
}

/**
 * The weights' gradient as one product over all images for each entry of the kernel along the axes before `from`, with what
 * all entries along the others meet; in one group. Samples come last meanwhile: copies are of long stretches.
 */
export function weightByColumns(to: Lowering, form: Convolution, x: string, z: string, from: number): string {
  const { window, channels, outputs, kernel } = form;
  const samplesLast = { perm: [1, ...kernel.map((_, i) => i + 2), 0] };
  const rows = to.emit("Reshape", [to.emit("Transpose", [z], samplesLast), to.ints([outputs, -1])]);
  const image = to.emit("Transpose", [padded(to, x, window, 2, 0)], samplesLast);
  const columns = columnsAlong(to, form, image, { before: 1, from });
  const together = sizeOf(kernel.slice(from));
  const products = eachIndex(kernel.slice(0, from)).map((at) => {
    const met = to.emit("Reshape", [sliceAt(to, columns, form, at, 2), to.ints([channels * together, -1])]);
    const product = to.emit("Gemm", [rows, met], { transB: 1 });
    return to.emit("Reshape", [product, to.ints([outputs, channels, 1, together])]);
  });
  return to.emit("Reshape", [to.emit("Concat", products, { axis: 2 }), to.ints([outputs, channels, ...kernel])]);
}

/** For each entry of the kernel, row-major, what it meets at all places of all images: [N · places, C]. */
function taps(to: Lowering, form: Convolution, x: string): string[] {
  const last = to.emit("Transpose", [x], { perm: [0, ...form.kernel.map((_, i) => i + 2), 1] });
  return windowSlices(to, last, form, 1).map((tap) => to.emit("Reshape", [tap, to.ints([-1, form.channels])]));
}

/**
 * For each entry of the kernel, row-major, what it meets at all places, along the spatial axes from `first` on; `fill`
 * where it meets nothing.
 */
export function windowSlices(
  to: Lowering,
  x: string,
  { window, kernel, places }: Pick<Convolution, "window" | "kernel" | "places">,
  first: 1 | 2,
  fill: number = 0,
): string[] {
  const whole = padded(to, x, window, first, fill);
  return eachIndex(kernel).map((at) => sliceAt(to, whole, { window, places }, at, first));
}

/** What one entry of the kernel, given along the first spatial axes, meets there at all places; `first` is the first of them. */
function sliceAt(
  to: Lowering,
  x: string,
  { window, places }: Pick<Convolution, "window" | "places">,
  at: readonly number[],
  first: number,
): string {
  if (at.length === 0) return x;
  const stretches = at.map((k, axis) => ({ axis: axis + first, ...stretch(window, axis, k, places) }));
  const each = (["start", "stop", "axis", "step"] as const).map((name) => to.ints(stretches.map((one) => one[name])));
  return to.emit("Slice", [x, ...each]);
}

/** What an entry of the kernel meets along an axis of the padded image, at all places. */
export function stretch({ stride, dilation }: Window, axis: number, k: number, places: readonly number[]) {
  const start = k * dilation[axis]!;
  return { start, stop: start + (places[axis]! - 1) * stride[axis]! + 1, step: stride[axis]! };
}

/** An image with its padding, the spatial axes from `first` on. */
function padded(to: Lowering, x: string, { before, after }: Window, first: 1 | 2, fill: number): string {
  if ([...before, ...after].every((amount) => amount === 0)) return x;
  const ends = [before, after].flatMap((amounts) => (first === 1 ? [0, ...amounts, 0] : [0, 0, ...amounts]));
  return to.emit("Pad", [x, to.ints(ends), to.number(fill)]);
}

/** Every index of an array of this shape, row-major. */
function eachIndex(shape: readonly number[]): number[][] {
  return shape.reduce<number[][]>(
    (indices, length) => indices.flatMap((index) => Array.from({ length }, (_, k) => [...index, k])),
    [[]],
  );
}
