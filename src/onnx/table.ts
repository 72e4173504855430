import { mergeDims, typicalCount } from "../graph/index.ts";
import type { AttrsOf, Primitive } from "../ops/index.ts";
import { internal } from "../util/errors.ts";
import { conv, convInput, convWeight } from "./conv.ts";
import { type Lower, type Lowering, reshapeTo } from "./lowering.ts";
import { gather, maxPool, maxPoolIndex, scatterAdd } from "./pool.ts";
import { argmax, indexAdd, max } from "./select.ts";

/** The operator of the same meaning, with no attributes. */
function direct(type: string): Lower<unknown> {
  return (to, _node, inputs) => to.emit(type, inputs);
}

/** An operator that the engine lacks in float64, and how it is composed there. */
function composedInDouble(type: string, compose: (to: Lowering, x: string) => string): Lower<unknown> {
  return (to, _node, [x]) => (to.precision === "float64" ? compose(to, x!) : to.emit(type, [x!]));
}

/** Clip goes on all threads, Min with a number on one. */
const minZero = (to: Lowering, x: string): string => to.emit("Clip", [x, "", to.number(0)]);

/** e^min(x, 0) − 1 is at least x where x ≤ 0, and 0 elsewhere. In half the time of Elu, and ONNX Runtime has the slope's exponential. */
const elu: Lower<unknown> = (to, _node, [x]) =>
  to.emit("Max", [x!, to.emit("Sub", [to.emit("Exp", [minZero(to, x!)]), to.number(1)])]);

const softplus = (to: Lowering, x: string): string => {
  const tail = to.emit("Exp", [to.emit("Neg", [to.emit("Abs", [x])])]);
  return to.emit("Add", [to.emit("Max", [x, to.number(0)]), to.emit("Log", [to.emit("Add", [tail, to.number(1)])])]);
};

/**
 * (2/π) ∫₀^∞ e^{−t²} sin(2 x t) / t dt by the midpoint rule of step π/12, which makes erf a smoothed square wave of half period
 * 12: from −6 to 6 the error is erfc(6) = 2e-17. Beyond, erf is ±1. (Strecok, 1968, has the same by the trapezoidal rule.)
 */
const erfInDouble = (to: Lowering, x: string): string => {
  const terms = Array.from({ length: 24 }, (_, k) => {
    const t = ((k + 0.5) * Math.PI) / 12;
    const wave = to.emit("Sin", [to.emit("Mul", [x, to.number(2 * t)])]);
    return to.emit("Mul", [wave, to.number((2 * Math.exp(-t * t)) / (Math.PI * (k + 0.5)))]);
  });
  const sum = terms.reduce((left, right) => to.emit("Add", [left, right]));
  return to.emit("Where", [to.emit("Greater", [to.emit("Abs", [x]), to.number(6)]), to.emit("Sign", [x]), sum]);
};

const erf = composedInDouble("Erf", erfInDouble);

/** Operator by operator as its slope is, so that ONNX Runtime computes once what both have in common. */
const gelu: Lower<unknown> = (to, node, [x]) => {
  const odd = erf(to, node, [to.emit("Mul", [x!, to.number(Math.SQRT1_2)])]);
  return to.emit("Mul", [x!, to.emit("Mul", [to.emit("Add", [odd, to.number(1)]), to.number(0.5)])]);
};

/**
 * Entries from which on a sum of all is made row by row, as ONNX Runtime has one thread for each entry of the result: 1024 × 784 take 0.4
 * of the time on two threads, and no longer on one.
 */
const MANY = 2 ** 18;

/**
 * Rows from which on they are added up by a product with ones: 0.2 to 1 of ReduceSum's time on one thread (the least for a few hundred rows and
 * columns), 0.1 to 0.7 on two.
 */
const ROWS = 32;

