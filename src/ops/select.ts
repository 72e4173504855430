import {
  type Builder,
  type ChoiceOp,
  type ConstantOp,
  isBatch,
  type Lead,
  type LinearOp,
  type Node,
  type Shape,
  sameDim,
} from "../graph/index.ts";
import { DataError } from "../util/errors.ts";
import { sizeOf } from "../util/ndarray.ts";
import { broadcast } from "./reduce.ts";
import { checkDtype, fixedDim, mismatch, NUMBERS, normalizeAxis, offsets, stridesOf } from "./strides.ts";

export interface AxisAttrs {
  readonly axis: number;
}

/** Checks that an index has the shape of x but for the axis it chooses along. */
function checkIndex(what: string, x: Shape, index: Node, axis: number): void {
  const fits = x.length === index.shape.length && x.every((dim, i) => i === axis || sameDim(dim, index.shape[i]!));
  if (index.dtype !== "int" || !fits) throw mismatch(what, `an int index that agrees outside axis ${axis}`, x, index);
}

/** Where in x each entry of an index along `axis` points. */
function indexOffsets(
  shape: readonly number[],
  index: { shape: readonly number[]; data: Float64Array },
  axis: number,
): Int32Array {
  const strides = stridesOf(shape);
  const at = offsets(index.shape, strides.with(axis, 0));
  return at.map((offset, i) => {
    const chosen = index.data[i]!;
    if (chosen < 0 || chosen >= shape[axis]!)
      throw new DataError(`gather: index ${chosen} is out of range for an axis of length ${shape[axis]}`);
    return offset + chosen * strides[axis]!;
  });
}

/** An index repeated along a new leading axis, for a stack. */
function stackIndex(b: Builder, index: Node, stack: Node, lead: Lead): Node {
  return lead ? broadcast(b, index, [stack.shape[0]!, ...index.shape]) : index;
}

/** Along a batch axis an index can lead from one sample to another. */
export const alongAxis = ({ inputs: [x], attrs }: Node<AxisAttrs>): "kept" | "coupled" =>
  isBatch(x!.shape[attrs.axis]!) ? "coupled" : "kept";

/** `torch.gather`; https://onnx.ai/onnx/operators/onnx__GatherElements.html */
export const gatherOp: LinearOp<AxisAttrs> = {
  name: "gather",
  kind: "linear",
  infer([x, index], { axis }) {
    checkIndex("gather", x!.shape, index!, axis);
    return { shape: index!.shape, dtype: x!.dtype };
  },
  value: ([x, index], { axis }) => Float64Array.from(indexOffsets(x!.shape, index!, axis), (i) => x!.data[i]!),
  push: (b, { inputs: [, index], attrs: { axis } }, x, _index, lead) =>
    gather(b, x, stackIndex(b, index!, x, lead), axis + lead),
  transpose: (b, { inputs: [x, index], attrs: { axis } }, cotangent) =>
    scatterAdd(b, cotangent, index!, axis, fixedDim(x!.shape[axis]!, "gather")),
  batchRule: alongAxis,
};

/** The entries of x that an index of the same rank names along one axis. */
export function gather(b: Builder, x: Node, index: Node, axis: number): Node {
  return b.apply(gatherOp, [x, index], { axis: normalizeAxis(axis, x.shape.length, "gather") });
}

export interface ScatterAttrs extends AxisAttrs {
  readonly length: number;
}

/**
 * The transpose of `gather`: entries added up where an index says, along an axis of the given length.
 * https://onnx.ai/onnx/operators/onnx__ScatterElements.html
 */
export const scatterAddOp: LinearOp<ScatterAttrs> = {
  name: "scatterAdd",
  kind: "linear",
  infer([x, index], { axis, length }) {
    checkIndex("scatterAdd", x!.shape, index!, axis);
    if (!sameDim(x!.shape[axis]!, index!.shape[axis]!)) throw mismatch("scatterAdd", "equal shapes", x!, index!);
    return { shape: x!.shape.with(axis, length), dtype: x!.dtype };
  },
  value([x, index], { axis }, shape) {
    const out = new Float64Array(sizeOf(shape));
    indexOffsets(shape, index!, axis).forEach((at, i) => {
      out[at]! += x!.data[i]!;
    });
    return out;
  },
  push: (b, { inputs: [, index], attrs: { axis, length } }, x, _index, lead) =>
    scatterAdd(b, x, stackIndex(b, index!, x, lead), axis + lead, length),
  transpose: (b, { inputs: [, index], attrs: { axis } }, cotangent) => gather(b, cotangent, index!, axis),
  batchRule: alongAxis,
};

/** Entries of x added up at the places that an index names along one axis, which gets the given length. */
export function scatterAdd(b: Builder, x: Node, index: Node, axis: number, length: number): Node {
  return b.apply(scatterAddOp, [x, index], { axis: normalizeAxis(axis, x.shape.length, "scatterAdd"), length });
}

/** The first largest entry along an axis, which stays with length 1. https://onnx.ai/onnx/operators/onnx__ArgMax.html */
export const argmaxOp: ConstantOp<AxisAttrs> = {
  name: "argmax",
  kind: "constant",
  infer([x], { axis }) {
    checkDtype("argmax", ["float"], x!);
    return { shape: x!.shape.with(axis, 1), dtype: "int" };
  },
  value: ([x], { axis }, shape) => {
    const step = stridesOf(x!.shape)[axis]!;
    const starts = offsets(shape, stridesOf(x!.shape));
    return Float64Array.from(starts, (start) => largest(x!.data, start, step, x!.shape[axis]!));
  },
  batchRule: alongAxis,
};

function largest(data: Float64Array, start: number, step: number, length: number): number {
  let best = 0;
  for (let i = 0; i < length; i++) {
    const value = data[start + i * step]!;
    // NaN counts as the largest, as in PyTorch, so that the chosen entry is the maximum.
    if (Number.isNaN(value)) return i;
    if (value > data[start + best * step]!) best = i;
  }
  return best;
}

/** The index of the first largest entry along an axis, which stays with length 1. */
export function argmax(b: Builder, x: Node, axis: number): Node {
  return b.apply(argmaxOp, [x], { axis: normalizeAxis(axis, x.shape.length, "argmax") });
}

export interface MaxAttrs extends AxisAttrs {
  /** What is found where an entry is NaN: NaN by default; "any" number for who finds the NaN otherwise, which is faster. */
  readonly ofNaN?: "any";
}

/** The largest entry along an axis, which stays with length 1; the derivative goes to the first maximum. */
export const maxOp: ChoiceOp<MaxAttrs> = {
  name: "max",
  kind: "choice",
  infer([x], { axis }) {
    checkDtype("max", NUMBERS, x!);
    return { shape: x!.shape.with(axis, 1), dtype: x!.dtype };
  },
  value: ([x], { axis }, shape) => {
    const step = stridesOf(x!.shape)[axis]!;
    const starts = offsets(shape, stridesOf(x!.shape));
    return Float64Array.from(starts, (start) => {
      let most = x!.data[start]!;
      for (let i = 1; i < x!.shape[axis]!; i++) most = Math.max(most, x!.data[start + i * step]!);
      return most;
    });
  },
  freeze: (b, { inputs: [x], attrs: { axis } }) => gather(b, x!, argmax(b, x!, axis), axis),
  batchRule: alongAxis,
};

/** The largest entry along an axis, which stays with length 1. */
export function max(b: Builder, x: Node, axis: number, options: Pick<MaxAttrs, "ofNaN"> = {}): Node {
  return b.apply(maxOp, [x], { axis: normalizeAxis(axis, x.shape.length, "max"), ...options });
}
