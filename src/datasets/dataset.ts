import { DataError, OptionError } from "../util/errors.ts";
import { type Batch, isFloat, type NDArray, sizeOf } from "../util/ndarray.ts";
import { checkWhole, refuseUnknown } from "../util/options.ts";
import { Random } from "../util/random.ts";
import { type Draw, FIRST_DRAW } from "./draw.ts";
import { type BatchSource, Loader, type LoaderOptions } from "./loader.ts";
import { floatsOf, type Nested, targetsOf } from "./nested.ts";
import { areImages, arraySamples, type Samples } from "./samples.ts";
import type { Transform } from "./transforms.ts";

/** Samples that a fingerprint is taken of, at even distances. */
const FINGERPRINTED = 64;

/** How {@link Dataset.split} shuffles. */
export interface SplitOptions {
  /** A whole number (its low 32 bits count) that determines which samples go where (default 0). */
  readonly seed?: number;
}

/**
 * Inputs and targets. Parts of a data set share its storage: `slice`, `take`, `split` and `transform` copy no sample.
 */
export class Dataset implements BatchSource {
  readonly #x: Samples;
  readonly #y: Samples;
  /** The stored sample at each position. */
  readonly #indices: Uint32Array;

  private constructor(x: Samples, y: Samples, indices: Uint32Array) {
    this.#x = x;
    this.#y = y;
    this.#indices = indices;
  }

  /**
   * A data set of inputs and targets with the same first axis, that of the samples. NDArrays keep their dtype and are
   * shared, not copied. Nested arrays of numbers become float32, but a flat `y` of whole numbers becomes int32 labels
   * (for a regression on whole numbers, give `y` as an NDArray or as [[1], [2], …]).
   * @throws DataError naming `x` or `y`, and the sample where one is at fault: no samples, lengths that differ, ragged
   * arrays, NaN or infinity.
   */
  static fromArrays(x: NDArray | Nested, y: NDArray | Nested): Dataset {
    const inputs = isNested(x) ? floatsOf(x, "x") : checkedArray(x, "x");
    const targets = isNested(y) ? targetsOf(y, "y") : checkedArray(y, "y");
    const dataset = Dataset.fromSamples(arraySamples(inputs, "x"), arraySamples(targets, "y"));
    refuseNonFinite(inputs, "x");
    refuseNonFinite(targets, "y");
    return dataset;
  }

  /**
   * A data set over samples stored in any way.
   * @throws DataError where there are no samples, or not as many inputs as targets.
   */
  static fromSamples(x: Samples, y: Samples): Dataset {
    if (x.length !== y.length)
      throw new DataError(`x and y must have the same number of samples; x has ${x.length}, y has ${y.length}`);
    if (x.length === 0) throw new DataError("data set: needs at least one sample; found none");
    return new Dataset(
      x,
      y,
      Uint32Array.from({ length: x.length }, (_, i) => i),
    );
  }

  /** How many samples there are. */
  get length(): number {
    return this.#indices.length;
  }

  /** The shape of one input, without the batch axis. */
  get inputShape(): readonly number[] {
    return this.#x.shape;
  }

  /** The shape of one target, without the batch axis: [] for labels. */
  get targetShape(): readonly number[] {
    return this.#y.shape;
  }

  /** Batches for a loader to ask for ahead of their use: one where other threads put them together, else none. */
  get ahead(): number {
    return this.#x.elsewhere || this.#y.elsewhere ? 1 : 0;
  }

  /**
   * These samples, in this order, in new arrays: `x` is [positions.length, ...inputShape].
   * @param draw what random transforms depend on, which a loader sets for each epoch.
   * @throws DataError for a position outside 0 … length − 1, or a sample that cannot be read.
   */
  async batch(positions: ArrayLike<number>, draw: Draw = FIRST_DRAW): Promise<Batch> {
    const indices = Uint32Array.from(positions, (position) => {
      const index = this.#indices[position];
      if (index === undefined) throw new DataError(`data set of ${this.length} samples has no sample ${position}`);
      return index;
    });
    const x = this.#x.gather(indices, draw);
    const y = this.#y === this.#x ? x : this.#y.gather(indices, draw);
    const [inputs, targets] = await Promise.all([x, y]);
    return { x: inputs, y: targets };
  }

