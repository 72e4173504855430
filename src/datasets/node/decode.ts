import type { Sharp } from "sharp";
import { DataError } from "../../util/errors.ts";
import type { Image, ImageShape } from "../image.ts";

/** The shape of the JPEG or PNG image in a file, as {@link decoded} gives it. @throws DataError naming the file. */
export async function imageShape(path: string): Promise<ImageShape> {
  return await reading(path, shapeOf);
}

/**
 * The JPEG or PNG image in a file as red, green and blue; grey becomes all three, alpha is dropped.
 * @throws DataError naming the file.
 */
export async function decoded(path: string): Promise<Image> {
  return await reading(path, async (image) => {
    const shape = await shapeOf(image);
    const pixels = await image.toColourspace("srgb").removeAlpha().raw().toBuffer();
    return { shape, data: planes(pixels, shape) };
  });
}

async function shapeOf(image: Sharp): Promise<ImageShape> {
  const { format, width, height } = await image.metadata();
  if (format !== "jpeg" && format !== "png") throw new Error(`a ${format} image`);
  return [3, height, width];
}

async function reading<T>(path: string, read: (image: Sharp) => Promise<T>): Promise<T> {
  // Loaded only now: whoever reads no images can do without its binaries.
  const { default: sharp } = await import("sharp");
  try {
    return await read(sharp(path, { failOn: "error" }));
  } catch (cause) {
    const found = (cause as Error).message.replaceAll(/\s*\n\s*/g, "; ");
    throw new DataError(`${path}: expected a JPEG or PNG image, found: ${found}`, { cause });
  }
}

/** Pixel by pixel to plane by plane. */
function planes(pixels: Uint8Array, [channels, height, width]: ImageShape): Uint8Array {
  const size = height * width;
  const out = new Uint8Array(channels * size);
  for (let channel = 0; channel < channels; channel++)
    for (let i = 0; i < size; i++) out[channel * size + i] = pixels[i * channels + channel]!;
  return out;
}
