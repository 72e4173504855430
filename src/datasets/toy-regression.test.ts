import { describe, expect, it } from "vitest";
import { OptionError, ShapeError } from "../util/errors.ts";
import { ndarray } from "../util/ndarray.ts";
import type { Dataset } from "./dataset.ts";
import { type ToyRegressionOptions, toyRegression } from "./toy-regression.ts";

const whole = (dataset: Dataset) => dataset.batch(Array.from({ length: dataset.length }, (_, i) => i));

describe("toyRegression", () => {
  it("has the sizes asked for", () => {
    const { train, test } = toyRegression({ samples: 11, inputs: 4, outputs: 3, hidden: [5, 6] });
    expect([train.length, test.length]).toEqual([11, 3]);
    expect([train.inputShape, train.targetShape]).toEqual([[4], [3]]);
    expect(toyRegression({ samples: 2, testSamples: 7 }).test.length).toBe(7);
  });

  it("has the teacher's outputs as targets, of training and test", async () => {
    const { train, test, teacher } = toyRegression({ samples: 20, hidden: [8], outputs: 2, seed: 3 });
    for (const part of [train, test]) {
      const { x, y } = await whole(part);
      expect(y.data).toEqual(Float32Array.from(teacher(x).data));
    }
  });

  it("has a teacher that is a perceptron: linear without hidden layers, bounded by tanh with one", () => {
    const value = (hidden: number[], x: number): number =>
      toyRegression({ inputs: 1, hidden, seed: 5 }).teacher(ndarray(new Float64Array([x]), [1, 1])).data[0]!;
    expect(value([], 2) - value([], 1)).toBeCloseTo(value([], 1) - value([], 0), 12);
    expect(value([4], 1e9)).toBeCloseTo(value([4], 2e9), 12);
    expect(value([4], 1) - value([4], 0.5)).not.toBeCloseTo(value([4], 0.5) - value([4], 0), 3);
  });

  it("adds noise of the deviation asked for, and nothing else changes", async () => {
    const exact = await whole(toyRegression({ samples: 4000, seed: 2 }).train);
    const noisy = await whole(toyRegression({ samples: 4000, seed: 2, noise: 0.5 }).train);
    expect(noisy.x).toEqual(exact.x);
    const noise = Array.from(noisy.y.data as Float32Array, (value, i) => value - Number(exact.y.data[i]));
    const mean = noise.reduce((sum, value) => sum + value, 0) / noise.length;
    const variance = noise.reduce((sum, value) => sum + (value - mean) ** 2, 0) / noise.length;
    // Four standard errors, 0.5 / √4000 and 0.25 √(2 / 4000).
    expect(Math.abs(mean)).toBeLessThan(0.032);
    expect(Math.abs(variance - 0.25)).toBeLessThan(0.023);
  });

  it("is the same for the same options, and another for another seed", async () => {
    const of = async (seed: number) => await whole(toyRegression({ samples: 10, noise: 0.1, seed }).train);
    expect(await of(1)).toEqual(await of(1));
    expect(await of(1)).not.toEqual(await of(2));
    const teacher = (samples: number) =>
      toyRegression({ samples, seed: 1 }).teacher(ndarray(new Float32Array(10), [1, 10]));
    expect(teacher(10)).toEqual(teacher(500));
  });

  it.each<[object, string]>([
    [{ sample: 1 }, 'unknown option "sample"'],
    [{ samples: 0 }, "samples must be a whole number, 1 or more; found 0"],
    [{ inputs: 1.5 }, "inputs must be a whole number"],
    [{ hidden: 20 }, "hidden must be a list of widths; found 20"],
    [{ hidden: [0] }, "a width in hidden must be a whole number, 1 or more; found 0"],
    [{ noise: -1 }, "noise must be a number of at least 0; found -1"],
    [{ seed: 0.5 }, "seed must be a whole number"],
  ])("refuses %o", (options, message) => {
    expect(() => toyRegression(options as ToyRegressionOptions)).toThrow(OptionError);
    expect(() => toyRegression(options as ToyRegressionOptions)).toThrow(message);
  });

  it("refuses to teach about inputs of another shape", () => {
    const { teacher } = toyRegression();
    expect(() => teacher(ndarray(new Float32Array(9), [1, 9]))).toThrow(ShapeError);
  });
});
