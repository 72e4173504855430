import { DataError } from "../util/errors.ts";
import { type FloatData, type IntData, type NDArray, sizeOf } from "../util/ndarray.ts";
import { type Draw, sampleSeeds } from "./draw.ts";
import type { ImageShape } from "./image.ts";
import { Pipeline } from "./pipeline.ts";
import type { Transform } from "./transforms.ts";

/** Samples of one shape and dtype, stored somehow, that can be put together into a batch. */
export interface Samples {
  /** How many samples there are. */
  readonly length: number;
  /** The shape of one sample: [] for a number or a label. */
  readonly shape: readonly number[];
  /** Whether other threads put them together meanwhile; a loader then asks for them ahead of their use. */
  readonly elsewhere?: boolean;
  /** What each is called, where they are files; the content of a file may change. */
  readonly names?: readonly string[];
  /** A new array of shape [indices.length, ...shape], at once or later; every index is in 0 … length − 1. */
  gather(indices: Uint32Array, draw: Draw): NDArray | Promise<NDArray>;
  /** Lets go of whatever else than memory they hold. */
  dispose?(): Promise<void>;
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

/** Samples that are images: they can be put through transforms. */
export interface ImageSamples extends Samples {
  /**
   * The same images through these transforms, in place of those before; the normalisation stays unless the list has one.
   * @throws OptionError for what is no list of transforms; DataError where an image does not fit them.
   */
  transformed(transforms: readonly Transform[]): ImageSamples;
}

/** Whether samples are images. */
export function areImages(samples: Samples): samples is ImageSamples {
  return "transformed" in samples;
}

/**
 * Images of one size in memory, stored as bytes and turned into float32 as a batch is put together: a quarter of the
 * memory of floats, and nothing to convert before the first batch. The bytes are shared, not copied.
 * @param shape the shape of all images together, [images, channels, height, width].
 * @param pipeline what becomes of each image.
 * @param name what error messages call the images.
 * @throws DataError where the bytes do not fill one or more images, or these do not fit the pipeline.
 */
export function imageSamples(
  bytes: Uint8Array,
  shape: readonly [number, ...ImageShape],
  pipeline: Pipeline,
  name = "images",
): ImageSamples {
  const { length } = checkedRows(shape, bytes.length, name);
  const [, ...stored] = shape;
  const outputShape = pipeline.outputShape(stored, name);
  const [from, to] = [sizeOf(stored), sizeOf(outputShape)];
  return {
    length,
    shape: outputShape,
    gather: (indices, draw) => {
      const seeds = sampleSeeds(draw);
      const data = new Float32Array(indices.length * to);
      indices.forEach((index, row) => {
        const image = { shape: stored, data: bytes.subarray(index * from, (index + 1) * from) };
        pipeline.write(image, seeds(index), data.subarray(row * to, (row + 1) * to));
      });
      return { shape: [indices.length, ...outputShape], data };
    },
    transformed: (transforms) => imageSamples(bytes, shape, new Pipeline(transforms, pipeline.normalize), name),
  };
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
