import {
  type BilinearOp,
  type Builder,
  type ConstantOp,
  type DType,
  type LinearOp,
  type Node,
  typicalCount,
} from "../graph/index.ts";
import { ShapeError } from "../util/errors.ts";
import { concat, type PadAttrs, pad, padOp } from "./move.ts";
import { aligned, broadcast, sameType, unrepeated } from "./reduce.ts";
import { type ConstantAttrs, constantOp, scalar } from "./source.ts";
import { checkDtype, fixedDim, mismatch, NUMBERS } from "./strides.ts";

/** Checks that inputs are numbers of one shape and dtype, and gives their type. */
function sameNumbers(what: string, x: Node, y: Node): ReturnType<typeof sameType> {
  checkDtype(what, NUMBERS, x, y);
  return sameType(what, x, y);
}

/** https://onnx.ai/onnx/operators/onnx__Add.html */
export const addOp: LinearOp<object> = {
  name: "add",
  kind: "linear",
  entrywise: true,
  infer: ([x, y]) => sameNumbers("add", x!, y!),
  value: ([x, y]) => x!.data.map((value, i) => value + y!.data[i]!),
  simplify: ([x, y], _attrs, _type, b) => joined(b, x!, y!) ?? joined(b, y!, x!),
  push: (_b, _node, x) => x,
  transpose: (_b, _node, cotangent) => cotangent,
  batchRule: () => "kept",
};

/** The sum of two padded tensors of which one begins where the other ends, as the adjoints of neighbouring slices do. */
function joined(b: Builder, x: Node, y: Node): Node | undefined {
  if (x.op !== padOp || y.op !== padOp) return undefined;
  const [first, second] = [x.attrs as PadAttrs, y.attrs as PadAttrs];
  const { axis, before } = first;
  const end = fixedDim(x.shape[axis]!, "add") - first.after;
  if (second.axis !== axis || second.before !== end) return undefined;
  return pad(b, concat(b, [x.inputs[0]!, y.inputs[0]!], axis), axis, before, second.after);
}

/** x + y, broadcast together. */
export function add(b: Builder, x: Node, y: Node): Node {
  return b.apply(addOp, aligned(b, "add", x, y), {});
}

/** https://onnx.ai/onnx/operators/onnx__Sub.html */
export const subOp: LinearOp<object> = {
  name: "sub",
  kind: "linear",
  entrywise: true,
  infer: ([x, y]) => sameNumbers("sub", x!, y!),
  value: ([x, y]) => x!.data.map((value, i) => value - y!.data[i]!),
  push: (b, _node, x, index) => (index === 0 ? x : scale(b, x, -1)),
  transpose: (b, _node, cotangent, index) => (index === 0 ? cotangent : scale(b, cotangent, -1)),
  batchRule: () => "kept",
};

/** x − y, broadcast together. */
export function sub(b: Builder, x: Node, y: Node): Node {
  return b.apply(subOp, aligned(b, "sub", x, y), {});
}

/** Multiplication by a number. */
export const scaleOp: LinearOp<{ factor: number }> = {
  name: "scale",
  kind: "linear",
  entrywise: true,
  infer([x], { factor }) {
    const allowed = x!.dtype === "float" || (x!.dtype === "int" && Number.isInteger(factor));
    if (!allowed) throw new ShapeError(`scale: ${x!.dtype} entries cannot be multiplied by ${factor}`);
    return { shape: x!.shape, dtype: x!.dtype };
  },
  value: ([x], { factor }) => x!.data.map((value) => factor * value),
  simplify([x], { factor }, _type, b) {
    if (factor === 1) return x;
    if (x!.op === scaleOp) return scale(b, x!.inputs[0]!, factor * (x!.attrs as { factor: number }).factor);
    const scaled = scaledIn(x!);
    return scaled && mul(b, scaled.rest, scale(b, scaled.number, factor));
  },
  push: (b, { attrs }, x) => scale(b, x, attrs.factor),
  transpose: (b, { attrs }, cotangent) => scale(b, cotangent, attrs.factor),
  batchRule: () => "kept",
};

/** factor · x */
export function scale(b: Builder, x: Node, factor: number): Node {
  return b.apply(scaleOp, [x], { factor });
}

