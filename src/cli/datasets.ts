import { basename } from "node:path";
import { type Dataset, type Transform, toyRegression, transforms } from "../datasets/index.ts";
import { charTextFile, cifar10, cifar100, fashionMnist, imageFolder, mnist } from "../datasets/node/index.ts";
import type { Defaults } from "./options.ts";

/** What a data set holds, as models tell it. */
export type DataKind = "images" | "tokens" | "numbers";

/** The options of `grnewt train` that belong to some data sets. */
export interface DatasetSettings {
  /** Where the data set lies. */
  readonly data?: string;
  readonly augment?: boolean;
  readonly "image-size"?: number;
  readonly context?: number;
}

/** A data set as it was read. */
export interface LoadedData {
  readonly train: Dataset;
  readonly test: Dataset;
  /** Classes, tokens, or numbers in a target. */
  readonly outputs: number;
}

/** What happens to images on their way into a batch. */
export interface ImageTransforms {
  readonly train: readonly Transform[];
  readonly test: readonly Transform[];
}

interface DatasetEntry {
  readonly kind: DataKind;
  /** What a run calls it. */
  readonly title: (path: string) => string;
  /** Its options, with their defaults. */
  readonly takes: Defaults<DatasetSettings>;
  /** What `--data` must be given as, where it has no default. */
  readonly needs?: string;
  /** @throws DataError where it is missing or malformed */
  readonly load: (settings: DatasetSettings) => LoadedData | Promise<LoadedData>;
  /** Of images only; none by default. */
  readonly transforms?: (settings: DatasetSettings) => ImageTransforms;
}

/** The share of a folder of images that is for the test where it has no such part of its own. */
const TEST_SHARE = 0.1;

/** The data sets of `grnewt train`. */
export const DATASETS = {
  mnist: {
    kind: "images",
    title: () => "MNIST",
    takes: { data: undefined },
    load: async ({ data }) => labelled(await mnist(data === undefined ? {} : { root: data })),
  },
  "fashion-mnist": {
    kind: "images",
    title: () => "Fashion-MNIST",
    takes: { data: "data/fashion-mnist" },
    load: async ({ data }) => labelled(await fashionMnist({ root: data! })),
  },
  cifar10: {
    kind: "images",
    title: () => "CIFAR-10",
    takes: { data: "data/cifar10", augment: false },
    load: async ({ data }) => labelled(await cifar10({ root: data! })),
    transforms: cifarTransforms,
  },
  cifar100: {
    kind: "images",
    title: () => "CIFAR-100",
    takes: { data: "data/cifar100", augment: false },
    load: async ({ data }) => labelled(await cifar100({ root: data! })),
    transforms: cifarTransforms,
  },
  images: {
    kind: "images",
    title: (path) => `the images in ${basename(path)}`,
    takes: { data: undefined, augment: false, "image-size": 64 },
    needs: "a folder with a folder of images for each class, or with train and val that have such folders",
    load: async ({ data }) => {
      const { train, test, classes } = await imageFolder({ root: data! });
      if (test) return { train, test, outputs: classes.length };
      const [rest, share] = train.split(1 - TEST_SHARE);
      return { train: rest, test: share, outputs: classes.length };
    },
    transforms: folderTransforms,
  },
  text: {
    kind: "tokens",
    title: (path) => basename(path),
    takes: { data: undefined, context: 64 },
    needs: "a text file in UTF-8",
    load: async ({ data, context }) => {
      const { train, test, vocabulary } = await charTextFile(data!, { sequenceLength: context! });
      return { train, test, outputs: vocabulary.size };
    },
  },
  "toy-regression": {
    kind: "numbers",
    title: () => "a toy regression",
    takes: {},
    load: () => {
      const { train, test } = toyRegression({ samples: 10_000 });
      return { train, test, outputs: train.targetShape[0]! };
    },
  },
} satisfies Record<string, DatasetEntry>;

/** The name of a data set. */
export type DatasetName = keyof typeof DATASETS;

/** The data set of that name. */
export function datasetEntry(name: DatasetName): DatasetEntry {
  return DATASETS[name];
}

function labelled({ train, test, classes }: Omit<LoadedData, "outputs"> & { classes: readonly string[] }): LoadedData {
  return { train, test, outputs: classes.length };
}

/** Random crops of padded images and mirrored ones, as is usual for CIFAR. */
function cifarTransforms({ augment }: DatasetSettings): ImageTransforms {
  const { randomCrop, randomHorizontalFlip } = transforms;
  return { train: augment ? [randomCrop(32, { padding: 4 }), randomHorizontalFlip()] : [], test: [] };
}

/** The middle of a resized image; to augment, a random part of one that is a seventh larger, as 256 is than 224. */
function folderTransforms({ augment, "image-size": size = 0 }: DatasetSettings): ImageTransforms {
  const { resize, centerCrop, randomCrop, randomHorizontalFlip } = transforms;
  const middle = [resize(size), centerCrop(size)];
  return {
    train: augment ? [resize(Math.round((size * 8) / 7)), randomCrop(size), randomHorizontalFlip()] : middle,
    test: middle,
  };
}
