import { concrete, isBatch, type Shape } from "../graph/index.ts";
import type { Precision } from "../onnx/index.ts";
import { type FloatData, type NDArray, sizeOf } from "../util/ndarray.ts";
import type { Random } from "../util/random.ts";

/**
 * An input of a program that is drawn anew for each batch: entries 1 / keep with the probability `keep`, else 0; without
 * `keep` they are uniform on [0, 1).
 */
export interface Mask {
  readonly name: string;
  readonly shape: Shape;
  readonly keep?: number;
}

/** Masks for a batch, each drawn entry by entry in row-major order. */
export function drawMasks(
  masks: readonly Mask[],
  samples: number,
  random: Random,
  precision: Precision,
): Record<string, NDArray> {
  const Data = precision === "float32" ? Float32Array : Float64Array;
  return Object.fromEntries(
    masks.map(({ name, shape, keep }) => {
      const lengths = concrete(shape, samples);
      const data = new Data(sizeOf(lengths));
      if (keep === undefined) for (let i = 0; i < data.length; i++) data[i] = random.uniform();
      else drawMask(data, keep, random);
      return [name, { shape: lengths, data }];
    }),
  );
}

function drawMask(data: FloatData, keep: number, random: Random): void {
  const bound = keep * 2 ** 32;
  for (let i = 0; i < data.length; i++) if (random.uint32() < bound) data[i] = 1 / keep;
}

/**
 * Samples `start` to `end` (exclusive) of an array whose shape follows a pattern: those entries of its batch axis, or all
 * where it has none. Memory is shared where the samples lie together.
 */
export function sliceSamples({ shape, data }: NDArray, pattern: Shape, start: number, end: number): NDArray {
  const axis = pattern.findIndex(isBatch);
  const dim = pattern[axis];
  if (dim === undefined || !isBatch(dim)) return { shape, data };
  const step = dim.factor * sizeOf(shape.slice(axis + 1));
  const lengths = shape.with(axis, dim.factor * (end - start));
  const blocks = sizeOf(shape.slice(0, axis));
  if (blocks === 1) return { shape: lengths, data: data.subarray(start * step, end * step) };
  const sliced = new (data.constructor as Float64ArrayConstructor)(sizeOf(lengths));
  const [whole, part] = [data.length / blocks, sliced.length / blocks];
  for (let i = 0; i < blocks; i++)
    sliced.set(data.subarray(i * whole + start * step, i * whole + end * step) as Float64Array, i * part);
  return { shape: lengths, data: sliced };
}
