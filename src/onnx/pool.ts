import { mergeDims, type Node, type Shape, sameShape } from "../graph/index.ts";
import { type AttrsOf, offsets, type PoolAttrs, type Primitive, stridesOf } from "../ops/index.ts";
import { sizeOf } from "../util/ndarray.ts";
import { type Lower, type Lowering, reshapeTo } from "./lowering.ts";
import { spatial, windowAttributes, windowSlices } from "./windows.ts";

/**
 * The largest of the entries under each window. https://onnx.ai/onnx/operators/onnx__Max.html: unlike MaxPool it passes NaN
 * on, and −∞ in float32.
 */
export const maxPool: Lower<PoolAttrs> = (to, node, [x]) => to.emit("Max", entries(to, x!, node));

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
  const at = poolIndex(index!, attrs.axis, x!.shape);
  if (!at || at.inputs[0] !== unshaped(x!)) return to.emit("GatherElements", names, { axis: attrs.axis });
  const whole = to.emit("Reshape", [names[0]!, reshapeTo(to, at.inputs[0]!.shape)]);
  return to.emit("Reshape", [to.emit("Max", entries(to, whole, at)), reshapeTo(to, shape)]);
};

/**
 * https://onnx.ai/onnx/operators/onnx__ScatterElements.html. What maxima of windows side by side give back lies once in each
 * window: then the images are put together of it and of zeros, in a third of the time.
 */
export const scatterAdd: Lower<AttrsOf<"scatterAdd">> = (to, { attrs, inputs, shape, dtype }, [x, index]) => {
  const at = poolIndex(inputs[1]!, attrs.axis, shape);
  if (dtype === "float" && at && areTiles(at)) return putTogether(to, at, shape, x!, index!);
  const zeros = to.emit("Expand", [to.constant([0], [], dtype), to.shape(shape)]);
  return to.emit("ScatterElements", [zeros, index!, x!], { axis: attrs.axis, reduction: "add" });
};

/** The maxima that an index along an axis names, if it numbers the entries of one channel of images of this shape. */
function poolIndex(index: Node, axis: number, shape: Shape): Node<PoolAttrs> | undefined {
  const at = unshaped(index);
  if (axis !== 2 || !isOp(at, "maxPoolIndex")) return undefined;
  const [image] = at.inputs;
  return sameShape(shape, [...image!.shape.slice(0, 2), sizeOf(spatial(image!))]) ? at : undefined;
}

/** Whether windows lie side by side, and cover the images. */
function areTiles({ attrs, inputs: [image], shape }: Node<PoolAttrs>): boolean {
  const { kernel, stride, dilation, before, after } = attrs;
  const size = spatial(image!);
  const isTile = (length: number, axis: number): boolean =>
    stride[axis] === length &&
    (length === 1 || dilation[axis] === 1) &&
    size[axis] === length * (shape[axis + 2] as number);
  return kernel.every(isTile) && [...before, ...after].every((amount) => amount === 0);
}

/** The entries under the windows, for each place of the kernel, −∞ beyond the edge. */
function entries(to: Lowering, x: string, node: Node<PoolAttrs>): string[] {
  const { attrs, shape } = node;
  const places = shape.slice(2) as number[];
  const slices = { window: attrs, kernel: attrs.kernel, places };
  if (!areTiles(node)) return windowSlices(to, x, slices, 2, Number.NEGATIVE_INFINITY);
  // Rows are sliced; every second entry, or third, of rows is found sooner by a transposition.
  const length = attrs.kernel.at(-1)!;
  return windowSlices(to, x, { ...slices, kernel: attrs.kernel.slice(0, -1) }, 2).flatMap((row) => {
    const columns = to.emit("Transpose", [to.emit("Reshape", [row, reshapeTo(to, [mergeDims(shape), length])])]);
    return Array.from({ length }, (_, i) => {
      const column = to.emit("Slice", [columns, to.ints([i]), to.ints([i + 1]), to.ints([0])]);
      return to.emit("Reshape", [column, reshapeTo(to, shape)]);
    });
  });
}

