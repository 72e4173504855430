import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DataError, OptionError } from "../../util/errors.ts";
import { randomCrop, randomHorizontalFlip } from "../transforms.ts";
import { cifar10, cifar100 } from "./cifar.ts";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "grnewt-cifar-"));
});
afterEach(() => rm(root, { recursive: true }));

/** Rows of an image each: its labels, and then red, green and blue of one value each. */
function rows(
  ...images: readonly { readonly labels: readonly number[]; readonly rgb: readonly number[] }[]
): Uint8Array {
  return Uint8Array.from(
    images.flatMap(({ labels, rgb }) => [...labels, ...rgb.flatMap((v) => new Array(1024).fill(v))]),
  );
}

const write = (name: string, bytes: Uint8Array, folder = root): Promise<void> => writeFile(join(folder, name), bytes);
const black = (...labels: number[]) => ({ labels, rgb: [0, 0, 0] });

async function message(act: Promise<unknown>): Promise<string> {
  const error = await act.catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(DataError);
  return (error as Error).message;
}

describe("cifar10", () => {
  it("trains on every data_batch there is, in order, and normalises each channel", async () => {
    await write("data_batch_2.bin", rows(black(7)));
    await write("data_batch_1.bin", rows({ labels: [3], rgb: [255, 0, 51] }, black(9)));
    await write("test_batch.bin", rows(black(1)));
    await write("data_batch_3.txt", rows(black(1)));
    const { train, test, classes } = await cifar10({ root });
    expect([train.length, test.length, classes.length]).toEqual([3, 1, 10]);
    const { x, y } = await train.batch([0, 1, 2]);
    expect(y).toEqual({ shape: [3], data: new Int32Array([3, 9, 7]) });
    expect(x.shape).toEqual([3, 3, 32, 32]);
    for (const [channel, value] of [(1 - 0.4914) / 0.247, -0.4822 / 0.2435, (0.2 - 0.4465) / 0.2616].entries())
      for (const pixel of [0, 1023]) expect(x.data[channel * 1024 + pixel]).toBeCloseTo(value, 5);
  });

  it("finds the folder of the archive in root, also through a link", async () => {
    const folder = join(root, "elsewhere");
    await mkdir(folder);
    await symlink(folder, join(root, "cifar-10-batches-bin"));
    await write("data_batch_1.bin", rows(black(1)), folder);
    await write("test_batch.bin", rows(black(1)), folder);
    expect((await cifar10({ root })).train.length).toBe(1);
  });

  it.each<[string, Uint8Array, string]>([
    ["nothing", new Uint8Array(0), "expected one or more rows of 3073 bytes, found 0 bytes"],
    ["half an image", rows(black(1)).subarray(0, 2000), "expected one or more rows of 3073 bytes, found 2000 bytes"],
    ["a byte too many", Uint8Array.from([...rows(black(1)), 0]), "found 3074 bytes"],
    ["a label of 10", rows(black(9), black(10)), "expected labels 0 to 9, found 10 at sample 1"],
  ])("refuses a file with %s, naming it", async (_, bytes, expected) => {
    await write("data_batch_1.bin", rows(black(1)));
    await write("data_batch_2.bin", bytes);
    await write("test_batch.bin", rows(black(1)));
    expect(await message(cifar10({ root }))).toContain(`${join(root, "data_batch_2.bin")}: expected`);
    expect(await message(cifar10({ root }))).toContain(expected);
  });

  it("says of a missing file or folder where to get it and where to put it", async () => {
    const hint = `found no such file. To get it, download https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz and unpack it into`;
    expect(await message(cifar10({ root }))).toContain(
      `${join(root, "data_batch_1.bin")}: expected a file of CIFAR's binary version, ${hint} ${root}`,
    );
    await write("data_batch_1.bin", rows(black(1)));
    expect(await message(cifar10({ root }))).toContain(`${join(root, "test_batch.bin")}: `);
    const nowhere = join(root, "nowhere");
    expect(await message(cifar10({ root: nowhere }))).toBe(
      `${nowhere}: expected the folder of CIFAR-10, ${hint} ${nowhere}`,
    );
  });

  it("refuses a file for a folder, and a folder for a file", async () => {
    await write("file", rows(black(1)));
    expect(await message(cifar10({ root: join(root, "file") }))).toContain(
      `${join(root, "file")}: expected the folder`,
    );
    await mkdir(join(root, "data_batch_1.bin"));
    expect(await message(cifar10({ root }))).toContain(`${join(root, "data_batch_1.bin")}: expected a file`);
  });

  it("refuses odd options", async () => {
    await expect(cifar10({ root: 1 as never })).rejects.toThrow(
      new OptionError("root must be the path of a folder; found 1"),
    );
    await expect(cifar10({ root, labels: "fine" } as never)).rejects.toThrow('cifar10: unknown option "labels"');
  });
});

