import { describe, expect, test } from "vitest";
import { OptionError, ShapeError } from "../util/errors.ts";
import type { NDArray } from "../util/ndarray.ts";
import { Random } from "../util/random.ts";
import { init } from "./index.ts";

const random = (): Random => new Random(5);
/** 200 × 400 entries: means are then known to 1/280 of a standard deviation, deviations to 1/400. */
const WIDE = [200, 400];

interface Moments {
  readonly mean: number;
  readonly std: number;
  readonly least: number;
  readonly most: number;
}

function moments({ data }: NDArray<Float32Array>): Moments {
  const mean = data.reduce((sum, x) => sum + x, 0) / data.length;
  const std = Math.sqrt(data.reduce((sum, x) => sum + (x - mean) ** 2, 0) / data.length);
  return { mean, std, least: Math.min(...data), most: Math.max(...data) };
}

/** Four deviations of the estimates. */
function expectMoments(array: NDArray<Float32Array>, mean: number, std: number): Moments {
  const found = moments(array);
  expect(Math.abs(found.mean - mean)).toBeLessThan((4 * std) / Math.sqrt(array.data.length));
  expect(Math.abs(found.std / std - 1)).toBeLessThan(4 / Math.sqrt(2 * array.data.length));
  return found;
}

function expectUniform(array: NDArray<Float32Array>, a: number, b: number): void {
  const { least, most } = expectMoments(array, (a + b) / 2, (b - a) / Math.sqrt(12));
  expect(least).toBeGreaterThanOrEqual(Math.fround(a));
  expect(most).toBeLessThanOrEqual(Math.fround(b));
  expect(most - least).toBeGreaterThan(0.999 * (b - a));
}

test("constants, zeros and ones", () => {
  expect(init.constant([1, 2], 3)).toEqual({ shape: [1, 2], data: Float32Array.of(3, 3) });
  expect(init.zeros([2]).data).toEqual(Float32Array.of(0, 0));
  expect(init.ones([2]).data).toEqual(Float32Array.of(1, 1));
});

test("uniform and normal, PyTorch's by default", () => {
  expectUniform(init.uniform(WIDE, { random: random() }), 0, 1);
  expectUniform(init.uniform(WIDE, { a: -3, b: 1, random: random() }), -3, 1);
  expectMoments(init.normal(WIDE, { random: random() }), 0, 1);
  expectMoments(init.normal(WIDE, { mean: 2, std: 0.5, random: random() }), 2, 0.5);
});

test("sparse matrices have as many zeros in each column, at places of their own", () => {
  const { data } = init.sparse([50, 40], { sparsity: 0.21, random: random() });
  const zeros = Array.from({ length: 40 }, (_, j) => [...Array(50).keys()].filter((i) => data[i * 40 + j] === 0));
  expect(zeros.map((rows) => rows.length)).toEqual(Array(40).fill(11));
  expect(new Set(zeros.map(String)).size).toBe(40);
  const others = data.filter((value) => value !== 0);
  expectMoments({ shape: [others.length], data: others }, 0, 0.01);
  expect(() => init.sparse([3], { sparsity: 0.5 })).toThrow(ShapeError);
  expect(() => init.sparse([3, 3], { sparsity: 2 })).toThrow(/sparsity must be a number from 0 to 1; found 2/);
});

test("truncated normal numbers have the moments of that distribution", () => {
  // Cut at ± 1 standard deviation: variance 1 − 2 φ(1) / (2 Φ(1) − 1).
  const variance = 1 - (2 * 0.24197072451914337) / 0.6826894921370859;
  const found = expectMoments(
    init.truncNormal(WIDE, { mean: 1, std: 2, a: -1, b: 3, random: random() }),
    1,
    2 * Math.sqrt(variance),
  );
  expect(found.least).toBeGreaterThanOrEqual(-1);
  expect(found.most).toBeLessThanOrEqual(3);
});

