import type { Builder, ChoiceOp, ConstantOp, Node, Shape, Value } from "../graph/index.ts";
import { sizeOf } from "../util/ndarray.ts";
import { flatten, reshape } from "./move.ts";
import { gather } from "./select.ts";
import { checkDtype, mismatch } from "./strides.ts";
import { placesOf, tapsOf, type Window } from "./window.ts";

export interface PoolAttrs extends Window {
  readonly kernel: readonly number[];
}

/** Images [N, C, …size] as [N, C, …places]. */
function pooledShape(what: string, { shape }: Node, attrs: PoolAttrs): Shape {
  if (shape.length !== attrs.kernel.length + 2)
    throw mismatch(what, `images [N, C, …] with ${attrs.kernel.length} spatial axes`, shape);
  const wide = attrs.kernel.some((length, axis) => Math.max(attrs.before[axis]!, attrs.after[axis]!) >= length);
  if (wide)
    throw mismatch(what, `less padding than the kernel [${attrs.kernel}], so that every window meets the image`, shape);
  return [...shape.slice(0, 2), ...placesOf(what, attrs, shape.slice(2), attrs.kernel)];
}

/** Of each window, the number of its first largest entry, row-major over the spatial axes; NaN counts as the largest. */
function chosen(x: Value, attrs: PoolAttrs, shape: readonly number[]): Int32Array {
  const [size, places] = [x.shape.slice(2), shape.slice(2)];
  const taps = tapsOf(attrs, size, attrs.kernel, places);
  const [entries, windows] = [size, places].map(sizeOf) as [number, number];
  const best = new Int32Array((x.data.length / entries) * windows).fill(-1);
  for (let row = 0; row * windows < best.length; row++)
    for (const tap of taps)
      tap.places.forEach((place, i) => {
        const [at, entry] = [row * windows + place, tap.entries[i]!];
        const most = x.data[row * entries + best[at]!]!;
        const value = x.data[row * entries + entry]!;
        if (best[at]! < 0 || value > most || (Number.isNaN(value) && !Number.isNaN(most))) best[at] = entry;
      });
  return best;
}

/** Which entry `maxPool` chooses for each window, as a number row-major over the spatial axes. */
export const maxPoolIndexOp: ConstantOp<PoolAttrs> = {
  name: "maxPoolIndex",
  kind: "constant",
  infer([x], attrs) {
    checkDtype("maxPoolIndex", ["float"], x!);
    return { shape: pooledShape("maxPoolIndex", x!, attrs), dtype: "int" };
  },
  value: ([x], attrs, shape) => Float64Array.from(chosen(x!, attrs, shape)),
  batchRule: () => "kept",
};

/** The largest entry of each window; the derivative goes to the first. https://onnx.ai/onnx/operators/onnx__MaxPool.html */
export const maxPoolOp: ChoiceOp<PoolAttrs> = {
  name: "maxPool",
  kind: "choice",
  infer([x], attrs) {
    checkDtype("maxPool", ["float"], x!);
    return { shape: pooledShape("maxPool", x!, attrs), dtype: "float" };
  },
  value([x], attrs, shape) {
    const best = chosen(x!, attrs, shape);
    const entries = sizeOf(x!.shape.slice(2));
    const windows = sizeOf(shape.slice(2));
    return Float64Array.from(best, (entry, i) => x!.data[Math.floor(i / windows) * entries + entry]!);
  },
  freeze(b, { inputs: [x], attrs, shape }) {
    const index = flatten(b, maxPoolIndex(b, x!, attrs), 2);
    return reshape(b, gather(b, flatten(b, x!, 2), index, 2), shape);
  },
  batchRule: () => "kept",
};

/** The largest entry of each window of images [N, C, …]. */
export function maxPool(b: Builder, x: Node, attrs: PoolAttrs): Node {
  return b.apply(maxPoolOp, [x], attrs);
}

/** The numbers of the entries that `maxPool` chooses. */
export function maxPoolIndex(b: Builder, x: Node, attrs: PoolAttrs): Node {
  return b.apply(maxPoolIndexOp, [x], attrs);
}
