import { DataError, OptionError } from "../util/errors.ts";
import { Random } from "../util/random.ts";
import type { Image, ImageShape } from "./image.ts";
import { resized, resizedSize } from "./resize.ts";
import type { Normalize, Size, Transform } from "./transforms.ts";

type Geometric = Exclude<Transform, Normalize>;

/** What a transform does to a size, and to an image. */
interface Rule<T extends Geometric> {
  /** @throws DataError for a size that it cannot take */
  size(transform: T, from: Size, name: string): Size;
  apply(transform: T, image: Image, random: Random): Image;
}

const RULES: { readonly [Kind in Geometric["kind"]]: Rule<Extract<Geometric, { kind: Kind }>> } = {
  resize: {
    size: ({ size }, from) => resizedSize(size, from),
    apply: ({ size }, image) => resized(image, resizedSize(size, sizeOf(image))),
  },
  centerCrop: {
    size: ({ size }, from, name) => croppable(size, from, `${name}: centerCrop`),
    apply: ({ size }, image) => {
      const [top, left] = sizeOf(image).map((side, axis) => Math.round((side - size[axis]!) / 2));
      return cropped(image, top!, left!, size);
    },
  },
  randomCrop: {
    size: ({ size, padding }, [height, width], name) =>
      croppable(size, [height + 2 * padding, width + 2 * padding], `${name}: randomCrop`),
    apply: ({ size, padding }, image, random) => {
      const [top, left] = sizeOf(image).map(
        (side, axis) => random.below(side + 2 * padding - size[axis]! + 1) - padding,
      );
      return cropped(image, top!, left!, size);
    },
  },
  randomHorizontalFlip: {
    size: (_, from) => from,
    apply: ({ probability }, image, random) => (random.uniform() < probability ? mirrored(image) : image),
  },
};

/** A list of transforms, put together: images of bytes go in, of any size, and real numbers come out. */
export class Pipeline {
  readonly transforms: readonly Transform[];
  readonly #geometric: readonly Geometric[];
  /** What each byte stands for, by channel. */
  readonly #tables: readonly Float32Array[];

  /**
   * @param last normalises where the list does not.
   * @throws OptionError for what is no transform, or one after `normalize`.
   */
  constructor(transforms: readonly Transform[], last?: Normalize) {
    if (!Array.isArray(transforms))
      throw new OptionError("transforms must be a list, such as [transforms.randomCrop(32)]");
    const given = transforms.at(-1)?.kind === "normalize" ? transforms : [...transforms, ...(last ? [last] : [])];
    this.#geometric = given.slice(0, -1).map(geometric);
    this.transforms = given;
    this.#tables = tablesOf(this.normalize);
  }

  get normalize(): Normalize {
    return this.transforms.at(-1) as Normalize;
  }

  /**
   * The shape of an image after the transforms.
   * @param name what error messages call the image.
   * @throws DataError for one that is too small, or has another number of channels.
   */
  outputShape([channels, ...size]: ImageShape, name: string): ImageShape {
    if (channels !== this.#tables.length)
      throw new DataError(`${name}: expected ${this.#tables.length} channels, as normalize has, found ${channels}`);
    return [channels, ...this.#geometric.reduce<Size>((from, each) => rule(each).size(each, from, name), size)];
  }

  /**
   * Writes an image, transformed, to `out`, which has room for just that.
   * @param seed of the random transforms.
   */
  write(image: Image, seed: number, out: Float32Array): void {
    const random = new Random(seed);
    const { shape, data } = this.#geometric.reduce((from, each) => rule(each).apply(each, from, random), image);
    const plane = shape[1] * shape[2];
    this.#tables.forEach((table, channel) => {
      for (let at = channel * plane, end = at + plane; at < end; at++) out[at] = table[data[at]!]!;
    });
  }
}

function geometric(transform: Transform): Geometric {
  const kind = transform?.kind;
  if (kind === "normalize") throw new OptionError("transforms: normalize must be the last of the list");
  if (!Object.hasOwn(RULES, kind)) throw new OptionError(`transforms: found ${String(kind)}, which is no transform`);
  return transform as Geometric;
}

function rule<T extends Geometric>(transform: T): Rule<T> {
  return RULES[transform.kind] as unknown as Rule<T>;
}

function tablesOf({ mean, deviation }: Normalize): Float32Array[] {
  return mean.map((center, i) =>
    Float32Array.from({ length: 256 }, (_, byte) => (byte / 255 - center) / deviation[i]!),
  );
}

function sizeOf({ shape: [, height, width] }: Image): Size {
  return [height, width];
}

/** @throws DataError where the image is smaller than what is to be cut out of it */
function croppable(size: Size, from: Size, where: string): Size {
  if (from[0] < size[0] || from[1] < size[1])
    throw new DataError(`${where}: expected an image of at least ${size.join(" × ")}, found ${from.join(" × ")}`);
  return size;
}

/** A part of an image; black where it lies outside. */
function cropped({ shape: [channels, height, width], data }: Image, top: number, left: number, size: Size): Image {
  const [rows, columns] = size;
  const out = new Uint8Array(channels * rows * columns);
  const [start, end] = [Math.max(0, left), Math.min(width, left + columns)];
  for (let channel = 0; channel < channels; channel++)
    for (let row = Math.max(0, -top); row < rows && top + row < height; row++) {
      const from = (channel * height + top + row) * width;
      out.set(data.subarray(from + start, from + end), (channel * rows + row) * columns + start - left);
    }
  return { shape: [channels, rows, columns], data: out };
}

function mirrored({ shape, data }: Image): Image {
  const width = shape[2];
  const out = new Uint8Array(data);
  for (let at = 0; at < out.length; at += width) out.subarray(at, at + width).reverse();
  return { shape, data: out };
}
