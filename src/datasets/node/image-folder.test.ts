import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp, { type Sharp } from "sharp";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DataError, DisposedError, OptionError } from "../../util/errors.ts";
import type { Dataset } from "../dataset.ts";
import type { Loader } from "../loader.ts";
import { centerCrop, normalize, randomCrop, randomHorizontalFlip, resize } from "../transforms.ts";
import { type ImageFolder, imageFolder } from "./image-folder.ts";

const asBytes = normalize([0, 0, 0], [1 / 255, 1 / 255, 1 / 255]);

let root: string;
const opened: ImageFolder[] = [];
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "grnewt-images-"));
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map(({ train }) => train.dispose()));
  await rm(root, { recursive: true });
});

async function open(workers = 1): Promise<ImageFolder> {
  const folder = await imageFolder({ root, workers });
  opened.push(folder);
  return folder;
}

/** Writes an image whose pixel i is (i, 2 i, 3 i), or what `change` makes of it. */
async function write(
  name: string,
  width = 4,
  height = 3,
  change: (image: Sharp) => Sharp = (same) => same,
): Promise<void> {
  const path = join(root, name);
  await mkdir(dirname(path), { recursive: true });
  const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => (Math.floor(i / 3) * ((i % 3) + 1)) % 256);
  await change(sharp(data, { raw: { width, height, channels: 3 } })).toFile(path);
}

const values = async (dataset: Dataset, positions: number[] = [0]): Promise<number[]> =>
  Array.from((await dataset.transform([asBytes]).batch(positions)).x.data as Float32Array, Math.round);

async function message(act: Promise<unknown>): Promise<string> {
  const error = await act.catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(DataError);
  return (error as Error).message;
}

describe("a folder of images", () => {
  it("gives each image its class, in the order of the names", async () => {
    for (const name of ["cat/b.png", "cat/a.JPG", "ant/deep/x.jpeg", "dog/1.png"]) await write(name);
    await writeFile(join(root, "cat", "notes.txt"), "no image");
    await writeFile(join(root, "cat", ".hidden.png"), "no image");
    await writeFile(join(root, "readme.md"), "no class");
    await symlink(join(root, "dog"), join(root, "elk"));
    await symlink(join(root, "nowhere"), join(root, "gone"));
    const { train, test, classes } = await open();
    expect(test).toBeUndefined();
    expect(classes).toEqual(["ant", "cat", "dog", "elk"]);
    expect([train.length, train.inputShape]).toEqual([5, [3, 3, 4]]);
    expect((await train.batch([0, 1, 2, 3, 4])).y.data).toEqual(new Int32Array([0, 1, 1, 2, 3]));
  });

  it("is decoded exactly, plane by plane, normalised as is usual for ImageNet", async () => {
    await write("a/x.png");
    const { train } = await open();
    const plane = Array.from({ length: 12 }, (_, i) => i);
    expect(await values(train)).toEqual([...plane, ...plane.map((i) => 2 * i), ...plane.map((i) => 3 * i)]);
    expect((await train.batch([0])).x.data[24]).toBeCloseTo(-0.406 / 0.225, 5);
  });

  it.each<[string, string, (image: Sharp) => Sharp, (rgb: number[]) => number[]]>([
    ["transparency", "x.png", (image) => image.ensureAlpha(0.3), (rgb) => rgb],
    ["a palette", "x.png", (image) => image.png({ palette: true }), (rgb) => rgb],
    ["16 bits", "x.png", (image) => image.toColourspace("rgb16"), (rgb) => rgb],
    ["shades of grey", "x.png", (image) => image.extractChannel(1), (rgb) => [1, 1, 1].map((i) => rgb[i]!)],
    ["CMYK", "x.jpg", (image) => image.toColourspace("cmyk").jpeg({ quality: 100 }), (rgb) => rgb],
    ["JPEG's rounding", "x.jpg", (image) => image.jpeg({ quality: 100, chromaSubsampling: "4:4:4" }), (rgb) => rgb],
  ])("is read with %s too", async (_, name, change, expected) => {
    const flat = (image: Sharp): Sharp => change(image.resize(8, 8).linear([0, 0, 0], [60, 90, 120]));
    await write(`a/${name}`, 4, 3, flat);
    const { train } = await open();
    const found = await values(train);
    expect(found).toHaveLength(3 * 64);
    // CMYK goes through colour profiles; nothing else may be off by more than JPEG's rounding.
    const near = change.toString().includes("cmyk") ? 30 : 2;
    for (const [channel, value] of expected([60, 90, 120]).entries())
      for (const at of [0, 63]) expect(Math.abs(found[channel * 64 + at]! - value)).toBeLessThanOrEqual(near);
  });

  it("has a test part where there are folders train and val, with the same classes", async () => {
    for (const name of ["train/a/1.png", "train/b/1.png", "train/c/1.png", "val/c/1.png"]) await write(name);
    const { train, test, classes } = await open();
    expect([train.length, test!.length, classes]).toEqual([3, 1, ["a", "b", "c"]]);
    expect((await test!.batch([0])).y.data).toEqual(new Int32Array([2]));
    await write("val/d/1.png");
    expect(await message(imageFolder({ root }))).toBe(
      `${join(root, "val", "d")}: found a class that the training images lack`,
    );
  });

  it("has batches that are the same however many threads make them, and in the order asked for", async () => {
    for (let i = 0; i < 12; i++) await write(`a/${String(i).padStart(2, "0")}.png`, 4 + i, 5 + (i % 3));
    const list = [resize(6), randomCrop(4, { padding: 1 }), randomHorizontalFlip()];
    const batches = await Promise.all(
      [1, 3].map(async (workers) => {
        const { train } = await open(workers);
        return await train.transform(list).batch([11, 3, 7, 0], { seed: 5, epoch: 2 });
      }),
    );
    expect(batches[0]!.x.shape).toEqual([4, 3, 4, 4]);
    expect(batches[1]).toEqual(batches[0]);
  });
});

