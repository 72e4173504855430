import { ShapeError } from "./errors.ts";

/** Typed arrays that carry real numbers. */
export type FloatData = Float32Array | Float64Array;
/** Typed arrays that carry whole numbers: labels, indices. */
export type IntData = Int32Array | Uint8Array | BigInt64Array;

/**
 * A dense array in row-major order. The class of `data` is its dtype: floating point for real numbers, integers
 * for labels and indices.
 */
export interface NDArray<D extends FloatData | IntData = FloatData | IntData> {
  readonly shape: readonly number[];
  readonly data: D;
}

/** One batch: inputs and targets, the same number of samples along their first axis. */
export interface Batch {
  readonly x: NDArray;
  readonly y: NDArray;
}

/** Batches that can be gone through more than once: a loader or an array. */
export type Batches = AsyncIterable<Batch> | Iterable<Batch>;

/** The number of entries of an array of this shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((size, dim) => size * dim, 1);
}

/**
 * Pairs data with its shape.
 * @throws ShapeError where the shape does not hold exactly `data.length` entries.
 */
export function ndarray<D extends FloatData | IntData>(data: D, shape: readonly number[]): NDArray<D> {
  if (sizeOf(shape) !== data.length)
    throw new ShapeError(`array of shape [${shape}] needs ${sizeOf(shape)} entries, found ${data.length}`);
  return { shape: [...shape], data };
}

/** Whether the array holds real numbers (as against labels or indices). */
export function isFloat(array: NDArray): array is NDArray<FloatData> {
  return array.data instanceof Float32Array || array.data instanceof Float64Array;
}