  /**
   * Tells this data set from others: a hash of its size, of the names of its samples where they are files, and else of some of
   * the samples, as a first epoch would have them; of the targets of those too.
   */
  async fingerprint(): Promise<string> {
    const count = Math.min(FINGERPRINTED, this.length);
    const indices = Uint32Array.from(
      { length: count },
      (_, i) => this.#indices[Math.floor((i * this.length) / count)]!,
    );
    const parts = await Promise.all([this.#x, this.#y].map((samples) => this.#characteristic(samples, indices)));
    return await digest([new TextEncoder().encode(String(this.length)), ...parts]);
  }

  async #characteristic(samples: Samples, indices: Uint32Array): Promise<Uint8Array> {
    const { names } = samples;
    if (names) return new TextEncoder().encode(Array.from(this.#indices, (index) => names[index]!).join("\n"));
    const { data } = await samples.gather(indices, FIRST_DRAW);
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }

  /**
   * The same samples, their images put through `transforms` in this order, in place of those before. Random ones are a
   * pure function of the loader's seed, the epoch and the stored sample. Where the list does not end in a `normalize`,
   * the data set's own stays.
   * @throws OptionError where the inputs are no images, or this is no list of transforms; DataError where images do not
   * fit them.
   */
  transform(transforms: readonly Transform[]): Dataset {
    if (!areImages(this.#x)) throw new OptionError("data set: its inputs are no images, so nothing can transform them");
    return new Dataset(this.#x.transformed(transforms), this.#y, this.#indices);
  }

  /** The same inputs, as they are now, each of them its own target too, as an autoencoder is trained. */
  autoencoding(): Dataset {
    return new Dataset(this.#x, this.#x, this.#indices);
  }

  /**
   * The samples `start` … `end` − 1.
   * @throws OptionError unless 0 ≤ start < end ≤ length.
   */
  slice(start: number, end: number): Dataset {
    checkWhole("slice start", start, 0);
    checkWhole("slice end", end, 1);
    if (start >= end || end > this.length)
      throw new OptionError(`slice(${start}, ${end}): needs 0 ≤ start < end ≤ ${this.length}, the number of samples`);
    return this.#part(this.#indices.subarray(start, end));
  }

  /**
   * The first `count` samples, or all where there are fewer.
   * @throws OptionError unless `count` is a positive whole number.
   */
  take(count: number): Dataset {
    checkWhole("take count", count, 1);
    return this.#part(this.#indices.subarray(0, count));
  }

  /**
   * Deals all samples at random into two data sets.
   * @param sizes the first part's share, between 0 and 1 (its size is rounded), or both sizes.
   * @throws OptionError unless both parts have at least one sample and together have all.
   */
  split(sizes: number | readonly [number, number], options: SplitOptions = {}): [Dataset, Dataset] {
    refuseUnknown("split", options, ["seed"]);
    const { seed = 0 } = options;
    checkWhole("seed", seed);
    const first = this.#firstSize(sizes);
    const dealt = new Random(seed).permutation(this.length).map((position) => this.#indices[position]!);
    return [this.#part(dealt.subarray(0, first)), this.#part(dealt.subarray(first))];
  }

  /**
   * A new loader of this data set's batches.
   * @throws OptionError for an unknown option or a value out of range; DataError where an epoch would have no batch.
   */
  loader(options: LoaderOptions): Loader<Dataset> {
    return new Loader(this, options);
  }

  /** Releases the threads that read samples from files, for all parts of the data set; in memory there are none. */
  async dispose(): Promise<void> {
    await Promise.all([this.#x.dispose?.(), this.#y.dispose?.()]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #part(indices: Uint32Array): Dataset {
    return new Dataset(this.#x, this.#y, indices);
  }

  #firstSize(sizes: number | readonly [number, number]): number {
    const shares = typeof sizes === "number";
    const first = shares ? Math.round(sizes * this.length) : sizes[0];
    const second = shares ? this.length - first : sizes[1];
    const whole = [first, second].every((size) => Number.isSafeInteger(size) && size > 0);
    if (!whole || first + second !== this.length)
      throw new OptionError(
        shares
          ? `split: share ${sizes} of ${this.length} samples leaves a part without samples; it must be between 0 and 1`
          : `split: sizes [${sizes}] must be two positive whole numbers that add up to ${this.length} samples`,
      );
    return first;
  }
}

/** 16 hexadecimal digits. */
async function digest(parts: readonly Uint8Array[]): Promise<string> {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", all));
  return Array.from(hash.subarray(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function isNested(value: NDArray | Nested): value is Nested {
  return Array.isArray(value);
}

function checkedArray(array: NDArray, name: string): NDArray {
  if (!Array.isArray(array?.shape) || !ArrayBuffer.isView(array.data))
    throw new DataError(`${name}: must be an NDArray ({ shape, data }) or nested arrays of numbers`);
  return array;
}

function refuseNonFinite(array: NDArray, name: string): void {
  if (!isFloat(array)) return;
  const size = sizeOf(array.shape.slice(1));
  for (let i = 0; i < array.data.length; i++)
    if (!Number.isFinite(array.data[i]))
      throw new DataError(
        `${name}: sample ${Math.floor(i / size)} holds ${array.data[i]}; every number must be finite`,
      );
}