describe("a loader of a folder", () => {
  it("resumes in the middle of an augmented epoch as if never interrupted", async () => {
    for (let i = 0; i < 7; i++) await write(`a/${i}.png`, 6, 6);
    const { train } = await open();
    const images = train.transform([randomCrop(5, { padding: 1 }), randomHorizontalFlip()]);
    const loader = (): Loader => images.loader({ batchSize: 2, shuffle: true, seed: 1 });
    const straight = [];
    for await (const batch of loader()) straight.push(batch);
    const stopped = loader();
    for await (const batch of stopped) {
      expect(batch).toEqual(straight[0]);
      break;
    }
    expect(stopped.state.position).toBe(1);
    const resumed = loader();
    resumed.state = stopped.state;
    const rest = [];
    for await (const batch of resumed) rest.push(batch);
    expect(rest).toEqual(straight.slice(1));
  });

  it("gives large batches without a warning of Node's", async () => {
    for (let i = 0; i < 12; i++) await write(`a/${i}.png`);
    const warnings: Error[] = [];
    const listen = (warning: Error) => warnings.push(warning);
    process.on("warning", listen);
    const { train } = await open();
    for await (const { x } of train.loader({ batchSize: 12 })) expect(x.shape[0]).toBe(12);
    await train.batch([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    process.off("warning", listen);
    expect(warnings).toEqual([]);
  });

  it("has the next batch read before it is asked for, and no more than that", async () => {
    for (let i = 0; i < 3; i++) await write(`a/${i}.png`);
    const { train } = await open();
    expect(train.ahead).toBe(1);
    const batches = train.loader({ batchSize: 1 })[Symbol.asyncIterator]();
    await batches.next();
    await new Promise((resolve) => setTimeout(resolve, 300));
    await rm(join(root, "a"), { recursive: true });
    expect((await batches.next()).done).toBe(false);
    expect(await message(batches.next())).toContain(join(root, "a", "2.png"));
  });
});

describe("what cannot be read", () => {
  it.each<[string, () => Promise<unknown>]>([
    ["text", () => writeFile(join(root, "a", "2.jpg"), "no image")],
    ["nothing", () => writeFile(join(root, "a", "2.jpg"), "")],
    [
      "half an image",
      async () => {
        await write("a/2.jpg", 200, 200);
        await truncate(join(root, "a", "2.jpg"), 700);
      },
    ],
    [
      "another format",
      () =>
        sharp({ create: { width: 4, height: 3, channels: 3, background: "red" } })
          .gif()
          .toFile(join(root, "a", "2.jpg")),
    ],
    ["a broken link", () => symlink(join(root, "nowhere"), join(root, "a", "2.jpg"))],
  ])("%s gives one error that names the file, and the others are read still", async (_, spoil) => {
    for (const name of ["a/1.png", "a/3.png"]) await write(name, 200, 200);
    await spoil();
    const { train } = await open();
    expect(await message(train.batch([0, 1, 2]))).toMatch(/a\/2\.jpg: expected a JPEG or PNG image, found/);
    expect((await train.batch([2, 0])).x.shape).toEqual([2, 3, 200, 200]);
  });

  it("an image of another size, naming it, unless transforms make them one size", async () => {
    await write("a/1.png", 4, 3);
    await write("a/2.png", 6, 5);
    const { train } = await open();
    expect(await message(train.batch([0, 1]))).toBe(
      `${join(root, "a", "2.png")}: expected an image of shape [3,3,4], as the first one's, found [3,5,6]; resize and crop them to one size`,
    );
    expect((await train.transform([resize([4, 4])]).batch([0, 1])).x.shape).toEqual([2, 3, 4, 4]);
    expect(() => train.transform([centerCrop(5)])).toThrow(
      `${join(root, "a", "1.png")}: centerCrop: expected an image of at least 5 × 5, found 3 × 4`,
    );
    await write("a/3.png", 2, 2);
    expect(await message((await open()).train.transform([centerCrop(3)]).batch([1, 2]))).toContain(
      "3.png: centerCrop: expected",
    );
  });

  it("the first image, at once", async () => {
    await mkdir(join(root, "a"));
    await writeFile(join(root, "a", "1.png"), "no image");
    expect(await message(imageFolder({ root }))).toContain(`${join(root, "a", "1.png")}: expected a JPEG or PNG image`);
  });

  it("folders that are missing or hold nothing", async () => {
    expect(await message(imageFolder({ root: join(root, "nowhere") }))).toMatch(
      /nowhere: expected a folder of images, found no such file. Put a folder of JPEG or PNG files for each class into it$/,
    );
    expect(await message(imageFolder({ root }))).toBe(
      `${root}: expected a folder of images for each class, found none`,
    );
    await mkdir(join(root, "a.png"));
    expect(await message(imageFolder({ root }))).toBe(
      `${join(root, "a.png")}: expected JPEG or PNG files of the class, found none`,
    );
    await expect(imageFolder({ root, workers: 0 })).rejects.toThrow(OptionError);
    await expect(imageFolder({ root, size: 1 } as never)).rejects.toThrow('imageFolder: unknown option "size"');
  });
});

describe("threads", () => {
  it("end with dispose, of any part; what is under way is finished, what waits fails, and nothing is read after", async () => {
    for (let i = 0; i < 6; i++) await write(`a/${i}.png`, 50, 50);
    const { train } = await imageFolder({ root, workers: 1 });
    const before = process.getActiveResourcesInfo().length;
    const [first, second] = [train.batch([0]), train.batch([1, 2])];
    const failed = expect(second).rejects.toThrow(DisposedError);
    await train
      .take(2)
      .transform([resize(9)])
      .dispose();
    expect((await first).x.shape).toEqual([1, 3, 50, 50]);
    await failed;
    await expect(train.batch([0])).rejects.toThrow(new DisposedError("this data set was disposed"));
    await train.dispose();
    expect(process.getActiveResourcesInfo().length).toBeLessThanOrEqual(before);
  });

  it("do not keep the process alive, neither idle nor after a loop is broken out of", async () => {
    for (let i = 0; i < 8; i++) await write(`a/${i}.png`, 50, 50);
    const module = fileURLToPath(new URL("./image-folder.ts", import.meta.url));
    const script = join(root, "script.mts");
    await writeFile(
      script,
      `const { imageFolder } = await import(${JSON.stringify(module)});
      const { train } = await imageFolder({ root: ${JSON.stringify(root)}, workers: 2 });
      for await (const batch of train.loader({ batchSize: 2 })) { console.log(batch.x.shape.join()); break; }`,
    );
    const child = spawn(process.execPath, ["--import", import.meta.resolve("tsx"), script]);
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (text) => {
        output += text;
      });
    const status = await new Promise((resolve) => child.on("close", resolve));
    expect([status, output]).toEqual([0, "2,3,50,50\n"]);
  });
});
