import { type Dim, mergeDims } from "../graph/index.ts";
import type { AttrsOf } from "../ops/index.ts";
import { type Lower, type Lowering, reshapeTo } from "./lowering.ts";
import { ELEMENT } from "./model-proto.ts";

/**
 * The maximum of numbers that may be NaN. ReduceMax of ONNX Runtime loses a NaN that other entries come before; the sum of
 * absolute values is NaN exactly where an entry is, as no two of them cancel.
 */
export const max: Lower<AttrsOf<"max">> = (to, { attrs, dtype }, [x]) => {
  const axis = to.ints([attrs.axis]);
  const most = to.emit("ReduceMax", [x!, axis], { keepdims: 1 });
  if (dtype !== "float" || attrs.ofNaN === "any") return most;
  const sum = to.emit("ReduceSum", [to.emit("Abs", [x!]), axis], { keepdims: 1 });
  return to.emit("Where", [to.emit("IsNaN", [sum]), sum, most]);
};

/** The index of the first NaN, or else that of the first maximum; ArgMax loses NaN as ReduceMax does. */
export const argmax: Lower<AttrsOf<"argmax">> = (to, { attrs: { axis } }, [x]) => {
  const first = (values: string): string => to.emit("ArgMax", [values], { axis, keepdims: 1 });
  const nan = to.emit("Cast", [to.emit("IsNaN", [x!])], { to: ELEMENT[to.precision] });
  const at = first(nan);
  const some = to.emit("Cast", [to.emit("GatherElements", [nan, at], { axis })], { to: ELEMENT.bool });
  return to.emit("Where", [some, at, first(x!)]);
};

/** The length of an axis up to which rows are added up faster by a product with a matrix of 0 and 1 (measured). */
const SHORT_AXIS = 256;

/**
 * Rows added up where an index says. ScatterND is the operator for that, but ONNX Runtime adds on several threads at once
 * there, and loses summands.
 */
export const indexAdd: Lower<AttrsOf<"indexAdd">> = (
  to,
  { attrs: { axis, length }, inputs, shape, dtype },
  [x, index],
) => {
  const count = mergeDims(inputs[1]!.shape);
  const [outer, inner] = [shape.slice(0, axis), shape.slice(axis + 1)];
  if (dtype === "float" && length <= SHORT_AXIS) {
    const rows = to.emit("Reshape", [x!, reshapeTo(to, [...outer, count, mergeDims(inner)])]);
    return to.emit("Reshape", [to.emit("MatMul", [oneHot(to, index!, length), rows]), reshapeTo(to, shape)]);
  }
  const placed = [...outer, count, ...inner];
  const rows = to.emit("Reshape", [x!, reshapeTo(to, placed)]);
  const column: Dim[] = [count, ...inner.map(() => 1)];
  const places = to.emit("Expand", [to.emit("Reshape", [index!, reshapeTo(to, column)]), to.shape(placed)]);
  const zeros = to.emit("Expand", [to.constant([0], [], dtype), to.shape(shape)]);
  return to.emit("ScatterElements", [zeros, places, rows], { axis, reduction: "add" });
};

/** A matrix [length, count] with a 1 in each column, at the row that the index names. */
function oneHot(to: Lowering, index: string, length: number): string {
  const row = to.emit("Reshape", [index, to.ints([1, -1])]);
  const all = to.constant([...Array(length).keys()], [length, 1], "int");
  return to.emit("Cast", [to.emit("Equal", [all, row])], { to: ELEMENT[to.precision] });
}
