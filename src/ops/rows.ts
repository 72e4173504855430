import { type Builder, isBatch, type LinearOp, type Node, sameShape } from "../graph/index.ts";
import { DataError } from "../util/errors.ts";
import { sizeOf } from "../util/ndarray.ts";
import { type AxisAttrs, alongAxis, type ScatterAttrs } from "./select.ts";
import { checkDtype, fixedDim, mismatch, NUMBERS, normalizeAxis, offsets, stridesOf } from "./strides.ts";

/** Where in an array of `shape` the rows lie that an index names along `axis`: for each entry of [outer…, index…, inner…]. */
function rowOffsets(
  what: string,
  shape: readonly number[],
  index: { readonly data: Float64Array },
  axis: number,
): Int32Array {
  const strides = stridesOf(shape);
  const count = index.data.length;
  const starts = offsets(shape.with(axis, count), strides.with(axis, 0));
  return starts.map((start, i) => {
    const chosen = index.data[Math.floor(i / strides[axis]!) % count]!;
    if (!(chosen >= 0 && chosen < shape[axis]!))
      throw new DataError(`${what}: index ${chosen} is out of range for an axis of length ${shape[axis]}`);
    return start + chosen * strides[axis]!;
  });
}

/** `torch.index_select` with an index of any shape; https://onnx.ai/onnx/operators/onnx__Gather.html */
export const indexSelectOp: LinearOp<AxisAttrs> = {
  name: "indexSelect",
  kind: "linear",
  infer([x, index], { axis }) {
    checkDtype("indexSelect: index", ["int"], index!);
    return { shape: x!.shape.toSpliced(axis, 1, ...index!.shape), dtype: x!.dtype };
  },
  value: ([x, index], { axis }) =>
    Float64Array.from(rowOffsets("indexSelect", x!.shape, index!, axis), (i) => x!.data[i]!),
  push: (b, { inputs: [, index], attrs: { axis } }, x, _index, lead) => indexSelect(b, x, index!, axis + lead),
  transpose: (b, { inputs: [x, index], attrs: { axis } }, cotangent) =>
    indexAdd(b, cotangent, index!, axis, fixedDim(x!.shape[axis]!, "indexSelect")),
  batchRule: alongAxis,
};

/** The rows of x that an index names along one axis: [outer…, rows, inner…] becomes [outer…, index…, inner…]. */
export function indexSelect(b: Builder, x: Node, index: Node, axis: number): Node {
  return b.apply(indexSelectOp, [x, index], { axis: normalizeAxis(axis, x.shape.length, "indexSelect") });
}

/** The transpose of `indexSelect`: rows added up where an index says, along an axis of the given length. */
export const indexAddOp: LinearOp<ScatterAttrs> = {
  name: "indexAdd",
  kind: "linear",
  infer([x, index], { axis, length }) {
    checkDtype("indexAdd", NUMBERS, x!);
    checkDtype("indexAdd: index", ["int"], index!);
    const rank = index!.shape.length;
    if (!sameShape(x!.shape.slice(axis, axis + rank), index!.shape))
      throw mismatch("indexAdd", `axes ${axis} and on of x to be those of the index`, x!, index!);
    return { shape: x!.shape.toSpliced(axis, rank, length), dtype: x!.dtype };
  },
  value([x, index], { axis }, shape) {
    const out = new Float64Array(sizeOf(shape));
    rowOffsets("indexAdd", shape, index!, axis).forEach((at, i) => {
      out[at]! += x!.data[i]!;
    });
    return out;
  },
  push: (b, { inputs: [, index], attrs: { axis, length } }, x, _index, lead) =>
    indexAdd(b, x, index!, axis + lead, length),
  transpose: (b, { inputs: [, index], attrs: { axis } }, cotangent) => indexSelect(b, cotangent, index!, axis),
  batchRule: ({ inputs: [, index] }) => (index!.shape.some(isBatch) ? "summed" : "kept"),
};

/** Rows of x added up at the places that an index names: [outer…, index…, inner…] becomes [outer…, length, inner…]. */
export function indexAdd(b: Builder, x: Node, index: Node, axis: number, length: number): Node {
  return b.apply(indexAddOp, [x, index], { axis, length });
}
