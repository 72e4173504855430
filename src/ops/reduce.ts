import { type Builder, isBatch, type LinearOp, type Node, type Shape, sameDim, sameShape } from "../graph/index.ts";
import { ShapeError } from "../util/errors.ts";
import { sizeOf } from "../util/ndarray.ts";
import { reshape } from "./move.ts";
import { checkDtype, mismatch, NUMBERS, normalizeAxis, offsets, stridesOf } from "./strides.ts";

/** https://onnx.ai/onnx/operators/onnx__ReduceSum.html, without keeping the axes. */
export const sumOp: LinearOp<{ axes: readonly number[] }> = {
  name: "sum",
  kind: "linear",
  infer([x], { axes }) {
    checkDtype("sum", NUMBERS, x!);
    return { shape: x!.shape.filter((_, i) => !axes.includes(i)), dtype: x!.dtype };
  },
  value([x], { axes }, shape) {
    const out = new Float64Array(sizeOf(shape));
    const kept = stridesOf(shape);
    const strides = x!.shape.map((_, i) => (axes.includes(i) ? 0 : kept.shift()!));
    offsets(x!.shape, strides).forEach((at, i) => {
      out[at]! += x!.data[i]!;
    });
    return out;
  },
  simplify: ([x], { axes }) => (axes.length === 0 ? x : undefined),
  push: (b, { attrs: { axes } }, x, _index, lead) =>
    b.apply(sumOp, [x], { axes: lead ? axes.map((axis) => axis + 1) : axes }),
  transpose(b, node, cotangent) {
    const { shape } = node.inputs[0]!;
    const kept = shape.map((dim, i) => (node.attrs.axes.includes(i) ? 1 : dim));
    return broadcast(b, reshape(b, cotangent, kept), shape);
  },
  batchRule: ({ inputs: [x], attrs: { axes } }) => (axes.some((axis) => isBatch(x!.shape[axis]!)) ? "summed" : "kept"),
};

/** The sum over some axes (all by default), which are dropped. */
export function sum(b: Builder, x: Node, axes: readonly number[] = [...x.shape.keys()]): Node {
  const normal = axes.map((axis) => normalizeAxis(axis, x.shape.length, "sum"));
  return b.apply(sumOp, [x], { axes: [...new Set(normal)].sort((i, j) => i - j) });
}

/** The sum over some axes, which stay with length 1. */
export function sumKeep(b: Builder, x: Node, axes: readonly number[]): Node {
  const normal = axes.map((axis) => normalizeAxis(axis, x.shape.length, "sum"));
  const kept = x.shape.map((dim, i) => (normal.includes(i) ? 1 : dim));
  return reshape(b, sum(b, x, normal), kept);
}

export interface CumsumAttrs {
  readonly axis: number;
  readonly reverse: boolean;
}

/** https://onnx.ai/onnx/operators/onnx__CumSum.html, each sum with its own entry. */
export const cumsumOp: LinearOp<CumsumAttrs> = {
  name: "cumsum",
  kind: "linear",
  infer([x]) {
    checkDtype("cumsum", NUMBERS, x!);
    return { shape: x!.shape, dtype: x!.dtype };
  },
  value([x], { axis, reverse }, shape) {
    const out = x!.data.slice();
    const [length, step] = [shape[axis]!, stridesOf(shape)[axis]!];
    for (const start of offsets(shape.with(axis, 1), stridesOf(shape)))
      for (let i = 1; i < length; i++) {
        const [at, before] = reverse ? [length - 1 - i, length - i] : [i, i - 1];
        out[start + at * step]! += out[start + before * step]!;
      }
    return out;
  },
  push: (b, { attrs: { axis, reverse } }, x, _index, lead) => cumsum(b, x, axis + lead, reverse),
  transpose: (b, { attrs: { axis, reverse } }, cotangent) => cumsum(b, cotangent, axis, !reverse),
  batchRule: ({ inputs: [x], attrs: { axis } }) => (isBatch(x!.shape[axis]!) ? "coupled" : "kept"),
};

