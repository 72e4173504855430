import type { Builder, ElementwiseOp, Node } from "../graph/index.ts";
import { add, cast, greater, mul, scale, shift, sign, sub } from "./arithmetic.ts";
import { erfOf } from "./erf.ts";
import { broadcast } from "./reduce.ts";
import { scalar } from "./source.ts";
import { checkDtype } from "./strides.ts";

/** Derivatives of orders 1 to 3 from the input x and the value z = f(x); those left out are zero everywhere. */
type Derivatives<A> = readonly ((b: Builder, x: Node, z: Node, attrs: A) => Node | undefined)[];

function elementwise<A = object>(
  name: string,
  f: (x: number, attrs: A) => number,
  derivatives: Derivatives<A>,
): ElementwiseOp<A> {
  return {
    name,
    kind: "elementwise",
    entrywise: true,
    infer([x]) {
      checkDtype(name, ["float"], x!);
      return { shape: x!.shape, dtype: x!.dtype };
    },
    value: ([x], attrs) => x!.data.map((value) => f(value, attrs)),
    derivative: (b, node, order) => derivatives[order - 1]?.(b, node.inputs[0]!, node, node.attrs),
  };
}

const square = (b: Builder, x: Node): Node => mul(b, x, x);
const cube = (b: Builder, x: Node): Node => mul(b, square(b, x), x);
/** 1 − x */
const oneMinus = (b: Builder, x: Node): Node => sub(b, scalar(b, 1), x);
const positive = (b: Builder, x: Node): Node => greater(b, x, scalar(b, 0));

export const expOp: ElementwiseOp<object> = elementwise("exp", Math.exp, [
  (_b, _x, z) => z,
  (_b, _x, z) => z,
  (_b, _x, z) => z,
]);

export const logOp: ElementwiseOp<object> = elementwise("log", Math.log, [
  (b, x) => reciprocal(b, x),
  (b, x) => scale(b, square(b, reciprocal(b, x)), -1),
  (b, x) => scale(b, cube(b, reciprocal(b, x)), 2),
]);

/** z = 1 / x: z' = −z², z'' = 2 z³, z''' = −6 z⁴. */
export const reciprocalOp: ElementwiseOp<object> = elementwise("reciprocal", (x) => 1 / x, [
  (b, _x, z) => scale(b, square(b, z), -1),
  (b, _x, z) => scale(b, cube(b, z), 2),
  (b, _x, z) => scale(b, square(b, square(b, z)), -6),
]);

/** z = √x: z' = 1 / 2z, z'' = −1 / 4z³, z''' = 3 / 8z⁵. */
export const sqrtOp: ElementwiseOp<object> = elementwise("sqrt", Math.sqrt, [
  (b, _x, z) => scale(b, reciprocal(b, z), 0.5),
  (b, _x, z) => scale(b, cube(b, reciprocal(b, z)), -0.25),
  (b, _x, z) => scale(b, mul(b, cube(b, reciprocal(b, z)), square(b, reciprocal(b, z))), 0.375),
]);

/** The derivative of given order of x^p; p (p − 1) … is zero once p is a whole number below the order. */
function powDerivative(order: number): Derivatives<{ exponent: number }>[number] {
  return (b, x, _z, { exponent }) => {
    let factor = 1;
    for (let i = 0; i < order; i++) factor *= exponent - i;
    return factor === 0 ? undefined : scale(b, pow(b, x, exponent - order), factor);
  };
}

/** x^p for a fixed p. https://onnx.ai/onnx/operators/onnx__Pow.html */
export const powOp: ElementwiseOp<{ exponent: number }> = {
  ...elementwise<{ exponent: number }>("pow", (x, { exponent }) => x ** exponent, [1, 2, 3].map(powDerivative)),
  simplify([x], { exponent }, { shape }, b) {
    if (exponent === 1) return x;
    if (exponent === 0) return broadcast(b, scalar(b, 1), shape);
    return exponent === 2 ? square(b, x!) : undefined;
  },
};

/** z' = 1 − z², z'' = −2 z z', z''' = z' (6 z² − 2). */
export const tanhOp: ElementwiseOp<object> = elementwise("tanh", Math.tanh, [
  tanhSlope,
  (b, _x, z) => scale(b, mul(b, z, tanhSlope(b, _x, z)), -2),
  (b, _x, z) => mul(b, tanhSlope(b, _x, z), shift(b, scale(b, square(b, z), 6), -2)),
]);

function tanhSlope(b: Builder, _x: Node, z: Node): Node {
  return oneMinus(b, square(b, z));
}

/** z' = z (1 − z), z'' = z' (1 − 2 z), z''' = z' (1 − 6 z'). */
export const sigmoidOp: ElementwiseOp<object> = elementwise("sigmoid", (x) => 1 / (1 + Math.exp(-x)), [
  sigmoidSlope,
  (b, _x, z) => mul(b, sigmoidSlope(b, _x, z), oneMinus(b, scale(b, z, 2))),
  (b, _x, z) => mul(b, sigmoidSlope(b, _x, z), oneMinus(b, scale(b, sigmoidSlope(b, _x, z), 6))),
]);

function sigmoidSlope(b: Builder, _x: Node, z: Node): Node {
  return sub(b, z, square(b, z));
}

