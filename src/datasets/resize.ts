import type { Image } from "./image.ts";
import type { Size } from "./transforms.ts";

/** The size of an image after `resize`: the shorter side as told and the other in proportion, or both as told. */
export function resizedSize(size: number | Size, [height, width]: Size): Size {
  if (typeof size !== "number") return size;
  const scale = size / Math.min(height, width);
  // Never rounded to less than the shorter side.
  return height <= width ? [size, Math.floor(width * scale)] : [Math.floor(height * scale), size];
}

/** What an output pixel takes of a run of input pixels. */
interface Share {
  readonly start: number;
  readonly weights: Float64Array;
}

/** An image scaled along both axes, one after the other, by a triangle filter. */
export function resized({ shape: [channels, height, width], data }: Image, size: Size): Image {
  const [rows, columns] = size;
  const across = shares(width, columns);
  const down = shares(height, rows);
  const narrow = new Float32Array(channels * height * columns);
  for (let line = 0; line < channels * height; line++)
    for (let column = 0; column < columns; column++) {
      const { start, weights } = across[column]!;
      narrow[line * columns + column] = weighted(data, line * width + start, 1, weights);
    }
  const out = new Uint8ClampedArray(channels * rows * columns);
  for (let channel = 0; channel < channels; channel++)
    for (let row = 0; row < rows; row++) {
      const { start, weights } = down[row]!;
      const from = (channel * height + start) * columns;
      for (let column = 0; column < columns; column++)
        out[(channel * rows + row) * columns + column] = weighted(narrow, from + column, columns, weights);
    }
  return { shape: [channels, rows, columns], data: new Uint8Array(out.buffer) };
}

function weighted(data: Uint8Array | Float32Array, from: number, step: number, weights: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < weights.length; i++) sum += weights[i]! * data[from + i * step]!;
  return sum;
}

/** For each of `to` pixels, what it takes of `from`: a triangle as wide as two pixels of the coarser grid. */
function shares(from: number, to: number): Share[] {
  const scale = from / to;
  const reach = Math.max(1, scale);
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) * scale;
    const start = Math.max(0, Math.ceil(center - reach - 0.5));
    const end = Math.min(from - 1, Math.floor(center + reach - 0.5));
    const weights = Float64Array.from({ length: end - start + 1 }, (_, j) =>
      Math.max(0, 1 - Math.abs(start + j + 0.5 - center) / reach),
    );
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { start, weights: weights.map((weight) => weight / sum) };
  });
}
