import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DataError, OptionError } from "../util/errors.ts";
import { ndarray } from "../util/ndarray.ts";
import { Dataset } from "./dataset.ts";
import type { ImageShape } from "./image.ts";
import { Pipeline } from "./pipeline.ts";
import { arraySamples, imageSamples } from "./samples.ts";
import { centerCrop, normalize, randomCrop, randomHorizontalFlip, resize, type Transform } from "./transforms.ts";

/** Normalises to what the bytes are. */
const bytes = (channels: number): Transform =>
  normalize(new Array<number>(channels).fill(0), new Array<number>(channels).fill(1 / 255));

function through(transforms: readonly Transform[], shape: ImageShape, data: readonly number[], seed = 0): number[] {
  const pipeline = new Pipeline([...transforms, bytes(shape[0])]);
  const [channels, height, width] = pipeline.outputShape(shape, "image");
  const out = new Float32Array(channels * height * width);
  pipeline.write({ shape, data: Uint8Array.from(data) }, seed, out);
  return Array.from(out, Math.round);
}

const counted = (length: number): number[] => Array.from({ length }, (_, i) => i + 1);

describe("each transform", () => {
  it("normalize scales to 0 … 1, subtracts the mean and divides by the deviation, channel by channel", () => {
    const pipeline = new Pipeline([normalize([0.5, 0], [0.25, 2])]);
    const out = new Float32Array(4);
    pipeline.write({ shape: [2, 1, 2], data: Uint8Array.from([0, 255, 0, 255]) }, 0, out);
    expect([...out]).toEqual([-2, 2, 0, 0.5]);
  });

  it("centerCrop takes the middle of every channel", () => {
    expect(through([centerCrop(1)], [2, 3, 3], counted(18))).toEqual([5, 14]);
    expect(through([centerCrop([1, 3])], [1, 3, 3], counted(9))).toEqual([4, 5, 6]);
  });

  it("randomCrop takes every place of the padded image, black around it, and nothing else", () => {
    const places = new Set(
      counted(400).map((seed) => through([randomCrop(2, { padding: 1 })], [1, 2, 2], [1, 2, 3, 4], seed).join()),
    );
    const expected = [
      "0,0,0,1",
      "0,0,1,2",
      "0,0,2,0",
      "0,1,0,3",
      "1,2,3,4",
      "2,0,4,0",
      "0,3,0,0",
      "3,4,0,0",
      "4,0,0,0",
    ];
    expect([...places].sort()).toEqual(expected.sort());
  });

  it("randomHorizontalFlip mirrors each row, as often as told", () => {
    expect(through([randomHorizontalFlip(1)], [2, 1, 3], [1, 2, 3, 4, 5, 6])).toEqual([3, 2, 1, 6, 5, 4]);
    expect(through([randomHorizontalFlip(0)], [1, 1, 3], [1, 2, 3])).toEqual([1, 2, 3]);
    const flips = counted(1000).filter(
      (seed) => through([randomHorizontalFlip(0.25)], [1, 1, 2], [1, 2], seed)[0] === 2,
    );
    expect(flips.length).toBeGreaterThan(200);
    expect(flips.length).toBeLessThan(300);
  });

  it("resize keeps the proportion or takes both sides as told", () => {
    const shape = (size: Parameters<typeof resize>[0], from: ImageShape): ImageShape =>
      new Pipeline([resize(size), bytes(from[0])]).outputShape(from, "image");
    expect(shape(8, [3, 4, 6])).toEqual([3, 8, 12]);
    expect(shape(8, [3, 7, 4])).toEqual([3, 14, 8]);
    expect(shape([5, 9], [3, 7, 4])).toEqual([3, 5, 9]);
  });

  it("resize averages where it shrinks and interpolates where it grows", () => {
    expect(through([resize([1, 1])], [1, 2, 2], [0, 100, 100, 200])).toEqual([100]);
    // The first triangle has weights 0.75, 0.75 and 0.25 on the pixels that it reaches, before they are scaled to 1.
    expect(through([resize([1, 2])], [1, 1, 4], [0, 0, 160, 160])).toEqual([23, 137]);
    expect(through([resize([1, 4])], [1, 1, 2], [0, 100])).toEqual([0, 25, 75, 100]);
  });

  it("resize leaves an image of one colour as it is, and one of its own size too", () => {
    const sides = fc.integer({ min: 1, max: 9 });
    const property = fc.property(sides, sides, sides, sides, fc.nat(255), (h, w, toH, toW, grey) => {
      const flat = new Array<number>(h * w).fill(grey);
      expect(through([resize([toH, toW])], [1, h, w], flat)).toEqual(new Array<number>(toH * toW).fill(grey));
      const image = counted(h * w);
      expect(through([resize([h, w])], [1, h, w], image)).toEqual(image);
    });
    fc.assert(property);
  });

  it("come in the order of the list", () => {
    expect(through([centerCrop([1, 2]), randomHorizontalFlip(1)], [1, 1, 4], [1, 2, 3, 4])).toEqual([3, 2]);
    expect(through([randomHorizontalFlip(1), resize([1, 1])], [1, 1, 2], [0, 100])).toEqual([50]);
  });
});

