import type { NDArray } from "../src/index.ts";
import { STEPS } from "./example.ts";
import type { Difference } from "./request.ts";

type Tensors = Readonly<Record<string, NDArray>>;

/** What float32 explains in the loss of a step. */
const LOSS_TOLERANCE = 1e-4;
/** Half a unit in the last place of float32. */
const ROUNDING = 2 ** -24;

/**
 * Compares steps: the losses, and each parameter's and buffer's move, all relative to ours.
 * @param most what moves may differ by
 */
export function compareSteps(given: Tensors, ours: Tensors, theirs: Tensors, most: number): Difference[] {
  const loss = distance(valuesOf(ours, "losses"), valuesOf(theirs, "losses"));
  const names = Object.keys(given).filter((name) => name.startsWith("p:"));
  const moves = names.map((name) => {
    const start = valuesOf(given, name);
    const [own, other] = [ours, theirs].map((tensors) => difference(valuesOf(tensors, name), start));
    // Each step rounds each entry to float32, on both sides.
    const rounding = 2 * STEPS * ROUNDING * length(start);
    return Math.max(0, length(difference(other!, own!)) - rounding) / length(own!);
  });
  return [
    { of: "losses", found: loss, most: LOSS_TOLERANCE },
    { of: "moves", found: Math.max(...moves), most },
  ];
}

/**
 * What float32 explains in a summary, in the unit below: at 1,000 samples ours was seen to be up to 2e-5 off float64 in g and
 * H, and 2e-4 in order3, where sums cancel and two places of a maximum are equal to rounding. A factor or a group in the
 * wrong place is off by 0.1 or more.
 */
const SUMMARY_TOLERANCE = 1e-3;

/**
 * Compares summaries, the largest differences in g, H and order3. What each group is measured by is the root of the length
 * of its row of H, once for g, twice for H and three times for order3: so groups count alike, whatever their size, and what
 * nearly cancels in one number is no larger a difference.
 */
export function compareSummaries(ours: Tensors, theirs: Tensors): Difference[] {
  const H = valuesOf(ours, "H");
  const size = Math.sqrt(H.length);
  const unit = Float64Array.from({ length: size }, (_, s) => Math.sqrt(length(H.slice(s * size, (s + 1) * size))));
  const units: Readonly<Record<string, (i: number) => number>> = {
    g: (s) => unit[s]!,
    H: (i) => unit[Math.floor(i / size)]! * unit[i % size]!,
    order3: (s) => unit[s]! ** 3,
  };
  return Object.entries(units).map(([of, unitOf]) => {
    const apart = difference(valuesOf(theirs, of), valuesOf(ours, of));
    return { of, found: Math.max(...apart.map((value, i) => Math.abs(value) / unitOf(i))), most: SUMMARY_TOLERANCE };
  });
}

function distance(expected: Float64Array, found: Float64Array): number {
  return length(difference(found, expected)) / length(expected);
}

function difference(a: Float64Array, b: Float64Array): Float64Array {
  if (a.length !== b.length) throw new Error(`${a.length} numbers cannot be compared with ${b.length}`);
  return a.map((value, i) => value - b[i]!);
}

function length(values: Float64Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}

function valuesOf(tensors: Tensors, name: string): Float64Array {
  const tensor = tensors[name];
  if (!tensor) throw new Error(`${name} is missing in the results`);
  return Float64Array.from(tensor.data as Iterable<number | bigint>, Number);
}
