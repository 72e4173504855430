import {
  type Builder,
  countOf,
  formatShape,
  isBatch,
  type LinearOp,
  mergeDims,
  type Node,
  type Shape,
  sameDim,
  sameShape,
} from "../graph/index.ts";
import { ShapeError } from "../util/errors.ts";
import { sizeOf } from "../util/ndarray.ts";
import { fixedDim, mismatch, normalizeAxis, offsets, stridesOf } from "./strides.ts";

/** The number of entries ahead of the batch axis: a sample's block stays whole while this number does not change. */
function outerCount(shape: Shape): number {
  const axis = shape.findIndex(isBatch);
  return axis < 0 ? 1 : countOf(shape.slice(0, axis)).factor;
}

/** https://onnx.ai/onnx/operators/onnx__Reshape.html, with every length given. */
export const reshapeOp: LinearOp<{ shape: Shape }> = {
  name: "reshape",
  kind: "linear",
  infer([x], { shape }) {
    const [from, to] = [countOf(x!.shape), countOf(shape)];
    if (from.factor !== to.factor || from.power !== to.power)
      throw new ShapeError(`reshape: ${formatShape(x!.shape)} does not fit ${formatShape(shape)}`);
    return { shape, dtype: x!.dtype };
  },
  value: ([x]) => x!.data,
  simplify([x], { shape }, _type, b) {
    if (sameShape(x!.shape, shape)) return x;
    return x!.op === reshapeOp ? reshape(b, x!.inputs[0]!, shape) : undefined;
  },
  transpose: (b, node, cotangent) => reshape(b, cotangent, node.inputs[0]!.shape),
  push: (b, { shape }, x, _index, lead) => reshape(b, x, lead ? [x.shape[0]!, ...shape] : shape),
  batchRule: ({ inputs: [x], shape }) => (outerCount(x!.shape) === outerCount(shape) ? "kept" : "coupled"),
};

/** The same entries in the same order under another shape. */
export function reshape(b: Builder, x: Node, shape: Shape): Node {
  return b.apply(reshapeOp, [x], { shape });
}

/** https://onnx.ai/onnx/operators/onnx__Transpose.html */
export const permuteOp: LinearOp<{ order: readonly number[] }> = {
  name: "permute",
  kind: "linear",
  infer([x], { order }) {
    if (order.length !== x!.shape.length || [...order].sort((i, j) => i - j).some((axis, i) => axis !== i))
      throw mismatch(`permute(${order})`, `a tensor of rank ${order.length} and each of its axes once`, x!);
    return { shape: order.map((axis) => x!.shape[axis]!), dtype: x!.dtype };
  },
  value([x], { order }, shape) {
    const strides = stridesOf(x!.shape);
    const at = offsets(
      shape,
      order.map((axis) => strides[axis]!),
    );
    return Float64Array.from(at, (i) => x!.data[i]!);
  },
  simplify([x], { order }, _type, b) {
    if (order.every((axis, i) => axis === i)) return x;
    if (keepsOrder(x!.shape, order))
      return reshape(
        b,
        x!,
        order.map((axis) => x!.shape[axis]!),
      );
    if (x!.op.name === "matmul" && swapsLast(order)) {
      // (x y)ᵀ = yᵀ xᵀ: engines read a transposed factor for nothing, a transposed product costs a copy.
      const [left, right] = x!.inputs;
      return b.apply(x!.op, [transposeLast(b, right!), transposeLast(b, left!)], x!.attrs);
    }
    if (x!.op !== permuteOp) return undefined;
    const inner = (x!.attrs as { order: readonly number[] }).order;
    return permute(
      b,
      x!.inputs[0]!,
      order.map((axis) => inner[axis]!),
    );
  },
  transpose(b, node, cotangent) {
    const inverse = new Array<number>(node.attrs.order.length);
    node.attrs.order.forEach((axis, i) => {
      inverse[axis] = i;
    });
    return permute(b, cotangent, inverse);
  },
  push: (b, { attrs: { order } }, x, _index, lead) =>
    permute(b, x, lead ? [0, ...order.map((axis) => axis + 1)] : order),
  batchRule: () => "kept",
};