/** Images of a shape, with what each of the windows, side by side, has at the entry that was chosen, and zeros. */
function putTogether(to: Lowering, node: Node<PoolAttrs>, shape: Shape, x: string, index: string): string {
  const reshape = (value: string, of: Shape): string => to.emit("Reshape", [value, reshapeTo(to, of)]);
  const [given, at] = [reshape(x, node.shape), reshape(index, node.shape)];
  const { kernel } = node.attrs;
  const { start, steps } = numbersOf(node);
  let parts = steps.map((step) => {
    const number = to.constant(
      start.map((first) => first + step),
      node.shape.slice(2) as number[],
      "int",
    );
    return to.emit("Where", [to.emit("Equal", [at, number]), given, to.number(0)]);
  });
  const size = [...node.shape];
  for (let axis = kernel.length - 1; axis >= 0; axis--) {
    const [length, along] = [kernel[axis]!, axis + 2];
    const joined = { from: [...size], to: size.with(along, (size[along] as number) * length) };
    const groups = Array.from({ length: parts.length / length }, (_, i) => parts.slice(i * length, (i + 1) * length));
    parts = groups.map((group) => reshape(inTurn(to, group, joined.from, along), joined.to));
    size[along] = joined.to[along]!;
  }
  return reshape(parts[0]!, shape);
}

/** The entries of several tensors in turn along an axis, which they have beside them in the result. */
function inTurn(to: Lowering, tensors: readonly string[], shape: Shape, axis: number): string {
  const isLast = axis === shape.length - 1;
  const single = reshapeTo(to, isLast ? [1, mergeDims(shape)] : shape.toSpliced(axis + 1, 0, 1));
  const rows = tensors.map((tensor) => to.emit("Reshape", [tensor, single]));
  const joined = to.emit("Concat", rows, { axis: isLast ? 0 : axis + 1 });
  return isLast ? to.emit("Transpose", [joined]) : joined;
}

function unshaped(node: Node): Node {
  return isOp(node, "reshape") ? unshaped(node.inputs[0]!) : node;
}

function isOp<P extends Primitive>(node: Node, name: P): node is Node<AttrsOf<P>> {
  return node.op.name === name;
}

/** By comparing the entries of each window one after the other. */
function comparedIndex(to: Lowering, node: Node<PoolAttrs>, x: string): string {
  const taps = entries(to, x, node);
  const numbers = numbersOf(node);
  const start = to.constant(numbers.start, node.shape.slice(2) as number[], "int");
  // Nothing to compare, and so nothing that has the images' shape.
  if (taps.length === 1) return to.emit("Expand", [start, to.emit("Shape", taps)]);
  let [most, at] = [taps[0]!, to.number(numbers.steps[0]!)];
  taps.slice(1).forEach((tap, k) => {
    at = to.emit("Where", [to.emit("Greater", [tap, most]), to.number(numbers.steps[k + 1]!), at]);
    most = to.emit("Max", [most, tap]);
  });
  return to.emit("Add", [to.emit("Cast", [at], { to: to.elementCode("int") }), start]);
}

/** The numbers of the first entries of all windows, and how far each entry of a window is from its first. */
function numbersOf({ attrs, inputs: [image], shape }: Node<PoolAttrs>): { start: number[]; steps: number[] } {
  const strides = stridesOf(spatial(image!));
  const moved = (by: readonly number[]): number[] => strides.map((step, axis) => step * by[axis]!);
  return {
    start: [...offsets(shape.slice(2) as number[], moved(attrs.stride))],
    steps: [...offsets(attrs.kernel, moved(attrs.dilation))],
  };
}

/** By the engine's operator, which numbers the entries of the whole tensor. */
function engineIndex(to: Lowering, { attrs, inputs }: Node<PoolAttrs>, x: string): string {
  const [, index] = to.emitAll("MaxPool", [x], 2, { ...windowAttributes(attrs), kernel_shape: attrs.kernel });
  return to.emit("Mod", [index!, to.constant([sizeOf(spatial(inputs[0]!))], [], "int")]);
}
