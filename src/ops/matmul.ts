import { type BilinearOp, type Builder, isBatch, type Lead, type Node, sameDim } from "../graph/index.ts";
import { sizeOf } from "../util/ndarray.ts";
import { flatten, reshape, transposeLast } from "./move.ts";
import { commonShape, sumTo } from "./reduce.ts";
import { checkDtype, mismatch, offsets, stridesOf } from "./strides.ts";

/**
 * Matrix product over the last two axes; the axes ahead of them broadcast.
 * https://onnx.ai/onnx/operators/onnx__MatMul.html
 */
export const matmulOp: BilinearOp<object> = {
  name: "matmul",
  kind: "bilinear",
  infer([x, y]) {
    checkDtype("matmul", ["float"], x!, y!);
    const [a, c] = [x!.shape, y!.shape];
    if (a.length < 2 || c.length < 2 || !sameDim(a.at(-1)!, c.at(-2)!))
      throw mismatch("matmul", "[…, i, k] and […, k, j]", x!, y!);
    const outer = commonShape("matmul", a.slice(0, -2), c.slice(0, -2));
    return { shape: [...outer, a.at(-2)!, c.at(-1)!], dtype: x!.dtype };
  },
  value([x, y], _attrs, shape) {
    const [rows, columns, depth] = [shape.at(-2)!, shape.at(-1)!, x!.shape.at(-1)!];
    const out = new Float64Array(sizeOf(shape));
    const startsX = matrixStarts(x!.shape, shape);
    const startsY = matrixStarts(y!.shape, shape);
    startsX.forEach((startX, i) => {
      const [left, right] = [x!.data.subarray(startX), y!.data.subarray(startsY[i]!)];
      multiplyInto(out.subarray(i * rows * columns), left, right, rows, columns, depth);
    });
    return out;
  },
  stacked: (b, { inputs: [x, y] }, left, right, [leadX, leadY]) => {
    const rank = Math.max(x!.shape.length, y!.shape.length);
    return matmul(b, leadX ? padRank(b, left, rank + 1) : left, leadY ? padRank(b, right, rank + 1) : right);
  },
  transpose: (b, node, cotangent, other, index, lead) =>
    index === 0 ? pullLeft(b, node, cotangent, other, lead) : pullRight(b, node, cotangent, other, lead),
  batchRule: ({ inputs: [x] }) => (isBatch(x!.shape.at(-1)!) ? "summed" : "kept"),
};

/** Where each matrix of an input starts, one for each matrix of the result. */
function matrixStarts(own: readonly number[], result: readonly number[]): Int32Array {
  const strides = stridesOf(own).slice(0, -2);
  const missing = result.length - own.length;
  const repeated = result
    .slice(0, -2)
    .map((_, i) => (i < missing || own[i - missing] === 1 ? 0 : strides[i - missing]!));
  return offsets(result.slice(0, -2), repeated);
}

function multiplyInto(
  out: Float64Array,
  x: Float64Array,
  y: Float64Array,
  rows: number,
  columns: number,
  depth: number,
): void {
  for (let i = 0; i < rows; i++)
    for (let k = 0; k < depth; k++) {
      const factor = x[i * depth + k]!;
      for (let j = 0; j < columns; j++) out[i * columns + j]! += factor * y[k * columns + j]!;
    }
}

/** x · y over the last two axes. */
export function matmul(b: Builder, x: Node, y: Node): Node {
  return b.apply(matmulOp, [x, y], {});
}

/** A stack whose tensors get axes of length 1 in front, so that the stack's own axis stays the outermost. */
function padRank(b: Builder, stack: Node, rank: number): Node {
  const ones = new Array<number>(rank - stack.shape.length).fill(1);
  return reshape(b, stack, [stack.shape[0]!, ...ones, ...stack.shape.slice(1)]);
}

/** x̄ = z̄ yᵀ, summed over the axes along which x was repeated. */
function pullLeft(b: Builder, node: Node, cotangent: Node, y: Node, lead: Lead): Node {
  const right = transposeLast(b, lead ? padRank(b, y, node.shape.length + 1) : y);
  return sumToInput(b, matmul(b, cotangent, right), node.inputs[0]!, lead);
}

/** ȳ = xᵀ z̄, summed over the axes along which y was repeated; for a matrix y, as one product over all rows. */
function pullRight(b: Builder, node: Node, cotangent: Node, x: Node, lead: Lead): Node {
  const [, y] = node.inputs;
  if (y!.shape.length === 2) {
    const rows = mergeRows(b, x, lead);
    return matmul(b, transposeLast(b, rows), mergeRows(b, cotangent, 0));
  }
  const left = transposeLast(b, lead ? padRank(b, x, node.shape.length + 1) : x);
  return sumToInput(b, matmul(b, left, cotangent), y!, lead);
}

function sumToInput(b: Builder, x: Node, input: Node, lead: Lead): Node {
  if (!lead) return sumTo(b, x, input.shape);
  const ones = new Array<number>(x.shape.length - 1 - input.shape.length).fill(1);
  const stack = x.shape[0]!;
  return reshape(b, sumTo(b, x, [stack, ...ones, ...input.shape]), [stack, ...input.shape]);
}

/** [(stack,) …, i, k] as [(stack,) … · i, k]. */
function mergeRows(b: Builder, x: Node, lead: Lead): Node {
  return flatten(b, x, lead, x.shape.length - 1);
}