/** x + constant */
export function shift(b: Builder, x: Node, amount: number): Node {
  return add(b, x, scalar(b, amount, x.dtype));
}

/** https://onnx.ai/onnx/operators/onnx__Mul.html */
export const mulOp: BilinearOp<object> = {
  name: "mul",
  kind: "bilinear",
  entrywise: true,
  infer: ([x, y]) => sameNumbers("mul", x!, y!),
  value: ([x, y]) => x!.data.map((value, i) => value * y!.data[i]!),
  simplify([x, y], _attrs, _type, b) {
    const [cx, cy] = [numberIn(x!), numberIn(y!)];
    if (cy !== undefined) return scale(b, x!, cy);
    if (cx !== undefined) return scale(b, y!, cx);
    return scaledAgain(b, x!, y!) ?? scaledAgain(b, y!, x!);
  },
  stacked: (b, _node, x, y) => mul(b, x, y),
  transpose: (b, _node, cotangent, other) => mul(b, cotangent, other),
  batchRule: () => "kept",
};

/** x times a number that it repeats, with fewer entries to multiply where x is a product itself. */
function scaledAgain(b: Builder, x: Node, factor: Node): Node | undefined {
  const number = repeatedNumber(factor);
  if (!number) return undefined;
  if (x.op === scaleOp) return mul(b, x.inputs[0]!, scale(b, number, (x.attrs as { factor: number }).factor));
  const scaled = scaledIn(x);
  return scaled ? mul(b, scaled.rest, mul(b, scaled.number, number)) : scaledProduct(b, x, number);
}

/** The parts of y s, for a number s. */
function scaledIn({ op, inputs: [x, y] }: Node): { rest: Node; number: Node } | undefined {
  if (op !== mulOp) return undefined;
  const [left, right] = [repeatedNumber(x!), repeatedNumber(y!)];
  if (right) return { rest: x!, number: right };
  return left && { rest: y!, number: left };
}

/** The number that is found when the graph runs, and repeated. */
function repeatedNumber({ op, inputs: [x] }: Node): Node | undefined {
  return op.name === "broadcast" && x!.shape.length === 0 ? x : undefined;
}

/** (A B) s = (A s) B for a number s, where A is smaller than the product: fewer entries to multiply. */
function scaledProduct(b: Builder, product: Node, number: Node): Node | undefined {
  if (product.op.name !== "matmul") return undefined;
  const [left, right] = product.inputs;
  if (typicalCount(left!.shape) >= typicalCount(product.shape)) return undefined;
  return b.apply(product.op, [scaledFactor(b, left!, number), right!], product.attrs);
}

/** The factor times a number, with a transposition left outermost, where the product can take it in. */
function scaledFactor(b: Builder, factor: Node, number: Node): Node {
  if (factor.op.name !== "permute") return mul(b, factor, number);
  return b.apply(factor.op, [mul(b, factor.inputs[0]!, number)], factor.attrs);
}

/** The number that a tensor repeats, where it is known when the graph is made. */
function numberIn(x: Node): number | undefined {
  const source = unrepeated(x);
  if (source.op !== constantOp || x.dtype !== "float") return undefined;
  const { data } = source.attrs as ConstantAttrs;
  return data.length === 1 ? data[0] : undefined;
}

/** x · y entry by entry, broadcast together. */
export function mul(b: Builder, x: Node, y: Node): Node {
  return b.apply(mulOp, aligned(b, "mul", x, y), {});
}

/** x for which `condition` holds, y elsewhere. https://onnx.ai/onnx/operators/onnx__Where.html */
export const whereOp: LinearOp<object> = {
  name: "where",
  kind: "linear",
  entrywise: true,
  infer([condition, x, y]) {
    if (condition!.dtype !== "bool") throw mismatch("where", "a condition of dtype bool", condition!);
    sameType("where", { ...condition!, dtype: x!.dtype }, x!);
    return sameType("where", x!, y!);
  },
  value: ([condition, x, y]) => x!.data.map((value, i) => (condition!.data[i] ? value : y!.data[i]!)),
  push(b, { inputs: [condition] }, x, index) {
    const zero = scalar(b, 0);
    return index === 1 ? where(b, condition!, x, zero) : where(b, condition!, zero, x);
  },
  transpose(b, { inputs: [condition] }, cotangent, index) {
    const zero = scalar(b, 0);
    return index === 1 ? where(b, condition!, cotangent, zero) : where(b, condition!, zero, cotangent);
  },
  batchRule: () => "kept",
};