/** The sum of all entries up to each one along an axis; with `reverse`, from each one on. */
export function cumsum(b: Builder, x: Node, axis: number, reverse: boolean = false): Node {
  return b.apply(cumsumOp, [x], { axis: normalizeAxis(axis, x.shape.length, "cumsum"), reverse });
}

/** Repeats along new leading axes and axes of length 1. https://onnx.ai/onnx/operators/onnx__Expand.html */
export const broadcastOp: LinearOp<{ shape: Shape }> = {
  name: "broadcast",
  kind: "linear",
  infer([x], { shape }) {
    const missing = shape.length - x!.shape.length;
    if (missing < 0 || !x!.shape.every((dim, i) => dim === 1 || sameDim(dim, shape[missing + i]!)))
      throw mismatch("broadcast", "a shape that repeats along leading axes and axes of length 1", x!, shape);
    return { shape, dtype: x!.dtype };
  },
  value([x], _attrs, shape) {
    const missing = shape.length - x!.shape.length;
    const own = stridesOf(x!.shape);
    const strides = shape.map((_, i) => (i < missing || x!.shape[i - missing] === 1 ? 0 : own[i - missing]!));
    return Float64Array.from(offsets(shape, strides), (i) => x!.data[i]!);
  },
  simplify([x], { shape }, _type, b) {
    if (sameShape(x!.shape, shape)) return x;
    return x!.op === broadcastOp ? broadcast(b, x!.inputs[0]!, shape) : undefined;
  },
  push(b, { shape, inputs: [own] }, x, _index, lead) {
    if (!lead) return broadcast(b, x, shape);
    const ones = new Array<number>(shape.length - own!.shape.length).fill(1);
    return broadcast(b, reshape(b, x, [x.shape[0]!, ...ones, ...own!.shape]), [x.shape[0]!, ...shape]);
  },
  transpose: (b, node, cotangent) => sumTo(b, cotangent, node.inputs[0]!.shape),
  batchRule: () => "kept",
};

/** x repeated to `shape`, axes matched from the last one on (NumPy's rule). */
export function broadcast(b: Builder, x: Node, shape: Shape): Node {
  return b.apply(broadcastOp, [x], { shape });
}

/** What x repeats, or x itself. */
export function unrepeated(x: Node): Node {
  return x.op === broadcastOp ? x.inputs[0]! : x;
}

/** The transpose of `broadcast`: the sum over the axes along which `shape` would be repeated to get x. */
export function sumTo(b: Builder, x: Node, shape: Shape): Node {
  const missing = x.shape.length - shape.length;
  const repeated = x.shape.flatMap((dim, i) => (i < missing || (shape[i - missing] === 1 && dim !== 1) ? [i] : []));
  return reshape(b, sum(b, x, repeated), shape);
}

/** The shape that several broadcast to. @throws ShapeError where they do not fit together. */
export function commonShape(what: string, ...shapes: Shape[]): Shape {
  const rank = Math.max(...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, i) => {
    const dims = shapes.map((shape) => shape[i - rank + shape.length] ?? 1).filter((dim) => dim !== 1);
    const [dim] = dims;
    if (dim === undefined) return 1;
    if (!dims.every((other) => sameDim(other, dim))) throw mismatch(what, "shapes that broadcast together", ...shapes);
    return dim;
  });
}

/** Checks that an operation's inputs have one shape, and gives its type. */
export function sameType(what: string, x: Node, y: Node): { shape: Shape; dtype: Node["dtype"] } {
  if (!sameShape(x.shape, y.shape)) throw mismatch(what, "two equal shapes", x, y);
  if (x.dtype !== y.dtype) throw new ShapeError(`${what}: expected one dtype, found ${x.dtype} and ${y.dtype}`);
  return { shape: x.shape, dtype: x.dtype };
}

/** Repeats x and y to their common shape. */
export function aligned(b: Builder, what: string, x: Node, y: Node): [Node, Node] {
  if (sameShape(x.shape, y.shape)) return [x, y];
  const shape = commonShape(what, x.shape, y.shape);
  return [broadcast(b, x, shape), broadcast(b, y, shape)];
}
