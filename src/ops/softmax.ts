import type { Builder, ComposedOp, Node } from "../graph/index.ts";
import { mul, stopGradient, sub } from "./arithmetic.ts";
import { exp, reciprocal } from "./elementwise.ts";
import { sumKeep } from "./reduce.ts";
import { type AxisAttrs, alongAxis, max } from "./select.ts";
import { checkDtype, normalizeAxis, offsets, stridesOf } from "./strides.ts";

/** z = eˣ / Σ eˣ along an axis, x̄ = z (z̄ − Σ z̄ z). https://onnx.ai/onnx/operators/onnx__Softmax.html */
export const softmaxOp: ComposedOp<AxisAttrs> = {
  name: "softmax",
  kind: "composed",
  infer([x]) {
    checkDtype("softmax", ["float"], x!);
    return { shape: x!.shape, dtype: x!.dtype };
  },
  value([x], { axis }, shape) {
    const out = new Float64Array(x!.data.length);
    const [length, step] = [shape[axis]!, stridesOf(shape)[axis]!];
    for (const start of offsets(shape.with(axis, 1), stridesOf(shape))) {
      const places = Array.from({ length }, (_, i) => start + i * step);
      const top = Math.max(...places.map((at) => x!.data[at]!));
      for (const at of places) out[at] = Math.exp(x!.data[at]! - top);
      const total = places.reduce((sum, at) => sum + out[at]!, 0);
      for (const at of places) out[at]! /= total;
    }
    return out;
  },
  compose(b, { inputs: [x], attrs: { axis } }) {
    const e = exp(b, shiftedByMax(b, x!, axis));
    return mul(b, e, reciprocal(b, sumKeep(b, e, [axis])));
  },
  transpose(b, z, cotangent) {
    const mean = sumKeep(b, mul(b, cotangent, z), [z.attrs.axis]);
    return mul(b, z, sub(b, cotangent, mean));
  },
  batchRule: alongAxis,
};

/** Probabilities along an axis: eˣ / Σ eˣ. */
export function softmax(b: Builder, x: Node, axis: number): Node {
  return b.apply(softmaxOp, [x], { axis: normalizeAxis(axis, x.shape.length, "softmax") });
}

/**
 * x less its maximum along an axis, which keeps exp in range. As that changes no derivative, the maximum counts as a constant; a NaN is in
 * the sum that comes then, whatever the maximum is.
 */
function shiftedByMax(b: Builder, x: Node, axis: number): Node {
  return sub(b, x, stopGradient(b, max(b, x, axis, { ofNaN: "any" })));
}