/** x where `condition` holds, y elsewhere, broadcast together. */
export function where(b: Builder, condition: Node, x: Node, y: Node): Node {
  const [left, right] = aligned(b, "where", x, y);
  const [mask, first] = aligned(b, "where", condition, left);
  return b.apply(whereOp, [mask, first, broadcast(b, right, first.shape)], {});
}

function comparison(
  name: string,
  compare: (x: number, y: number) => boolean,
  check: typeof sameType = sameType,
): ConstantOp<object> {
  return {
    name,
    kind: "constant",
    entrywise: true,
    infer: ([x, y]) => ({ shape: check(name, x!, y!).shape, dtype: "bool" }),
    value: ([x, y]) => x!.data.map((value, i) => Number(compare(value, y!.data[i]!))),
    batchRule: () => "kept",
  };
}

/** https://onnx.ai/onnx/operators/onnx__Greater.html */
export const greaterOp: ConstantOp<object> = comparison("greater", (x, y) => x > y, sameNumbers);
/** https://onnx.ai/onnx/operators/onnx__GreaterOrEqual.html */
export const greaterEqualOp: ConstantOp<object> = comparison("greaterEqual", (x, y) => x >= y, sameNumbers);
/** https://onnx.ai/onnx/operators/onnx__Equal.html */
export const equalOp: ConstantOp<object> = comparison("equal", (x, y) => x === y);

/** x > y entry by entry, broadcast together. */
export function greater(b: Builder, x: Node, y: Node): Node {
  return b.apply(greaterOp, aligned(b, "greater", x, y), {});
}

/** x ≥ y entry by entry, broadcast together. */
export function greaterEqual(b: Builder, x: Node, y: Node): Node {
  return b.apply(greaterEqualOp, aligned(b, "greaterEqual", x, y), {});
}

/** x = y entry by entry, broadcast together. */
export function equal(b: Builder, x: Node, y: Node): Node {
  return b.apply(equalOp, aligned(b, "equal", x, y), {});
}

/** −1, 0 or 1. https://onnx.ai/onnx/operators/onnx__Sign.html */
export const signOp: ConstantOp<object> = {
  name: "sign",
  kind: "constant",
  entrywise: true,
  infer([x]) {
    checkDtype("sign", NUMBERS, x!);
    return { shape: x!.shape, dtype: x!.dtype };
  },
  value: ([x]) => x!.data.map(Math.sign),
  batchRule: () => "kept",
};

/** The sign of each entry. */
export function sign(b: Builder, x: Node): Node {
  return b.apply(signOp, [x], {});
}

/** https://onnx.ai/onnx/operators/onnx__Cast.html */
export const castOp: ConstantOp<{ dtype: DType }> = {
  name: "cast",
  kind: "constant",
  entrywise: true,
  infer: ([x], { dtype }) => ({ shape: x!.shape, dtype }),
  value: ([x], { dtype }) => x!.data.map((value) => (dtype === "bool" ? Number(value !== 0) : Math.trunc(value))),
  simplify: ([x], { dtype }) => (x!.dtype === dtype ? x : undefined),
  batchRule: () => "kept",
};

/** x with another dtype; no derivative passes through. */
export function cast(b: Builder, x: Node, dtype: DType): Node {
  return b.apply(castOp, [x], { dtype });
}

/** x as a constant: the value passes, derivatives do not. */
export const stopGradientOp: ConstantOp<object> = {
  name: "stopGradient",
  kind: "constant",
  entrywise: true,
  infer: ([x]) => ({ shape: x!.shape, dtype: x!.dtype }),
  value: ([x]) => x!.data,
  batchRule: () => "kept",
};

/** x with its derivatives cut off (`detach` in PyTorch). */
export function stopGradient(b: Builder, x: Node): Node {
  return b.apply(stopGradientOp, [x], {});
}