/** Whether only axes of length 1 change places, so that no entry does. */
function keepsOrder(shape: Shape, order: readonly number[]): boolean {
  const long = order.filter((axis) => shape[axis] !== 1);
  return long.every((axis, i) => i === 0 || axis > long[i - 1]!);
}

function swapsLast(order: readonly number[]): boolean {
  const rank = order.length;
  return order.every((axis, i) => axis === (i < rank - 2 ? i : 2 * rank - 3 - i));
}

/** The axes in another order: axis i of the result is axis `order[i]` of x. */
export function permute(b: Builder, x: Node, order: readonly number[]): Node {
  return b.apply(permuteOp, [x], { order });
}

/** Swaps the last two axes. */
export function transposeLast(b: Builder, x: Node): Node {
  const rank = x.shape.length;
  if (rank < 2) throw mismatch("transpose", "at least two axes", x);
  return permute(b, x, [...Array(rank - 2).keys(), rank - 1, rank - 2]);
}

export interface SliceAttrs {
  readonly axis: number;
  readonly start: number;
  readonly end: number;
}

/** https://onnx.ai/onnx/operators/onnx__Slice.html, along one axis with step 1. */
export const sliceOp: LinearOp<SliceAttrs> = {
  name: "slice",
  kind: "linear",
  infer([x], { axis, start, end }) {
    const length = fixedDim(x!.shape[axis]!, "slice");
    const whole = Number.isInteger(start) && Number.isInteger(end);
    if (!(whole && start >= 0 && start < end && end <= length))
      throw mismatch(`slice ${start} to ${end} of axis ${axis}`, `whole numbers 0 ≤ start < end ≤ ${length}`, x!);
    return { shape: x!.shape.with(axis, end - start), dtype: x!.dtype };
  },
  value([x], { axis, start }, shape) {
    const strides = stridesOf(x!.shape);
    return Float64Array.from(offsets(shape, strides, start * strides[axis]!), (i) => x!.data[i]!);
  },
  simplify: ([x], _attrs, { shape }) => (sameShape(x!.shape, shape) ? x : undefined),
  transpose(b, node, cotangent) {
    const { axis, start, end } = node.attrs;
    const length = fixedDim(node.inputs[0]!.shape[axis]!, "slice");
    return pad(b, cotangent, axis, start, length - end);
  },
  push: (b, { attrs: { axis, start, end } }, x, _index, lead) => slice(b, x, axis + lead, start, end),
  batchRule: () => "kept",
};

/** Entries `start` to `end` (exclusive) along one axis. */
export function slice(b: Builder, x: Node, axis: number, start: number, end: number): Node {
  return b.apply(sliceOp, [x], { axis: normalizeAxis(axis, x.shape.length, "slice"), start, end });
}

/** Where an input of `concat` starts and ends in the result. */
function concatRange({ inputs, attrs: { axis } }: Node<{ axis: number }>, index: number): [number, number] {
  const length = (x: Node): number => fixedDim(x.shape[axis]!, "concat");
  const start = inputs.slice(0, index).reduce((sum, x) => sum + length(x), 0);
  return [start, start + length(inputs[index]!)];
}

