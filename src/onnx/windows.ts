import type { Node } from "../graph/index.ts";
import type { Window } from "../ops/index.ts";
import { sizeOf } from "../util/ndarray.ts";
import type { Lowering } from "./lowering.ts";
import type { Attribute } from "./model-proto.ts";

/** A convolution of images [N, C, …size] by weights [O, C / groups, …kernel], with results [N, O, …places]. */
export interface Convolution {
  readonly window: Window;
  readonly groups: number;
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

/** How a window moves, as attributes of ONNX operators. */
export function windowAttributes({ stride, before, after, dilation }: Window): Record<string, Attribute> {
  return { strides: stride, pads: [...before, ...after], dilations: dilation };
}

/** As a matrix product of the weights with the entries under the windows of each image. */
export function convByWindows(to: Lowering, form: Convolution, x: string, w: string): string {
  const { groups, outputs, channels, kernel, places } = form;
  const row = (channels / groups) * sizeOf(kernel);
  const rows = to.emit("Reshape", [w, to.ints([groups, outputs / groups, row])]);
  const product = to.emit("MatMul", [rows, windowsOfEach(to, form, x)]);
  return to.emit("Reshape", [product, to.ints([0, outputs, ...places])]);
}

/** The weights' gradient as one matrix product for each image, and their sum. */
export function weightByWindows(to: Lowering, form: Convolution, x: string, z: string): string {
  const { groups, outputs, channels, kernel, places } = form;
  const rows = to.emit("Reshape", [z, to.ints([0, groups, outputs / groups, sizeOf(places)])]);
  const columns = to.emit("Transpose", [windowsOfEach(to, form, x)], { perm: [0, 1, 3, 2] });
  const sum = to.emit("ReduceSum", [to.emit("MatMul", [rows, columns]), to.ints([0])], { keepdims: 0 });
  return to.emit("Reshape", [sum, to.ints([outputs, channels / groups, ...kernel])]);
}

/** The entries under the windows of each image, [N, groups, C / groups · kernel, places]. */
function windowsOfEach(to: Lowering, form: Convolution, x: string): string {
  const { groups, channels, kernel, places } = form;
  const row = (channels / groups) * sizeOf(kernel);
  return to.emit("Reshape", [windows(to, form, x, 2), to.ints([0, groups, row, sizeOf(places)])]);
}

/**
 * As one matrix product for all images, in one group. Samples come last meanwhile, so that the windows of small images are
 * laid out in long copies.
 */
export function convByRows(to: Lowering, form: Convolution, x: string, w: string): string {
  const { outputs, channels, kernel, places } = form;
  const row = channels * sizeOf(kernel);
  const last = to.emit("Transpose", [x], { perm: [...places.map((_, i) => i + 1), places.length + 1, 0] });
  const columns = to.emit("Reshape", [windows(to, form, last, 1), to.ints([row, -1])]);
  const product = to.emit("MatMul", [to.emit("Reshape", [w, to.ints([outputs, row])]), columns]);
  const images = to.emit("Reshape", [product, to.ints([outputs, ...places, -1])]);
  return to.emit("Transpose", [images], { perm: [places.length + 1, 0, ...places.map((_, i) => i + 1)] });
}

/**
 * The entries under the windows with those of the kernel along a new axis, before the spatial ones, which begin with
 * `first`; found along one of these after the other, so that all copies but the first are of long stretches.
 */
function windows(to: Lowering, { window, kernel, places, backwards }: Convolution, x: string, first: 1 | 2): string {
  let columns = to.emit("Unsqueeze", [padded(to, x, window, first, 0), to.ints([first])]);
  for (let axis = kernel.length - 1; axis >= 0; axis--) {
    const taps = Array.from({ length: kernel[axis]! }, (_, k) => {
      const { start, stop, step } = stretch(window, axis, k, places);
      const ends = [[start], [stop], [first + 1 + axis], [step]].map((each) => to.ints(each));
      return to.emit("Slice", [columns, ...ends]);
    });
    columns = to.emit("Concat", backwards ? taps.reverse() : taps, { axis: first });
  }
  return columns;
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

/** For each entry of the kernel, row-major, what it meets at all places of all images: [N · places, C]. */
function taps(to: Lowering, { window, channels, kernel, places }: Convolution, x: string): string[] {
  const last = to.emit("Transpose", [x], { perm: [0, ...kernel.map((_, i) => i + 2), 1] });
  return windowSlices(to, last, window, kernel, places, 1).map((tap) =>
    to.emit("Reshape", [tap, to.ints([-1, channels])]),
  );
}

/**
 * For each entry of the kernel, row-major, what it meets at all places, along the spatial axes from `first` on; `fill`
 * where it meets nothing.
 */
export function windowSlices(
  to: Lowering,
  x: string,
  window: Window,
  kernel: readonly number[],
  places: readonly number[],
  first: 1 | 2,
  fill: number = 0,
): string[] {
  const whole = padded(to, x, window, first, fill);
  const axes = to.ints(kernel.map((_, i) => i + first));
  return eachIndex(kernel).map((at) => {
    const stretches = at.map((k, axis) => stretch(window, axis, k, places));
    const ends = [stretches.map(({ start }) => start), stretches.map(({ stop }) => stop)].map((each) => to.ints(each));
    return to.emit("Slice", [whole, ...ends, axes, to.ints(window.stride)]);
  });
}

/** What an entry of the kernel meets along an axis of the padded image, at all places. */
function stretch({ stride, dilation }: Window, axis: number, k: number, places: readonly number[]) {
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