describe("fans", () => {
  test("of a matrix [out, in]", () => {
    const bound = 3 * Math.sqrt(6 / 600);
    expectUniform(init.xavierUniform(WIDE, { gain: 3, random: random() }), -bound, bound);
    expectMoments(init.xavierNormal(WIDE, { random: random() }), 0, Math.sqrt(2 / 600));
    const he = Math.sqrt(6 / 400);
    expectUniform(init.kaimingUniform(WIDE, { random: random() }), -he, he);
    expectMoments(init.kaimingNormal(WIDE, { mode: "fanOut", random: random() }), 0, Math.sqrt(2 / 200));
  });

  test("of a convolution [out, in, kernel…]", () => {
    const shape = [40, 20, 5, 5];
    expectMoments(init.xavierNormal(shape, { random: random() }), 0, Math.sqrt(2 / (25 * 60)));
    const options = { nonlinearity: "leakyRelu", a: Math.sqrt(5), random: random() } as const;
    const bound = 1 / Math.sqrt(20 * 25);
    expectUniform(init.kaimingUniform(shape, options), -bound, bound);
    const relu = { mode: "fanOut", nonlinearity: "relu", random: random() } as const;
    expectMoments(init.kaimingNormal(shape, relu), 0, Math.sqrt(2 / (40 * 25)));
  });
});

test("gains are PyTorch's", () => {
  const found = (["linear", "sigmoid", "tanh", "relu", "selu"] as const).map((name) => init.calculateGain(name));
  expect(found).toEqual([1, 1, 5 / 3, Math.sqrt(2), 0.75]);
  expect(init.calculateGain("leakyRelu")).toBeCloseTo(Math.sqrt(2 / 1.0001), 15);
  expect(init.calculateGain("leakyRelu", 2)).toBeCloseTo(Math.sqrt(2 / 5), 15);
});

describe("orthogonal", () => {
  test.each([[[3, 7]], [[7, 3]], [[4, 4]], [[4, 2, 3]]])("%j", (shape) => {
    const { data } = init.orthogonal(shape, { gain: 2, random: random() });
    const [rows, columns] = [shape[0]!, data.length / shape[0]!];
    const short = Math.min(rows, columns);
    const at = (i: number, k: number): number => data[rows < columns ? i * columns + k : k * columns + i]!;
    for (let i = 0; i < short; i++)
      for (let j = 0; j < short; j++) {
        const dot = Array.from({ length: Math.max(rows, columns) }, (_, k) => at(i, k) * at(j, k));
        expect(dot.reduce((sum, x) => sum + x, 0)).toBeCloseTo(i === j ? 4 : 0, 5);
      }
  });

  test("is as often of either sign", () => {
    const generator = random();
    const signs = Array.from({ length: 400 }, () => Math.sign(init.orthogonal([2, 2], { random: generator }).data[0]!));
    expect(Math.abs(signs.reduce((sum, sign) => sum + sign, 0))).toBeLessThan(80);
  });
});

test("eye and dirac pass their input on", () => {
  expect(init.eye([2, 3])).toEqual({ shape: [2, 3], data: Float32Array.of(1, 0, 0, 0, 1, 0) });
  expect([...init.dirac([3, 2, 3]).data]).toEqual([0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
  const grouped = init.dirac([4, 1, 2, 3], { groups: 2 });
  expect([...grouped.data.keys()].filter((i) => grouped.data[i])).toEqual([4, 16]);
});

test("the same seed gives the same numbers, and manualSeed restarts those without one", () => {
  expect(init.xavierNormal([3, 3], { random: random() })).toEqual(init.xavierNormal([3, 3], { random: random() }));
  const drawn = [1, 2, 1].map((seed) => {
    init.manualSeed(seed);
    return init.orthogonal([3, 3]);
  });
  expect(drawn[0]).toEqual(drawn[2]);
  expect(drawn[0]).not.toEqual(drawn[1]);
});

test.each<[string, () => unknown, new (message: string) => Error, RegExp]>([
  ["an unknown option", () => init.uniform([2], { bound: 1 } as never), OptionError, /uniform: unknown option "bound"/],
  ["a vector", () => init.xavierUniform([3]), ShapeError, /xavierUniform: expected a weight \[out, in/],
  ["an unknown mode", () => init.kaimingNormal([3, 3], { mode: "in" as never }), OptionError, /mode is .* found "in"/],
  ["an unknown function", () => init.calculateGain("gelu" as never), OptionError, /unknown nonlinearity "gelu"/],
  ["bounds far out", () => init.truncNormal([2], { a: 8, b: 9 }), OptionError, /hardly ever lie within \[8, 9\]/],
  ["a vector, orthogonal", () => init.orthogonal([3]), ShapeError, /at least two axes.*\[3\]/],
  [
    "groups that do not divide",
    () => init.dirac([3, 1, 1], { groups: 2 }),
    ShapeError,
    /multiple of 2, found \[3,1,1\]/,
  ],
])("refused: %s", (_what, make, kind, message) => {
  expect(make).toThrow(kind);
  expect(make).toThrow(message);
});