/** https://onnx.ai/onnx/operators/onnx__Concat.html */
export const concatOp: LinearOp<{ axis: number }> = {
  name: "concat",
  kind: "linear",
  infer(inputs, { axis }) {
    const [first] = inputs;
    const fits = (x: Node): boolean =>
      x.shape.length === first!.shape.length && x.shape.every((dim, i) => i === axis || sameDim(dim, first!.shape[i]!));
    if (!inputs.every(fits)) throw mismatch("concat", `shapes that differ at most in axis ${axis}`, ...inputs);
    const other = inputs.find(({ dtype }) => dtype !== first!.dtype);
    if (other) throw new ShapeError(`concat: expected one dtype, found ${first!.dtype} and ${other.dtype}`);
    const length = inputs.reduce((sum, x) => sum + fixedDim(x.shape[axis]!, "concat"), 0);
    return { shape: first!.shape.with(axis, length), dtype: first!.dtype };
  },
  value(inputs, { axis }, shape) {
    const out = new Float64Array(sizeOf(shape));
    const strides = stridesOf(shape);
    let start = 0;
    for (const x of inputs) {
      offsets(x.shape, strides, start * strides[axis]!).forEach((at, i) => {
        out[at] = x.data[i]!;
      });
      start += x.shape[axis]!;
    }
    return out;
  },
  simplify(inputs, { axis }, _type, b) {
    if (inputs.length === 1) return inputs[0];
    const nested = (x: Node): boolean => x.op === concatOp && (x.attrs as { axis: number }).axis === axis;
    if (!inputs.some(nested)) return undefined;
    return concat(
      b,
      inputs.flatMap((x) => (nested(x) ? x.inputs : [x])),
      axis,
    );
  },
  transpose(b, node, cotangent, index) {
    return slice(b, cotangent, node.attrs.axis, ...concatRange(node, index));
  },
  push(b, node, x, index, lead) {
    const { axis } = node.attrs;
    const [start, end] = concatRange(node, index);
    return pad(b, x, axis + lead, start, fixedDim(node.shape[axis]!, "concat") - end);
  },
  batchRule: () => "kept",
};

/** The inputs one after the other along one axis. */
export function concat(b: Builder, inputs: readonly Node[], axis: number): Node {
  return b.apply(concatOp, inputs, { axis: normalizeAxis(axis, inputs[0]!.shape.length, "concat") });
}

export interface PadAttrs {
  readonly axis: number;
  readonly before: number;
  readonly after: number;
}

/** https://onnx.ai/onnx/operators/onnx__Pad.html, with zeros along one axis. */
export const padOp: LinearOp<PadAttrs> = {
  name: "pad",
  kind: "linear",
  infer([x], { axis, before, after }) {
    if (before < 0 || after < 0) throw mismatch(`pad by ${before} and ${after}`, "amounts of at least 0", x!);
    return { shape: x!.shape.with(axis, fixedDim(x!.shape[axis]!, "pad") + before + after), dtype: x!.dtype };
  },
  value([x], { axis, before }, shape) {
    const out = new Float64Array(sizeOf(shape));
    const strides = stridesOf(shape);
    offsets(x!.shape, strides, before * strides[axis]!).forEach((at, i) => {
      out[at] = x!.data[i]!;
    });
    return out;
  },
  simplify: ([x], { before, after }) => (before === 0 && after === 0 ? x : undefined),
  transpose(b, node, cotangent) {
    const { axis, before } = node.attrs;
    return slice(b, cotangent, axis, before, before + fixedDim(node.inputs[0]!.shape[axis]!, "pad"));
  },
  push: (b, { attrs: { axis, before, after } }, x, _index, lead) => pad(b, x, axis + lead, before, after),
  batchRule: () => "kept",
};

/** x with zeros before and after it along one axis. */
export function pad(b: Builder, x: Node, axis: number, before: number, after: number): Node {
  return b.apply(padOp, [x], { axis: normalizeAxis(axis, x.shape.length, "pad"), before, after });
}

/** x with a new axis of length 1. */
export function unsqueeze(b: Builder, x: Node, axis: number): Node {
  const at = normalizeAxis(axis, x.shape.length + 1, "unsqueeze");
  return reshape(b, x, [...x.shape.slice(0, at), 1, ...x.shape.slice(at)]);
}

/** Axes `start` to `end` (exclusive) merged into one. */
export function flatten(b: Builder, x: Node, start: number, end: number = x.shape.length): Node {
  const merged = mergeDims(x.shape.slice(start, end));
  return reshape(b, x, [...x.shape.slice(0, start), merged, ...x.shape.slice(end)]);
}
