import { existsSync } from "node:fs";
import { join } from "node:path";
import { DataError, OptionError } from "../../util/errors.ts";
import { refuseUnknown } from "../../util/options.ts";
import { Dataset } from "../dataset.ts";
import { Pipeline } from "../pipeline.ts";
import { arraySamples, imageSamples } from "../samples.ts";
import { type Normalize, normalize } from "../transforms.ts";
import { checkRoot, contents, namesIn } from "./files.ts";
import { checkLabels, type LabelledData } from "./labelled.ts";

const SHAPE = [3, 32, 32] as const;
const PIXELS = 3 * 32 * 32;

/** How a file of rows is read: some bytes of labels, of which one is used, and then the pixels. */
interface Format {
  readonly labels: readonly { readonly at: number; readonly classes: number }[];
  readonly used: number;
  readonly normalize: Normalize;
  /** The folder in the archive, and where the archive is. */
  readonly folder: string;
  readonly source: string;
}

const CIFAR10: Format = {
  labels: [{ at: 0, classes: 10 }],
  used: 0,
  normalize: normalize([0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616]),
  folder: "cifar-10-batches-bin",
  source: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
};

const CIFAR100: Omit<Format, "used"> = {
  labels: [
    { at: 0, classes: 20 },
    { at: 1, classes: 100 },
  ],
  normalize: normalize([0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762]),
  folder: "cifar-100-binary",
  source: "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
};

const CIFAR10_CLASSES = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck".split(",");

/** Where CIFAR-100 lies and which of its labels are the targets. */
export interface Cifar100Options {
  /** The folder of `train.bin` and `test.bin`, or the one that holds `cifar-100-binary`. */
  readonly root: string;
  /** "fine" (100 classes, the default) or "coarse" (20). */
  readonly labels?: "fine" | "coarse";
}

/**
 * CIFAR-10 in its binary version: float32 images [3, 32, 32], each channel normalised by the usual mean and deviation
 * of the training images, and int32 labels. All `data_batch_*.bin` there are is for training, `test_batch.bin` for the
 * test.
 * @param options.root the folder of these files, or the one that holds `cifar-10-batches-bin`.
 * @throws DataError naming the file that is missing or malformed; OptionError.
 */
export async function cifar10(options: { readonly root: string }): Promise<LabelledData> {
  refuseUnknown("cifar10", options, ["root"]);
  const { folder, hint } = located(options.root, CIFAR10);
  const names = await namesIn(folder, "the folder of CIFAR-10", hint);
  const batches = names.filter((name) => /^data_batch_.*\.bin$/.test(name));
  return {
    train: await part(folder, batches.length > 0 ? batches : ["data_batch_1.bin"], CIFAR10, hint),
    test: await part(folder, ["test_batch.bin"], CIFAR10, hint),
    classes: CIFAR10_CLASSES,
  };
}

/**
 * CIFAR-100 in its binary version, with fine or coarse labels; see {@link cifar10}. Classes have the names in
 * `fine_label_names.txt` or `coarse_label_names.txt`, or where that file is missing their numbers.
 * @throws DataError naming the file that is missing or malformed; OptionError.
 */
export async function cifar100(options: Cifar100Options): Promise<LabelledData> {
  refuseUnknown("cifar100", options, ["root", "labels"]);
  const { labels = "fine" } = options;
  if (labels !== "fine" && labels !== "coarse")
    throw new OptionError(`labels must be "fine" or "coarse"; found ${String(labels)}`);
  const format = { ...CIFAR100, used: labels === "coarse" ? 0 : 1 };
  const { folder, hint } = located(options.root, format);
  return {
    train: await part(folder, ["train.bin"], format, hint),
    test: await part(folder, ["test.bin"], format, hint),
    classes: await classNames(join(folder, `${labels}_label_names.txt`), format.labels[format.used]!.classes),
  };
}

function located(root: string, { folder, source }: Omit<Format, "used">): { folder: string; hint: string } {
  checkRoot(root);
  const inner = join(root, folder);
  return {
    folder: existsSync(inner) ? inner : root,
    hint: `To get it, download ${source} and unpack it into ${root}`,
  };
}

async function part(folder: string, names: readonly string[], format: Format, hint: string): Promise<Dataset> {
  const files: { path: string; rows: Uint8Array; count: number }[] = [];
  for (const path of names.map((name) => join(folder, name))) {
    const rows = await contents(path, "a file of CIFAR's binary version", hint);
    files.push({ path, rows, count: checkedRows(rows, format, path) });
  }
  const count = files.reduce((sum, file) => sum + file.count, 0);
  const pixels = new Uint8Array(count * PIXELS);
  const labels = new Int32Array(count);
  const width = format.labels.length + PIXELS;
  let sample = 0;
  for (const { rows } of files)
    for (let at = 0; at < rows.length; at += width, sample++) {
      labels[sample] = rows[at + format.used]!;
      pixels.set(rows.subarray(at + format.labels.length, at + width), sample * PIXELS);
    }
  return Dataset.fromSamples(
    imageSamples(pixels, [count, ...SHAPE], new Pipeline([format.normalize]), folder),
    arraySamples({ shape: [count], data: labels }, folder),
  );
}

/** The number of rows of a file. @throws DataError naming it. */
function checkedRows(bytes: Uint8Array, { labels }: Format, path: string): number {
  const width = labels.length + PIXELS;
  if (bytes.length === 0 || bytes.length % width !== 0)
    throw new DataError(`${path}: expected one or more rows of ${width} bytes, found ${bytes.length} bytes`);
  const count = bytes.length / width;
  for (const { at, classes } of labels)
    checkLabels(
      Array.from({ length: count }, (_, row) => bytes[row * width + at]!),
      classes,
      path,
    );
  return count;
}

async function classNames(path: string, count: number): Promise<string[]> {
  if (!existsSync(path)) return Array.from({ length: count }, (_, i) => String(i));
  const names = new TextDecoder()
    .decode(await contents(path, "names of classes"))
    .trim()
    .split(/\s*\n\s*/);
  if (names.length !== count)
    throw new DataError(`${path}: expected ${count} names, one a line, found ${names.length}`);
  return names;
}
