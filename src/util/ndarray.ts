import { DataError, ShapeError } from "./errors.ts";

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

/** The shapes of arrays, by name. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

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

/**
 * Asserts that a value is an array as this package takes them: a typed array with a shape that it fills.
 * @param what how error messages call it.
 * @throws DataError, ShapeError
 */
export function checkArray(what: string, array: unknown): asserts array is NDArray {
  const { shape, data } = (array ?? {}) as Partial<NDArray>;
  if (!Array.isArray(shape) || !ArrayBuffer.isView(data) || data instanceof DataView)
    throw new DataError(`${what}: expected { shape, data } with a typed array as data`);
  if (sizeOf(shape) !== data.length)
    throw new ShapeError(`${what}: shape [${shape.join(", ")}] does not fit its ${data.length} entries`);
}

/** The same for an array of real numbers. @throws DataError, ShapeError */
export function checkFloats(what: string, array: unknown): asserts array is NDArray<FloatData> {
  checkArray(what, array);
  if (!isFloat(array)) throw new DataError(`${what}: expected real numbers (float32 or float64), found whole numbers`);
}

/**
 * The same for an array that must have a given shape.
 * @throws DataError, ShapeError with both shapes
 */
export function checkShaped(
  what: string,
  array: unknown,
  shape: readonly number[],
): asserts array is NDArray<FloatData> {
  checkFloats(what, array);
  if (array.shape.join() !== shape.join())
    throw new ShapeError(`${what}: expected shape [${shape.join(", ")}], found [${array.shape.join(", ")}]`);
}

/** Whether the array holds real numbers (as against labels or indices). */
export function isFloat(array: NDArray): array is NDArray<FloatData> {
  return array.data instanceof Float32Array || array.data instanceof Float64Array;
}
