import { stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { DataError } from "../../util/errors.ts";
import { checkWhole, refuseUnknown } from "../../util/options.ts";
import { Dataset } from "../dataset.ts";
import { Pipeline } from "../pipeline.ts";
import { arraySamples } from "../samples.ts";
import { normalize } from "../transforms.ts";
import { imageShape } from "./decode.ts";
import { fileSamples } from "./file-samples.ts";
import { checkRoot, filesUnder, namesIn } from "./files.ts";
import type { ImageTask } from "./image-worker.ts";
import { WorkerPool } from "./worker-pool.ts";

/** Where images lie, and how many threads read them. */
export interface ImageFolderOptions {
  /**
   * A folder with one folder of JPEG and PNG files for each class, or with such a folder `train` and another one `val`
   * (or `test`).
   */
  readonly root: string;
  /** Threads that decode images; as many as the machine has processors by default, 4 at most. */
  readonly workers?: number;
}

/** Images with labels: int32, the places of their classes in `classes`. */
export interface ImageFolder {
  readonly train: Dataset;
  /** Undefined where the root has no `val` or `test`; `train.split` then makes one. */
  readonly test: Dataset | undefined;
  /** The names of the classes' folders, sorted. */
  readonly classes: readonly string[];
}

/** The means and deviations of ImageNet's training images, by channel. */
const IMAGENET = normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/** Beside this module, in the sources as in the build. */
const WORKER = new URL("./image-worker.js", import.meta.url);

/**
 * Images in folders, one for each class, as ImageNet has them. They stay on the disk: each batch's are decoded and
 * transformed by worker threads, one batch ahead of the step. Inputs are float32 images [3, height, width], normalised as
 * is usual for ImageNet; all must come to one size, so images of mixed sizes need `transform([resize(…), centerCrop(…)])`
 * or the like. `dispose()` of any part ends the threads of all; idle ones do not keep the process alive.
 * @throws DataError naming the folder without images, or the first image where it cannot be read; a batch throws one
 * naming the image that cannot be read or has another size. OptionError.
 */
export async function imageFolder(options: ImageFolderOptions): Promise<ImageFolder> {
  refuseUnknown("imageFolder", options, ["root", "workers"]);
  const { root, workers = Math.min(4, availableParallelism()) } = options;
  checkRoot(root);
  checkWhole("workers", workers, 1);
  const pool = new WorkerPool<ImageTask>(WORKER, workers);
  const [trainRoot, testRoot] = await parts(root);
  const classes = await classesIn(trainRoot);
  return {
    train: await part(trainRoot, classes, classes, pool),
    test: testRoot === undefined ? undefined : await part(testRoot, await classesIn(testRoot), classes, pool),
    classes,
  };
}

/** The folders to train and to test on. */
async function parts(root: string): Promise<[train: string, test: string | undefined]> {
  const folders = await foldersIn(root);
  const test = ["val", "test"].find((name) => folders.includes(name));
  if (!folders.includes("train") || test === undefined) return [root, undefined];
  return [join(root, "train"), join(root, test)];
}

async function classesIn(root: string): Promise<string[]> {
  const classes = await foldersIn(root);
  if (classes.length === 0) throw new DataError(`${root}: expected a folder of images for each class, found none`);
  return classes;
}

async function foldersIn(root: string): Promise<string[]> {
  const hint = "Put a folder of JPEG or PNG files for each class into it";
  const names = await namesIn(root, "a folder of images", hint);
  const folders = await Promise.all(names.map((name) => isFolder(join(root, name))));
  return names.filter((_, i) => folders[i]);
}

/** Also where it is a link to one; a link that leads nowhere is none. */
async function isFolder(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

async function part(
  root: string,
  names: readonly string[],
  classes: readonly string[],
  pool: WorkerPool<ImageTask>,
): Promise<Dataset> {
  const paths: string[] = [];
  const labels: number[] = [];
  for (const name of names) {
    const label = classes.indexOf(name);
    if (label < 0) throw new DataError(`${join(root, name)}: found a class that the training images lack`);
    for (const path of await imagesIn(join(root, name))) {
      paths.push(path);
      labels.push(label);
    }
  }
  const first = await imageShape(paths[0]!);
  return Dataset.fromSamples(
    fileSamples(paths, first, new Pipeline([IMAGENET]), pool),
    arraySamples({ shape: [labels.length], data: Int32Array.from(labels) }, root),
  );
}

/** The paths of the images in a folder and in those in it, sorted. */
async function imagesIn(folder: string): Promise<string[]> {
  const paths = await filesUnder(folder, /\.(jpe?g|png)$/i, "a folder of images");
  if (paths.length === 0) throw new DataError(`${folder}: expected JPEG or PNG files of the class, found none`);
  return paths;
}