const sum: Lower<AttrsOf<"sum">> = (to, { attrs: { axes }, inputs, shape, dtype }, [x]) => {
  const from = inputs[0]!.shape;
  const rows = mergeDims(from.slice(0, axes.length));
  const areRows = shape.length > 0 && axes.every((axis, i) => axis === i) && typicalCount([rows]) >= ROWS;
  if (areRows && to.element(dtype) === "float32") {
    const matrix = from.length === 2 ? x! : to.emit("Reshape", [x!, reshapeTo(to, [rows, mergeDims(shape)])]);
    const row = to.emit("MatMul", [to.ones(rows), matrix]);
    return shape.length === 1 ? row : to.emit("Reshape", [row, reshapeTo(to, shape)]);
  }
  const total = (value: string, of: readonly number[]): string =>
    to.emit("ReduceSum", [value, to.ints(of)], { keepdims: 0 });
  const isRowByRow = shape.length === 0 && axes.length > 1 && typicalCount(from) >= MANY;
  return isRowByRow ? total(total(x!, axes.slice(1)), [0]) : total(x!, axes);
};

/** Every primitive in ONNX, opset 18. https://onnx.ai/onnx/operators/ */
export const lowerings: { readonly [P in Primitive]: Lower<AttrsOf<P>> } = {
  input: (_to, { attrs }) => attrs.name,
  constant: (to, { attrs }) => to.constant(attrs.data, attrs.shape, attrs.dtype),
  reshape: (to, { attrs }, [x]) => to.emit("Reshape", [x!, reshapeTo(to, attrs.shape)]),
  permute: (to, { attrs }, [x]) => to.emit("Transpose", [x!], { perm: attrs.order }),
  slice: (to, { attrs: { axis, start, end } }, [x]) =>
    to.emit("Slice", [x!, to.ints([start]), to.ints([end]), to.ints([axis])]),
  concat: (to, { attrs }, inputs) => to.emit("Concat", inputs, { axis: attrs.axis }),
  pad: (to, { attrs: { axis, before, after }, shape }, [x]) => {
    const none = shape.map(() => 0);
    return to.emit("Pad", [x!, to.ints([...none.with(axis, before), ...none.with(axis, after)])]);
  },
  broadcast: (to, { attrs }, [x]) => to.emit("Expand", [x!, to.shape(attrs.shape)]),
  sum,
  cumsum: (to, { attrs: { axis, reverse } }, [x]) =>
    to.emit("CumSum", [x!, to.constant([axis], [], "int")], { reverse: Number(reverse) }),
  gather,
  scatterAdd,
  indexSelect: (to, { attrs }, inputs) => to.emit("Gather", inputs, { axis: attrs.axis }),
  indexAdd,
  argmax,
  max,
  softmax: (to, { attrs }, [x]) => to.emit("Softmax", [x!], { axis: attrs.axis }),
  matmul: direct("MatMul"),
  conv,
  convInput,
  convWeight,
  maxPool,
  maxPoolIndex,
  add: direct("Add"),
  sub: direct("Sub"),
  scale: (to, { attrs, dtype }, [x]) => to.emit("Mul", [x!, to.constant([attrs.factor], [], dtype)]),
  mul: direct("Mul"),
  where: direct("Where"),
  greater: direct("Greater"),
  greaterEqual: direct("GreaterOrEqual"),
  equal: direct("Equal"),
  sign: direct("Sign"),
  cast: (to, { attrs }, [x]) => to.emit("Cast", [x!], { to: to.elementCode(attrs.dtype) }),
  stopGradient: (_to, _node, [x]) => x ?? internal("stopGradient without an input"),
  exp: direct("Exp"),
  log: direct("Log"),
  reciprocal: direct("Reciprocal"),
  sqrt: direct("Sqrt"),
  pow: (to, { attrs }, [x]) => to.emit("Pow", [x!, to.number(attrs.exponent)]),
  tanh: direct("Tanh"),
  sigmoid: direct("Sigmoid"),
  softplus: composedInDouble("Softplus", softplus),
  relu: direct("Relu"),
  minZero: (to, _node, [x]) => minZero(to, x!),
  elu,
  erf,
  gelu,
  abs: direct("Abs"),
  sin: direct("Sin"),
  cos: direct("Cos"),
};
