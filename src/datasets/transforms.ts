import { OptionError } from "../util/errors.ts";
import { checkWhole, refuseUnknown } from "../util/options.ts";

/** Height and width, in pixels. */
export type Size = readonly [height: number, width: number];

/**
 * A step in the preparation of images, made by a function of `transforms`: plain data, so that another thread can take
 * it. See `Dataset.transform`.
 */
export type Transform =
  | { readonly kind: "resize"; readonly size: number | Size }
  | { readonly kind: "centerCrop"; readonly size: Size }
  | { readonly kind: "randomCrop"; readonly size: Size; readonly padding: number }
  | { readonly kind: "randomHorizontalFlip"; readonly probability: number }
  | Normalize;

/** Bytes to numbers; see {@link normalize}. */
export interface Normalize {
  readonly kind: "normalize";
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
}

/**
 * Scales images by a triangle filter (bilinear, with antialiasing where they shrink).
 * @param size the shorter side, in pixels, the other in proportion; or [height, width].
 * @throws OptionError
 */
export function resize(size: number | Size): Transform {
  if (typeof size === "number") checkWhole("resize: size", size, 1);
  return { kind: "resize", size: typeof size === "number" ? size : sizeOf("resize", size) };
}

/**
 * Cuts the middle out of images.
 * @param size the side of a square, in pixels, or [height, width].
 * @throws OptionError
 */
export function centerCrop(size: number | Size): Transform {
  return { kind: "centerCrop", size: sizeOf("centerCrop", size) };
}

/**
 * Cuts a part out of images at a random place, each place as likely.
 * @param size the side of a square, in pixels, or [height, width].
 * @param options.padding black pixels put around the image first, 0 by default.
 * @throws OptionError
 */
export function randomCrop(size: number | Size, options: { readonly padding?: number } = {}): Transform {
  refuseUnknown("randomCrop", options, ["padding"]);
  const { padding = 0 } = options;
  checkWhole("randomCrop: padding", padding, 0);
  return { kind: "randomCrop", size: sizeOf("randomCrop", size), padding };
}

/**
 * Mirrors images, left to right, at random.
 * @param probability 0.5 by default.
 * @throws OptionError
 */
export function randomHorizontalFlip(probability: number = 0.5): Transform {
  if (!(probability >= 0 && probability <= 1))
    throw new OptionError(`randomHorizontalFlip: probability must be a number from 0 to 1; found ${probability}`);
  return { kind: "randomHorizontalFlip", probability };
}

/**
 * Bytes to numbers: (byte / 255 − mean) / deviation. It comes last.
 * @param mean of each channel, on a scale from 0 to 1.
 * @param deviation of each channel, above 0.
 * @throws OptionError
 */
export function normalize(mean: readonly number[], deviation: readonly number[]): Normalize {
  if (mean.length === 0 || !mean.every(Number.isFinite))
    throw new OptionError(`normalize: mean must be a finite number for each channel; found [${mean}]`);
  if (deviation.length !== mean.length || !deviation.every((value) => value > 0 && Number.isFinite(value)))
    throw new OptionError(`normalize: deviation must be a number above 0 for each channel; found [${deviation}]`);
  return { kind: "normalize", mean: [...mean], deviation: [...deviation] };
}

function sizeOf(transform: string, size: number | Size): Size {
  const [height, width, ...more] = typeof size === "number" ? [size, size] : size;
  for (const side of [height, width, ...more]) checkWhole(`${transform}: size`, side, 1);
  if (more.length > 0) throw new OptionError(`${transform}: size must be a number or [height, width]; found [${size}]`);
  return [height, width];
}
