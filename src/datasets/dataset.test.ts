import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DataError, OptionError } from "../util/errors.ts";
import { type NDArray, ndarray } from "../util/ndarray.ts";
import { Dataset } from "./dataset.ts";
import type { Nested } from "./nested.ts";
import type { Samples } from "./samples.ts";

const numbered = (length: number): Dataset => {
  const ids = Array.from({ length }, (_, i) => i);
  return Dataset.fromArrays(
    ids.map((i) => [i, -i]),
    ids,
  );
};
const labels = async (dataset: Dataset): Promise<number[]> =>
  Array.from((await dataset.batch(Array.from({ length: dataset.length }, (_, i) => i))).y.data, Number);

describe("fromArrays", () => {
  it("reads nested numbers as float32 inputs and int32 labels", async () => {
    const dataset = Dataset.fromArrays([[[1, 2]], [[3, 4]], [[5, 6.5]]], [2, 0, 1]);
    expect(dataset.length).toBe(3);
    expect(dataset.inputShape).toEqual([1, 2]);
    expect(dataset.targetShape).toEqual([]);
    expect(await dataset.batch([2, 0])).toEqual({
      x: { shape: [2, 1, 2], data: new Float32Array([5, 6.5, 1, 2]) },
      y: { shape: [2], data: new Int32Array([1, 2]) },
    });
  });

  it.each<[string, Nested]>([
    ["fractions", [0.5, 1]],
    ["whole numbers beyond int32", [1, 2 ** 31]],
    ["two axes", [[1], [2]]],
  ])("reads targets that are %s as float32", async (_, y) => {
    expect((await Dataset.fromArrays([1, 2], y).batch([0])).y.data).toBeInstanceOf(Float32Array);
  });

  it.each([
    new Float32Array([1, 2, 3, 4]),
    new Float64Array([1, 2, 3, 4]),
    new Int32Array([1, 2, 3, 4]),
    new Uint8Array([1, 2, 3, 4]),
    new BigInt64Array([1n, 2n, 3n, 4n]),
  ])("keeps the dtype of an NDArray (%o) and shares its data", async (data) => {
    const dataset = Dataset.fromArrays(ndarray(data, [2, 2]), [0, 1]);
    expect((await dataset.batch([1])).x).toEqual({ shape: [1, 2], data: data.slice(2) });
    data.copyWithin(2, 0, 1);
    expect((await dataset.batch([1])).x.data[0]).toBe(data[0]);
  });

  it("reads a view into a larger buffer", async () => {
    const data = new Float32Array([9, 1, 2, 9]).subarray(1, 3);
    expect((await Dataset.fromArrays(ndarray(data, [2]), [0, 1]).batch([0, 1])).x.data).toEqual(
      new Float32Array([1, 2]),
    );
  });

  it.each<[string, NDArray | Nested, NDArray | Nested, string]>([
    ["lengths that differ", [1, 2], [1], "x and y must have the same number of samples; x has 2, y has 1"],
    ["no samples", [], [], "x: needs at least one sample; found none"],
    ["empty samples", [[], []], [0, 1], "x: every axis needs at least one entry; found shape [2,0]"],
    ["ragged samples", [[1, 2], [3]], [0, 1], "x: sample 1 is not an array of numbers of shape [2]"],
    ["a deeper sample", [1, [2]], [0, 1], "x: sample 1 is not a number"],
    ["text", [1, 2], ["a" as unknown as number, 1], "y: sample 0 is not a number"],
    // biome-ignore lint/suspicious/noSparseArray: what is tested
    ["a hole", [1, , 3] as Nested, [0, 1, 2], "x: sample 1 is not a number"],
    [
      "NaN",
      [
        [1, 2],
        [3, Number.NaN],
      ],
      [0, 1],
      "x: sample 1 holds NaN",
    ],
    ["infinite targets", [1, 2], [0, Number.POSITIVE_INFINITY], "y: sample 1 holds Infinity"],
    ["float32 overflow", [1e39], [0], "x: sample 0 holds Infinity"],
    ["NaN in an NDArray", ndarray(new Float64Array([0, 0, Number.NaN]), [3, 1]), [0, 1, 2], "x: sample 2 holds NaN"],
    ["a scalar", ndarray(new Float32Array(1), []), [0], "x: needs a first axis"],
    ["a wrong shape", { shape: [2], data: new Float32Array(3) }, [0, 1], "x: shape [2] needs 2 entries; found 3"],
    ["another dtype", { shape: [1], data: new Int16Array(1) as never }, [0], "x: its data must be a typed array of"],
    ["no array", undefined as unknown as Nested, [0], "x: must be an NDArray"],
  ])("refuses %s", (_, x, y, message) => {
    const act = (): Dataset => Dataset.fromArrays(x, y);
    expect(act).toThrow(DataError);
    expect(act).toThrow(message);
  });
});