describe("a data set of images", () => {
  const dataset = Dataset.fromSamples(
    imageSamples(Uint8Array.from(counted(5 * 16)), [5, 1, 4, 4], new Pipeline([bytes(1)])),
    arraySamples(ndarray(new Int32Array([0, 1, 2, 3, 4]), [5])),
  );
  const augmented = dataset.transform([randomCrop(3), randomHorizontalFlip()]);
  const all = [0, 1, 2, 3, 4];

  it("is left as it is by transform, and shares its images with the result", async () => {
    expect(augmented.inputShape).toEqual([1, 3, 3]);
    expect(dataset.inputShape).toEqual([1, 4, 4]);
    expect((await dataset.batch([1])).x.data[0]).toBeCloseTo(17, 4);
    expect((await augmented.slice(1, 3).batch([0])).y.data).toEqual(new Int32Array([1]));
  });

  it("replaces earlier transforms, but for the normalisation", async () => {
    const cropped = augmented.transform([centerCrop(2)]);
    expect(Array.from((await cropped.batch([0])).x.data as Float32Array, Math.round)).toEqual([6, 7, 10, 11]);
    const halved = augmented.transform([normalize([0], [2 / 255])]);
    expect((await halved.batch([0])).x.data[1]).toBeCloseTo(1, 4);
  });

  it("transforms a sample by the seed, the epoch and the sample alone", async () => {
    const once = await augmented.batch(all, { seed: 1, epoch: 2 });
    expect(await augmented.batch(all, { seed: 1, epoch: 2 })).toEqual(once);
    for (const sample of all) {
      const { x } = await augmented.slice(sample, 5).batch([0], { seed: 1, epoch: 2 });
      expect(x.data).toEqual(once.x.data.slice(sample * 9, sample * 9 + 9));
    }
    const others = await Promise.all(
      [0, 1, 2, 3].flatMap((seed) => [0, 1, 2, 3].map((epoch) => augmented.batch(all, { seed, epoch }))),
    );
    expect(new Set(others.map(({ x }) => x.data.join())).size).toBe(16);
  });

  it("is refused transforms that do not fit", () => {
    expect(() => dataset.transform([randomCrop(5)])).toThrow(DataError);
    expect(() => dataset.transform([randomCrop(5)])).toThrow(
      "images: randomCrop: expected an image of at least 5 × 5, found 4 × 4",
    );
    expect(() => dataset.transform([randomCrop(5, { padding: 1 })])).not.toThrow();
    expect(() => dataset.transform([normalize([0, 0], [1, 1])])).toThrow("images: expected 2 channels");
    expect(() => Dataset.fromArrays([1, 2], [0, 1]).transform([])).toThrow(OptionError);
  });
});

describe("options", () => {
  it.each<[() => unknown, string]>([
    [() => resize(0), "resize: size must be a whole number, 1 or more; found 0"],
    [() => resize([2, 3, 4] as never), "resize: size must be a number or [height, width]"],
    [() => centerCrop([2] as never), "centerCrop: size must be a whole number, 1 or more; found undefined"],
    [() => randomCrop(1.5), "randomCrop: size must be a whole number"],
    [() => randomCrop(2, { padding: -1 }), "randomCrop: padding must be a whole number, 0 or more; found -1"],
    [() => randomCrop(2, { pad: 1 } as object), 'randomCrop: unknown option "pad"'],
    [() => randomHorizontalFlip(1.5), "probability must be a number from 0 to 1; found 1.5"],
    [() => normalize([], []), "normalize: mean must be a finite number for each channel"],
    [() => normalize([0], [0]), "normalize: deviation must be a number above 0 for each channel; found [0]"],
    [() => normalize([0, 0], [1]), "normalize: deviation must be a number above 0 for each channel"],
    [() => new Pipeline([normalize([0], [1]), centerCrop(1), normalize([0], [1])]), "normalize must be the last"],
    [() => new Pipeline([{ kind: "rotate" } as never, normalize([0], [1])]), "found rotate, which is no transform"],
    [() => new Pipeline([null as never, normalize([0], [1])]), "found undefined, which is no transform"],
    [() => new Pipeline(centerCrop(1) as never), "transforms must be a list"],
  ])("%s is refused", (act, message) => {
    expect(act).toThrow(OptionError);
    expect(act).toThrow(message);
  });
});
