import type { Shape } from "../graph/index.ts";
import { ShapeError } from "../util/errors.ts";
import { fixedDim } from "./strides.ts";

/** How a window moves over the spatial axes of an image: one entry for each of them. */
export interface Window {
  readonly stride: readonly number[];
  /** Entries added before and after each axis: zeros for convolutions, nothing that could be chosen for maxima. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  /** The distance between neighbours in the window. */
  readonly dilation: readonly number[];
}

/**
 * How many places a window of size `kernel` has along each axis: ⌊(size + padding − dilation (kernel − 1) − 1) / stride⌋ + 1.
 * @throws ShapeError where it has none
 */
export function placesOf(what: string, window: Window, size: Shape, kernel: readonly number[]): number[] {
  const fixed = size.map((dim) => fixedDim(dim, what));
  return fixed.map((length, axis) => {
    const padded = length + window.before[axis]! + window.after[axis]!;
    const reach = window.dilation[axis]! * (kernel[axis]! - 1) + 1;
    if (reach > padded) throw new ShapeError(`${what}: ${describe(window, kernel)} does not fit into [${fixed}]`);
    return Math.floor((padded - reach) / window.stride[axis]!) + 1;
  });
}

function describe({ before, after, dilation }: Window, kernel: readonly number[]): string {
  const spread = dilation.some((step) => step !== 1) ? ` of dilation [${dilation}]` : "";
  const padding = [...before, ...after].some((amount) => amount !== 0)
    ? ` with padding [${before}] and [${after}]`
    : "";
  return `a kernel [${kernel}]${spread}${padding}`;
}

/** The places at which one entry of the kernel meets the image. */
export interface Tap {
  /** Numbers of places, row-major over the axes. */
  readonly places: Int32Array;
  /** The entry of the image under it at each of them, row-major. */
  readonly entries: Int32Array;
}

/** For each entry of the kernel, row-major, where it meets the image. */
export function tapsOf(
  window: Window,
  size: readonly number[],
  kernel: readonly number[],
  places: readonly number[],
): Tap[] {
  return kernel.reduce<Tap[]>(
    (taps, length, axis) =>
      taps.flatMap((tap) =>
        Array.from({ length }, (_, k) => {
          const met: [number, number][] = [];
          for (let place = 0; place < places[axis]!; place++) {
            const entry = place * window.stride[axis]! - window.before[axis]! + k * window.dilation[axis]!;
            if (entry >= 0 && entry < size[axis]!) met.push([place, entry]);
          }
          const along = (known: Int32Array, total: number, side: 0 | 1): Int32Array =>
            Int32Array.from([...known].flatMap((at) => met.map((pair) => at * total + pair[side])));
          return { places: along(tap.places, places[axis]!, 0), entries: along(tap.entries, size[axis]!, 1) };
        }),
      ),
    [{ places: Int32Array.of(0), entries: Int32Array.of(0) }],
  );
}
