import { isBatch, type Node } from "../graph/index.ts";
import type { ConvAttrs, ConvInputAttrs, ConvWeightAttrs, PoolAttrs, Window } from "../ops/index.ts";
import { sizeOf } from "../util/ndarray.ts";
import type { Lower, Lowering } from "./lowering.ts";
import type { Attribute } from "./model-proto.ts";

/** https://onnx.ai/onnx/operators/onnx__Conv.html */
export const conv: Lower<ConvAttrs> = (to, node, [x, w]) => {
  if (to.precision === "float64") return productConv(to, node, x!, w!);
  return to.emit("Conv", [x!, w!], { ...windowAttributes(node.attrs), group: node.attrs.groups });
};

/** https://onnx.ai/onnx/operators/onnx__ConvTranspose.html */
export const convInput: Lower<ConvInputAttrs> = (to, node, [z, w]) => {
  if (to.precision === "float64") return flippedConv(to, node, z!, w!);
  const { attrs } = node;
  const [kernel, places] = [spatial(node.inputs[1]!), spatial(node.inputs[0]!)];
  const rest = attrs.size.map((length, i) => {
    const reached = attrs.stride[i]! * (places[i]! - 1) + attrs.dilation[i]! * (kernel[i]! - 1) + 1;
    return length + attrs.before[i]! + attrs.after[i]! - reached;
  });
  return to.emit("ConvTranspose", [z!, w!], {
    ...windowAttributes(attrs),
    group: attrs.groups,
    output_padding: rest,
  });
};

/**
 * The weight gradient is a convolution of the images with the results' gradients as its kernel, samples and channels
 * exchanged, stride and dilation too.
 */
export const convWeight: Lower<ConvWeightAttrs> = (to, node, [x, z]) => {
  const { attrs, inputs } = node;
  if (to.precision === "float64") return productWeight(to, node, x!, z!);
  const [images] = inputs;
  const perGroup = (images!.shape[1] as number) / attrs.groups;
  const samples = isBatch(images!.shape[0]!) ? -1 : attrs.groups * images!.shape[0]!;
  const byGroup = to.emit("Reshape", [x!, to.ints([0, attrs.groups, perGroup, ...spatial(images!)])]);
  const swapped = to.emit("Transpose", [byGroup], { perm: [2, 1, 0, ...attrs.stride.map((_, i) => i + 3)] });
  const rows = to.emit("Reshape", [swapped, to.ints([perGroup, samples, ...spatial(images!)])]);
  const kernels = to.emit("Transpose", [z!], { perm: swapFirst(attrs.stride.length) });
  const { stride, dilation } = attrs;
  const exchanged = windowAttributes({ ...attrs, stride: dilation, dilation: stride });
  const wide = to.emit("Conv", [rows, kernels], { ...exchanged, group: attrs.groups });
  const axes = attrs.kernel.map((_, i) => i + 2);
  const cut = to.emit("Slice", [wide, to.ints(axes.map(() => 0)), to.ints(attrs.kernel), to.ints(axes)]);
  return to.emit("Transpose", [cut], { perm: swapFirst(attrs.stride.length) });
};

/**
 * The largest of the entries under each window. https://onnx.ai/onnx/operators/onnx__Max.html: unlike MaxPool it passes NaN
 * on, and −∞ in float32.
 */
export const maxPool: Lower<PoolAttrs> = (to, { attrs, shape }, [x]) => {
  const all = { ...attrs, fill: Number.NEGATIVE_INFINITY };
  return to.emit("Max", windowSlices(to, x!, all, attrs.kernel, shape.slice(2) as number[]));
};

/** The engine numbers the entries of the whole tensor, and takes a NaN only as infinity. */
export const maxPoolIndex: Lower<PoolAttrs> = (to, { attrs, inputs }, [x]) => {
  const shown = to.emit("Where", [to.emit("IsNaN", [x!]), to.number(Number.POSITIVE_INFINITY), x!]);
  const [, index] = to.emitAll("MaxPool", [shown], 2, poolAttributes(attrs));
  const entries = sizeOf(spatial(inputs[0]!));
  return to.emit("Mod", [index!, to.constant([entries], [], "int")]);
};

function spatial({ shape }: Node): number[] {
  return shape.slice(2) as number[];
}

function windowAttributes({ stride, before, after, dilation }: Window): Record<string, Attribute> {
  return { strides: stride, pads: [...before, ...after], dilations: dilation };
}

function poolAttributes(attrs: PoolAttrs): Record<string, Attribute> {
  return { ...windowAttributes(attrs), kernel_shape: attrs.kernel };
}

function swapFirst(axes: number): number[] {
  return [1, 0, ...Array.from({ length: axes }, (_, i) => i + 2)];
}

/** A convolution as a matrix product with the windows' entries, where the engine has no operator for it. */
function productConv(to: Lowering, { attrs, inputs, shape }: Node<ConvAttrs>, x: string, w: string): string {
  const columns = windows(to, inputs[0]!, x, attrs, spatial(inputs[1]!), shape.slice(2) as number[]);
  const product = to.emit("MatMul", [groupedRows(to, inputs[1]!, w, attrs.groups), columns]);
  return to.emit("Reshape", [product, to.ints([0, ...(shape.slice(1) as number[])])]);
}

/** Weights [O, C / groups, …kernel] as [groups, O / groups, C / groups · kernel]. */
function groupedRows(to: Lowering, { shape }: Node, w: string, groups: number): string {
  const [outputs, ...row] = shape as number[];
  return to.emit("Reshape", [w, to.ints([groups, outputs! / groups, sizeOf(row)])]);
}