describe("fromSamples", () => {
  it("refuses samples without any", () => {
    const none: Samples = { length: 0, shape: [], gather: () => ndarray(new Float32Array(0), [0]) };
    expect(() => Dataset.fromSamples(none, none)).toThrow("at least one sample");
  });
});

describe("parts", () => {
  it("takes and slices, also of a part", async () => {
    const dataset = numbered(10);
    expect(await labels(dataset.take(3))).toEqual([0, 1, 2]);
    expect(dataset.take(99).length).toBe(10);
    expect(await labels(dataset.slice(2, 8).slice(1, 4).take(2))).toEqual([3, 4]);
  });

  it("refuses a position outside the part", async () => {
    await expect(numbered(10).take(3).batch([3])).rejects.toThrow("data set of 3 samples has no sample 3");
  });

  it.each([
    () => numbered(3).take(0),
    () => numbered(3).take(1.5),
    () => numbered(3).slice(1, 1),
    () => numbered(3).slice(-1, 2),
    () => numbered(3).slice(0, 4),
    () => numbered(3).split(0),
    () => numbered(3).split(1),
    () => numbered(3).split(Number.NaN),
    () => numbered(3).split([1, 1]),
    () => numbered(3).split([3, 0]),
    () => numbered(3).split([1.5, 1.5]),
    () => numbered(3).split([1, 2], { seed: 0.5 }),
    () => numbered(3).split([1, 2], { sead: 1 } as object),
  ])("refuses %s", (act) => {
    expect(act).toThrow(OptionError);
  });

  it("splits into disjoint parts that have every sample, the same for the same seed", async () => {
    const property = fc.asyncProperty(
      fc.integer({ min: 2, max: 60 }),
      fc.nat(),
      fc.integer(),
      async (length, pick, seed) => {
        const first = 1 + (pick % (length - 1));
        const [a, b] = numbered(length).split([first, length - first], { seed });
        expect([a.length, b.length]).toEqual([first, length - first]);
        expect([...(await labels(a)), ...(await labels(b))].sort((p, q) => p - q)).toEqual(
          await labels(numbered(length)),
        );
        const [again] = numbered(length).split([first, length - first], { seed });
        expect(await labels(again)).toEqual(await labels(a));
      },
    );
    await fc.assert(property);
  });

  it("splits by a share, rounded, and at random", async () => {
    const [train, validation] = numbered(100).split(0.9, { seed: 1 });
    expect([train.length, validation.length]).toEqual([90, 10]);
    expect(await labels(validation)).not.toEqual(await labels(numbered(100).slice(90, 100)));
    expect(await labels(numbered(100).split(0.9, { seed: 2 })[1])).not.toEqual(await labels(validation));
  });
});

it("a fingerprint tells of other samples, targets and sizes, and of nothing else", async () => {
  const made = (change: (x: number[][], y: number[]) => void = () => {}) => {
    const x = Array.from({ length: 70 }, (_, i) => [i, 2 * i]);
    const y = x.map((_, i) => i % 3);
    change(x, y);
    return Dataset.fromArrays(x, y);
  };
  const own = await made().fingerprint();
  expect(own).toMatch(/^[0-9a-f]{16}$/);
  expect(await made().fingerprint()).toBe(own);
  const others = await Promise.all([
    made((x) => x[3]!.reverse()).fingerprint(),
    made((_, y) => y.reverse()).fingerprint(),
    made((...both) => both.forEach((each) => void each.pop())).fingerprint(),
    made().split(0.5)[0].fingerprint(),
  ]);
  expect(new Set([own, ...others]).size).toBe(5);
});
