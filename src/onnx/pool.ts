import { type Node, sameShape } from "../graph/index.ts";
import { type AttrsOf, offsets, type PoolAttrs, type Primitive, stridesOf } from "../ops/index.ts";
import { sizeOf } from "../util/ndarray.ts";
import { type Lower, type Lowering, reshapeTo } from "./lowering.ts";
import { spatial, windowAttributes, windowSlices } from "./windows.ts";

/**
 * The largest of the entries under each window. https://onnx.ai/onnx/operators/onnx__Max.html: unlike MaxPool it passes NaN
 * on, and −∞ in float32.
 */
export const maxPool: Lower<PoolAttrs> = (to, { attrs, shape }, [x]) => to.emit("Max", entries(to, x!, attrs, shape));

/** Where a window holds NaN, the index is that of any of its entries. */
export const maxPoolIndex: Lower<PoolAttrs> = (to, node, [x]) => {
  const { before, after } = node.attrs;
  // Windows over the edge may hold nothing but −∞, of which none beyond the edge may be chosen.
  return [...before, ...after].some((amount) => amount > 0) ? engineIndex(to, node, x!) : comparedIndex(to, node, x!);
};

/**
 * https://onnx.ai/onnx/operators/onnx__GatherElements.html. The entries of an image where its own maxima are, are those
 * maxima, which are faster to compute than to look up, and pass NaN on.
 */
export const gather: Lower<AttrsOf<"gather">> = (to, { attrs, inputs: [x, index], shape }, names) => {
  const [image, at] = [unshaped(x!), unshaped(index!)];
  const own = isOp(at, "maxPoolIndex") && at.inputs[0] === image && attrs.axis === 2;
  // The index numbers the entries of one channel of one image.
  if (!own || !sameShape(x!.shape, [...image.shape.slice(0, 2), sizeOf(spatial(image))]))
    return to.emit("GatherElements", names, { axis: attrs.axis });
  const whole = to.emit("Reshape", [names[0]!, reshapeTo(to, image.shape)]);
  return to.emit("Reshape", [to.emit("Max", entries(to, whole, at.attrs, at.shape)), reshapeTo(to, shape)]);
};

/** The entries under the windows, for each place of the kernel, −∞ beyond the edge. */
function entries(to: Lowering, x: string, attrs: PoolAttrs, shape: Node["shape"]): string[] {
  const places = shape.slice(2) as number[];
  return windowSlices(to, x, { window: attrs, kernel: attrs.kernel, places }, 2, Number.NEGATIVE_INFINITY);
}

function unshaped(node: Node): Node {
  return isOp(node, "reshape") ? unshaped(node.inputs[0]!) : node;
}

function isOp<P extends Primitive>(node: Node, name: P): node is Node<AttrsOf<P>> {
  return node.op.name === name;
}

/** By comparing the entries of each window one after the other. */
function comparedIndex(to: Lowering, { attrs, inputs: [image], shape }: Node<PoolAttrs>, x: string): string {
  const taps = entries(to, x, attrs, shape);
  const steps = stridesOf(spatial(image!));
  const moved = (by: readonly number[]): number[] => steps.map((step, axis) => step * by[axis]!);
  const places = shape.slice(2) as number[];
  const start = to.constant([...offsets(places, moved(attrs.stride))], places, "int");
  // Nothing to compare, and so nothing that has the images' shape.
  if (taps.length === 1) return to.emit("Expand", [start, to.emit("Shape", taps)]);
  const offset = [...offsets(attrs.kernel, moved(attrs.dilation))];
  let [most, at] = [taps[0]!, to.number(offset[0]!)];
  taps.slice(1).forEach((tap, k) => {
    at = to.emit("Where", [to.emit("Greater", [tap, most]), to.number(offset[k + 1]!), at]);
    most = to.emit("Max", [most, tap]);
  });
  return to.emit("Add", [to.emit("Cast", [at], { to: to.elementCode("int") }), start]);
}

/** By the engine's operator, which numbers the entries of the whole tensor. */
function engineIndex(to: Lowering, { attrs, inputs }: Node<PoolAttrs>, x: string): string {
  const [, index] = to.emitAll("MaxPool", [x], 2, { ...windowAttributes(attrs), kernel_shape: attrs.kernel });
  return to.emit("Mod", [index!, to.constant([sizeOf(spatial(inputs[0]!))], [], "int")]);
}
