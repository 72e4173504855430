import { DataError } from "../util/errors.ts";
import { type FloatData, type IntData, type NDArray, sizeOf } from "../util/ndarray.ts";

/** Samples of one shape and dtype, stored somehow, that can be put together into a batch. */
export interface Samples {
  /** How many samples there are. */
  readonly length: number;
  /** The shape of one sample: [] for a number or a label. */
  readonly shape: readonly number[];
  /** A new array of shape [indices.length, ...shape]; every index is in 0 … length − 1. */
  gather(indices: Uint32Array): NDArray;
}

const ARRAY_KINDS: readonly (new (buffer: ArrayBuffer) => FloatData | IntData)[] = [
  Float32Array,
  Float64Array,
  Int32Array,
  Uint8Array,
  BigInt64Array,
];

/**
 * The rows of an array along its first axis, in its own dtype. The array is shared, not copied.
 * @param name what error messages call the array.
 * @throws DataError where the array is not a dense array of one or more samples, each of one or more entries.
 */
export function arraySamples(array: NDArray, name = "array"): Samples {
  const { data } = array;
  const kind = ARRAY_KINDS.find((candidate) => data instanceof candidate);
  if (!kind) throw new DataError(`${name}: its data must be a typed array of floats, int32, uint8 or int64`);
  const { length, shape } = checkedRows(array.shape, data.length, name);
  const rowBytes = sizeOf(shape) * data.BYTES_PER_ELEMENT;
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const gather = (indices: Uint32Array): NDArray => {
    const out = new Uint8Array(indices.length * rowBytes);
    indices.forEach((index, row) => {
      out.set(bytes.subarray(index * rowBytes, (index + 1) * rowBytes), row * rowBytes);
    });
    return { shape: [indices.length, ...shape], data: new kind(out.buffer) };
  };
  return { length, shape, gather };
}

/**
 * Samples stored as bytes, of which a batch holds `table[byte]` in float32: a quarter of the memory of floats, and
 * nothing to convert before the first batch. The bytes are shared, not copied.
 * @param shape the shape of all samples together, [samples, ...].
 * @param table what each of the 256 bytes stands for.
 * @param name what error messages call the samples.
 * @throws DataError where the bytes do not fill one or more samples, or the table has not 256 finite entries.
 */
export function byteSamples(bytes: Uint8Array, shape: readonly number[], table: Float32Array, name = "bytes"): Samples {
  if (table.length !== 256 || !table.every(Number.isFinite))
    throw new DataError(`${name}: the table must hold 256 finite numbers`);
  const rows = checkedRows(shape, bytes.length, name);
  const size = sizeOf(rows.shape);
  const gather = (indices: Uint32Array): NDArray => {
    const data = new Float32Array(indices.length * size);
    let at = 0;
    for (const index of indices)
      for (let from = index * size, end = from + size; from < end; from++) data[at++] = table[bytes[from]!]!;
    return { shape: [indices.length, ...rows.shape], data };
  };
  return { ...rows, gather };
}

function checkedRows(all: readonly number[], entries: number, name: string): { length: number; shape: number[] } {
  const [length, ...shape] = all;
  if (length === undefined) throw new DataError(`${name}: needs a first axis, that of the samples; found a scalar`);
  if (length === 0) throw new DataError(`${name}: needs at least one sample; found none`);
  if (!all.every((dim) => Number.isSafeInteger(dim) && dim > 0))
    throw new DataError(`${name}: every axis needs at least one entry; found shape [${all}]`);
  if (sizeOf(all) !== entries)
    throw new DataError(`${name}: shape [${all}] needs ${sizeOf(all)} entries; found ${entries}`);
  return { length, shape };
}
