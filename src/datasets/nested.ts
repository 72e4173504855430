import { DataError } from "../util/errors.ts";
import { type NDArray, sizeOf } from "../util/ndarray.ts";

/** Numbers in arrays in arrays, all arrays of one depth of the same length. */
export type Nested = readonly (number | Nested)[];

/**
 * Reads nested arrays of numbers into float32.
 * @param name what error messages call them.
 * @throws DataError naming the first sample that is ragged or not of numbers.
 */
export function floatsOf(nested: Nested, name: string): NDArray<Float32Array> {
  const { shape, values } = flatten(nested, name);
  return { shape, data: Float32Array.from(values) };
}

/**
 * Reads targets: a flat array of whole numbers (that fit) becomes int32 labels, anything else float32.
 * @param name what error messages call them.
 * @throws DataError naming the first sample that is ragged or not of numbers.
 */
export function targetsOf(nested: Nested, name: string): NDArray<Float32Array | Int32Array> {
  const { shape, values } = flatten(nested, name);
  const labels =
    shape.length === 1 && values.every((value) => value === Math.trunc(value) && Math.abs(value) < 2 ** 31);
  return { shape, data: labels ? Int32Array.from(values) : Float32Array.from(values) };
}

function flatten(nested: Nested, name: string): { shape: number[]; values: Float64Array } {
  const shape = shapeOf(nested);
  const values = new Float64Array(sizeOf(shape));
  const sample = shape.slice(1);
  const size = sizeOf(sample);
  // Not nested.forEach, which would skip the holes of a sparse array.
  for (let i = 0; i < nested.length; i++)
    if (!fill(nested[i], sample, 0, values, i * size))
      throw new DataError(
        sample.length === 0
          ? `${name}: sample ${i} is not a number`
          : `${name}: sample ${i} is not an array of numbers of shape [${sample}], the shape of sample 0`,
      );
  return { shape, values };
}

/** The shape along the first entries, which the others must then follow. */
function shapeOf(nested: Nested): number[] {
  const shape: number[] = [];
  for (let level: unknown = nested; Array.isArray(level); level = level[0]) shape.push(level.length);
  return shape;
}

/** Writes `value`, of the shape from `axis` on, to `out[at …]`; false where it has another shape. */
function fill(value: unknown, shape: readonly number[], axis: number, out: Float64Array, at: number): boolean {
  if (axis === shape.length) {
    if (typeof value !== "number") return false;
    out[at] = value;
    return true;
  }
  if (!Array.isArray(value) || value.length !== shape[axis]) return false;
  const stride = sizeOf(shape.slice(axis + 1));
  for (let i = 0; i < value.length; i++) if (!fill(value[i], shape, axis + 1, out, at + i * stride)) return false;
  return true;
}