describe("cifar100", () => {
  beforeEach(async () => {
    await write("train.bin", rows(black(19, 99), black(4, 50)));
    await write("test.bin", rows(black(3, 20)));
  });

  it("has fine labels or coarse ones", async () => {
    const fine = await cifar100({ root });
    expect((await fine.train.batch([0, 1])).y.data).toEqual(new Int32Array([99, 50]));
    expect([fine.classes.length, fine.classes[99]]).toEqual([100, "99"]);
    const coarse = await cifar100({ root, labels: "coarse" });
    expect((await coarse.train.batch([0, 1])).y.data).toEqual(new Int32Array([19, 4]));
    expect(coarse.classes.length).toBe(20);
  });

  it("takes the names of the classes from their file", async () => {
    const names = Array.from({ length: 20 }, (_, i) => `class ${i}`);
    await writeFile(join(root, "coarse_label_names.txt"), `${names.join("\r\n")}\n`);
    expect((await cifar100({ root, labels: "coarse" })).classes).toEqual(names);
    await writeFile(join(root, "coarse_label_names.txt"), "one\n");
    expect(await message(cifar100({ root, labels: "coarse" }))).toContain("coarse_label_names.txt: expected 20 names");
  });

  it("refuses a label of either kind that is too large, and odd options", async () => {
    await write("test.bin", rows(black(20, 1)));
    expect(await message(cifar100({ root }))).toContain("test.bin: expected labels 0 to 19, found 20 at sample 0");
    await expect(cifar100({ root, labels: "both" as never })).rejects.toThrow(
      'labels must be "fine" or "coarse"; found both',
    );
  });
});

const SAMPLE = fileURLToPath(new URL("../../../../shared/data/cifar10-sample", import.meta.url));

describe.skipIf(!existsSync(SAMPLE))(`real images (skipped where ${SAMPLE} is missing)`, () => {
  it("have mean 0 and deviation 1, and as many of each class", async () => {
    const { train, test } = await cifar10({ root: SAMPLE });
    expect([train.length, test.length]).toEqual([10_000, 2000]);
    const counts = new Array<number>(10).fill(0);
    let [sum, squares] = [0, 0];
    for await (const { x, y } of train.loader({ batchSize: 500 })) {
      for (const label of y.data) counts[Number(label)]!++;
      for (const value of x.data as Float32Array) {
        sum += value;
        squares += value * value;
      }
    }
    expect(counts).toEqual(new Array(10).fill(1000));
    // Of a fifth of the images, decoded from JPEG: the usual figures hold to about a hundredth.
    expect(Math.abs(sum / 30_720_000)).toBeLessThan(0.02);
    expect(Math.abs(squares / 30_720_000 - 1)).toBeLessThan(0.02);
  });

  it("resume in the middle of an augmented epoch as if never interrupted", async () => {
    const { test } = await cifar10({ root: SAMPLE });
    const images = test.take(40).transform([randomCrop(32, { padding: 4 }), randomHorizontalFlip()]);
    const loader = () => images.loader({ batchSize: 16, shuffle: true, seed: 3, prefetch: 1 });
    const straight = loader();
    for await (const _ of straight);
    const [first, second] = [await straight.draw(), await straight.draw()];
    const stopped = loader();
    for await (const _ of stopped);
    expect(await stopped.draw()).toEqual(first);
    const resumed = loader();
    resumed.state = stopped.state;
    expect(await resumed.draw()).toEqual(second);
  });
});