/** The entries under the windows, [N, groups, C / groups · kernel, places]. */
function windows(
  to: Lowering,
  image: Node,
  x: string,
  attrs: ConvAttrs,
  kernel: readonly number[],
  places: readonly number[],
): string {
  const channels = image.shape[1] as number;
  const count = sizeOf(places);
  const taps = windowSlices(to, x, attrs, kernel, places).map((tap) =>
    to.emit("Reshape", [tap, to.ints([0, channels, 1, count])]),
  );
  const stacked = to.emit("Concat", taps, { axis: 2 });
  return to.emit("Reshape", [stacked, to.ints([0, attrs.groups, (channels / attrs.groups) * taps.length, count])]);
}

/** For each entry of the kernel, row-major, what it meets at all places: [N, C, …places]; `fill` where it meets nothing. */
function windowSlices(
  to: Lowering,
  x: string,
  { stride, before, after, dilation, fill = 0 }: Window & { readonly fill?: number },
  kernel: readonly number[],
  places: readonly number[],
): string[] {
  const padding = [...before, ...after].some((amount) => amount > 0);
  const ends = to.ints([0, 0, ...before, 0, 0, ...after]);
  const padded = padding ? to.emit("Pad", [x, ends, to.number(fill)]) : x;
  const axes = to.ints(kernel.map((_, axis) => axis + 2));
  return eachIndex(kernel).map((at) => {
    const starts = at.map((k, axis) => k * dilation[axis]!);
    const stops = starts.map((start, axis) => start + (places[axis]! - 1) * stride[axis]! + 1);
    return to.emit("Slice", [padded, to.ints(starts), to.ints(stops), axes, to.ints(stride)]);
  });
}

/** Every index of an array of this shape, row-major. */
function eachIndex(shape: readonly number[]): number[][] {
  return shape.reduce<number[][]>(
    (indices, length) => indices.flatMap((index) => Array.from({ length }, (_, k) => [...index, k])),
    [[]],
  );
}

/** The sum over the images of products of their windows with the results' gradients. */
function productWeight(to: Lowering, { attrs, inputs, shape }: Node<ConvWeightAttrs>, x: string, z: string): string {
  const [images, results] = inputs;
  const places = spatial(results!);
  const columns = windows(to, images!, x, attrs, attrs.kernel, places);
  const outputs = (results!.shape[1] as number) / attrs.groups;
  const rows = to.emit("Reshape", [z, to.ints([0, attrs.groups, outputs, sizeOf(places)])]);
  const products = to.emit("MatMul", [rows, to.emit("Transpose", [columns], { perm: [0, 1, 3, 2] })]);
  const sum = to.emit("ReduceSum", [products, to.ints([0])], { keepdims: 0 });
  return to.emit("Reshape", [sum, to.ints(shape as number[])]);
}

/** The transposed convolution as one with stride 1, of results spread out by zeros with the kernel turned round. */
function flippedConv(to: Lowering, node: Node<ConvInputAttrs>, z: string, w: string): string {
  const { attrs, inputs, shape } = node;
  const { size, stride, before, dilation, groups } = attrs;
  const [results, weights] = inputs;
  const [places, kernel] = [spatial(results!), spatial(weights!)];
  const spread = spreadOut(to, results!, z, stride);
  const reach = kernel.map((length, i) => dilation[i]! * (length - 1));
  const ahead = reach.map((length, i) => length - before[i]!);
  const behind = size.map((length, i) => length + reach[i]! - places[i]! * stride[i]! - ahead[i]!);
  const padded = to.emit("Pad", [spread, to.ints([0, 0, ...ahead, 0, 0, ...behind])]);
  const none = stride.map(() => 0);
  const plain = { stride: stride.map(() => 1), before: none, after: none, dilation, groups };
  const padShape = [...results!.shape.slice(0, 2), ...size.map((length, i) => length + reach[i]!)];
  const columns = windows(to, { ...results!, shape: padShape }, padded, plain, kernel, size);
  const product = to.emit("MatMul", [turnedRows(to, weights!, w, groups), columns]);
  return to.emit("Reshape", [product, to.ints([0, ...(shape.slice(1) as number[])])]);
}

/** Images with stride − 1 zeros after each entry. */
function spreadOut(to: Lowering, { shape }: Node, z: string, stride: readonly number[]): string {
  if (stride.every((step) => step === 1)) return z;
  const [channels, ...places] = shape.slice(1) as number[];
  const apart = places.flatMap((count) => [count, 1]);
  const ends = stride.flatMap((step) => [0, step - 1]);
  const single = to.emit("Reshape", [z, to.ints([0, channels!, ...apart])]);
  const wide = to.emit("Pad", [single, to.ints([0, 0, ...apart.map(() => 0), 0, 0, ...ends])]);
  return to.emit("Reshape", [wide, to.ints([0, channels!, ...places.map((count, i) => count * stride[i]!)])]);
}

/** Weights [O, C / groups, …kernel] as [groups, C / groups, O / groups · kernel] with the kernel turned round. */
function turnedRows(to: Lowering, { shape }: Node, w: string, groups: number): string {
  const [outputs, perGroup, ...kernel] = shape as number[];
  const byGroup = to.emit("Reshape", [w, to.ints([groups, outputs! / groups, perGroup!, ...kernel])]);
  const axes = kernel.map((_, i) => i + 3);
  const all = (value: number): string => to.ints(axes.map(() => value));
  const turned = to.emit("Slice", [byGroup, all(-1), all(Number.MIN_SAFE_INTEGER), to.ints(axes), all(-1)]);
  const exchanged = to.emit("Transpose", [turned], { perm: [0, 2, 1, ...axes] });
  const row = (outputs! / groups) * sizeOf(kernel);
  return to.emit("Reshape", [exchanged, to.ints([groups, perGroup!, row])]);
}