/** log(1 + eˣ): the derivatives are the sigmoid and its own. */
export const softplusOp: ElementwiseOp<object> = elementwise(
  "softplus",
  (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  [
    (b, x) => sigmoid(b, x),
    (b, x) => sigmoidSlope(b, x, sigmoid(b, x)),
    (b, x) => mul(b, sigmoidSlope(b, x, sigmoid(b, x)), oneMinus(b, scale(b, sigmoid(b, x), 2))),
  ],
);

/** max(x, 0); the derivative at 0 is 0, as in PyTorch. */
export const reluOp: ElementwiseOp<object> = elementwise("relu", (x) => Math.max(x, 0), [
  (b, x) => cast(b, positive(b, x), "float"),
]);

/** min(x, 0); the derivative at 0 is 1, as that of PyTorch's clamp at its bounds. */
export const minZeroOp: ElementwiseOp<object> = elementwise("minZero", (x) => Math.min(x, 0), [
  (b, x) => oneMinus(b, cast(b, positive(b, x), "float")),
]);

/**
 * z = x where x > 0, eˣ − 1 elsewhere (Clevert et al., 2016); there every derivative is eˣ. Without a choice between the
 * two, which is slow.
 */
export const eluOp: ElementwiseOp<object> = elementwise("elu", (x) => (x > 0 ? x : Math.expm1(x)), [
  eluSlope,
  eluCurvature,
  eluCurvature,
]);

function eluSlope(b: Builder, x: Node): Node {
  return exp(b, minZero(b, x));
}

function eluCurvature(b: Builder, x: Node): Node {
  return sub(b, eluSlope(b, x), cast(b, positive(b, x), "float"));
}

const ERF_SLOPE = 2 / Math.sqrt(Math.PI);

/**
 * z' = c e^{−x²} with c = 2/√π, z'' = −2 x z', z''' = (4 x² − 2) z'. No power of a large x is
 * multiplied here before it meets what makes it vanish.
 */
export const erfOp: ElementwiseOp<object> = elementwise("erf", erfOf, [
  (b, x) => scale(b, bell(b, x), ERF_SLOPE),
  (b, x) => scale(b, mul(b, x, bell(b, x)), -2 * ERF_SLOPE),
  (b, x) => {
    const g = bell(b, x);
    return scale(b, sub(b, scale(b, mul(b, x, mul(b, x, g)), 2), g), 2 * ERF_SLOPE);
  },
]);

/** e^{−p x²} */
function bell(b: Builder, x: Node, p: number = 1): Node {
  return exp(b, scale(b, square(b, x), -p));
}

const NORMAL = 1 / Math.sqrt(2 * Math.PI);

/**
 * z = x Φ(x) with the normal distribution function Φ and its density φ: z' = Φ + x φ, z'' = (2 − x²) φ, z''' = (x² − 4) x φ,
 * multiplied in such an order as those of erf.
 */
export const geluOp: ElementwiseOp<object> = elementwise("gelu", (x) => x * ((1 + erfOf(x * Math.SQRT1_2)) / 2), [
  (b, x) => {
    const share = scale(b, shift(b, erf(b, scale(b, x, Math.SQRT1_2)), 1), 0.5);
    return add(b, share, scale(b, mul(b, x, bell(b, x, 0.5)), NORMAL));
  },
  (b, x) => {
    const g = bell(b, x, 0.5);
    return scale(b, sub(b, scale(b, g, 2), mul(b, x, mul(b, x, g))), NORMAL);
  },
  (b, x) => {
    const xg = mul(b, x, bell(b, x, 0.5));
    return scale(b, sub(b, mul(b, x, mul(b, x, xg)), scale(b, xg, 4)), NORMAL);
  },
]);

export const absOp: ElementwiseOp<object> = elementwise("abs", Math.abs, [(b, x) => sign(b, x)]);

export const sinOp: ElementwiseOp<object> = elementwise("sin", Math.sin, [
  (b, x) => cos(b, x),
  (b, _x, z) => scale(b, z, -1),
  (b, x) => scale(b, cos(b, x), -1),
]);

export const cosOp: ElementwiseOp<object> = elementwise("cos", Math.cos, [
  (b, x) => scale(b, sin(b, x), -1),
  (b, _x, z) => scale(b, z, -1),
  (b, x) => sin(b, x),
]);

export const exp = (b: Builder, x: Node): Node => b.apply(expOp, [x], {});
export const log = (b: Builder, x: Node): Node => b.apply(logOp, [x], {});
export const reciprocal = (b: Builder, x: Node): Node => b.apply(reciprocalOp, [x], {});
export const sqrt = (b: Builder, x: Node): Node => b.apply(sqrtOp, [x], {});
export const pow = (b: Builder, x: Node, exponent: number): Node => b.apply(powOp, [x], { exponent });
export const tanh = (b: Builder, x: Node): Node => b.apply(tanhOp, [x], {});
export const sigmoid = (b: Builder, x: Node): Node => b.apply(sigmoidOp, [x], {});
export const softplus = (b: Builder, x: Node): Node => b.apply(softplusOp, [x], {});
export const relu = (b: Builder, x: Node): Node => b.apply(reluOp, [x], {});
export const minZero = (b: Builder, x: Node): Node => b.apply(minZeroOp, [x], {});
export const elu = (b: Builder, x: Node): Node => b.apply(eluOp, [x], {});
export const erf = (b: Builder, x: Node): Node => b.apply(erfOp, [x], {});
export const gelu = (b: Builder, x: Node): Node => b.apply(geluOp, [x], {});
export const abs = (b: Builder, x: Node): Node => b.apply(absOp, [x], {});
export const sin = (b: Builder, x: Node): Node => b.apply(sinOp, [x], {});
export const cos = (b: Builder, x: Node): Node => b.apply(cosOp, [x], {});
