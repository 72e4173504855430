import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { CenteredModel, classifier, labelLoss, labelled } from "../../test/support/models.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { OrtNodeEngine } from "../engine/ort-node.ts";
import * as models from "../models/index.ts";
import { fromFunction, type Loss, losses, type Module } from "../nn/index.ts";
import { DataError, NonFiniteError, OptionError } from "../util/errors.ts";
import type { Batch, NDArray } from "../util/ndarray.ts";
import { Random } from "../util/random.ts";
import { computeHg, computeHgFullbatch, diffN, diffNFullbatch, partition, valueAndGrad } from "./index.ts";

const oracle = new ReferenceEngine();
const double = new OrtNodeEngine({ precision: "float64", threads: 1 });
afterAll(() => double.dispose());

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string): void {
  const size = Math.max(...Array.from(expected, Math.abs));
  expect(actual.length, what).toBe(expected.length);
  for (let i = 0; i < expected.length; i++)
    expect(Math.abs(actual[i]! - expected[i]!), `${what}[${i}]`).toBeLessThanOrEqual(tolerance * size);
}

function expectSame(actual: readonly NDArray[], expected: readonly NDArray[], tolerance: number): void {
  expect(actual.map(({ shape }) => shape)).toEqual(expected.map(({ shape }) => shape));
  for (const [k, { data }] of actual.entries())
    expectClose(data as Float64Array, expected[k]!.data as Float64Array, tolerance, `order ${k}`);
}

function images(samples: number, channels: number, size: number): Batch {
  const random = new Random(3);
  const count = samples * channels * size * size;
  return {
    x: { shape: [samples, channels, size, size], data: Float64Array.from({ length: count }, () => random.normal()) },
    y: { shape: [samples], data: Int32Array.from({ length: samples }, () => random.below(3)) },
  };
}

const tokens: Batch = {
  x: { shape: [2, 3], data: Int32Array.of(1, 0, 4, 2, 2, 3) },
  y: { shape: [2, 3], data: Int32Array.of(0, 4, 1, 2, 3, 0) },
};

describe("orders 0 to 3 are those of computeHg", () => {
  const cases: [string, () => Module, Loss, Batch][] = [
    ["perceptron", () => classifier(), losses.nll, labelled(6)],
    ["coupled samples", () => new CenteredModel(false), labelLoss, labelled(4)],
    [
      "LeNet with batch norm",
      () => models.lenet({ layers: [1, 2, 3, 8, 6, 3], imageSize: 16, batchNorm: true }),
      losses.nll,
      images(3, 1, 16),
    ],
    [
      "transformer",
      () => models.transformer({ vocabulary: 5, context: 3, width: 4, heads: 2, layers: 1, seed: 1 }),
      losses.crossEntropy,
      tokens,
    ],
  ];
  test.each(cases)("%s", { timeout: 60_000 }, async (_, make, loss, batch) => {
    const model = make();
    const options = { engine: double, partition: partition.trivial(model) };
    for (const each of [options, { engine: double }]) {
      const { loss: value, g, H, order3 } = await computeHg(model, loss, batch, each);
      const tensors = await diffN(model, loss, batch, { ...each, order: 3 });
      const S = g.length;
      expect(tensors.map(({ shape }) => shape)).toEqual([[], [S], [S, S], [S, S, S]]);
      expectClose(tensors[0]!.data, [value], 1e-12, "loss");
      expectClose(tensors[1]!.data, g, 1e-11, "g");
      expectClose(tensors[2]!.data, H, 1e-11, "H");
      expectClose(diagonalOf(tensors[3]!), order3, 1e-9, "order3");
    }
  });
});

const partitions = fc.constantFrom(partition.canonical, partition.trivial, partition.wb, partition.modules);
/** S × S × S numbers to those with three equal indices. */
const diagonalOf = (tensor: NDArray<Float64Array>): Float64Array => {
  const S = tensor.shape[0]!;
  return tensor.data.filter((_, place) => place % (S * S + S + 1) === 0);
};

test("orders 0 to 3 over batches of any size are those of computeHgFullbatch", async () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 4 });
  const property = fc.asyncProperty(
    sizes,
    fc.nat(1000),
    partitions,
    fc.boolean(),
    async (lengths, seed, cut, given) => {
      const model = classifier(seed + 1);
      const batches = lengths.map((samples, i) => labelled(samples, seed + i + 1));
      const { gradient } = await valueAndGrad(model, losses.nll, labelled(5, seed), { engine: oracle });
      const options = { engine: oracle, partition: cut(model), ...(given && { direction: gradient }) };
      const { loss, g, H, order3 } = await computeHgFullbatch(model, losses.nll, batches, options);
      const tensors = await diffNFullbatch(model, losses.nll, batches, { ...options, order: 3 });
      expectClose(tensors[0]!.data, [loss], 1e-12, "loss");
      expectClose(tensors[1]!.data, g, 1e-11, "g");
      expectClose(tensors[2]!.data, H, 1e-11, "H");
      // Of terms that cancel: rounding of the largest.
      expectClose(diagonalOf(tensors[3]!), order3, 1e-9, "order3");
    },
  );
  await fc.assert(property, { numRuns: 12 });
});

test("tensors are symmetric, and merging groups adds up all their entries", async () => {
  const model = classifier();
  const options = { engine: oracle, order: 4 };
  const [, , , third, fourth] = await diffN(model, losses.nll, labelled(5), options);
  const at = (...index: number[]): number => fourth!.data[index.reduce((place, s) => place * 4 + s, 0)]!;
  expect(new Set([at(0, 1, 2, 3), at(3, 1, 0, 2), at(2, 3, 1, 0)]).size).toBe(1);
  expect(new Set([at(1, 1, 0, 2), at(0, 1, 2, 1)]).size).toBe(1);
  const merged = await diffN(model, losses.nll, labelled(5), { ...options, partition: partition.trivial(model) });
  for (const [k, tensor] of [third, fourth].entries())
    expect(merged[k + 3]!.data[0]).toBeCloseTo(
      tensor!.data.reduce((sum, value) => sum + value),
      9,
    );
});

test.each([1, 2, 3, 7])("microbatches of %i samples add up to the whole", async (microbatch) => {
  const model = classifier();
  const loss: Loss = (output, target) =>
    losses.nll(output, target, { weight: [1, 2, 0.5] }).add(model.parameters()[0]!.square().sum().mul(0.1));
  const options = { engine: double, order: 3 };
  const whole = await diffN(model, loss, labelled(7), options);
  expectSame(await diffN(model, loss, labelled(7), { ...options, microbatch }), whole, 1e-12);
});

test("a whole data set weights batches by their share of the samples", async () => {
  const model = classifier();
  const { gradient: direction } = await valueAndGrad(model, losses.nll, labelled(3, 9), { engine: oracle });
  const options = { engine: oracle, order: 3, direction };
  const batches = [labelled(5, 1), labelled(2, 2)];
  const parts = await Promise.all(batches.map((batch) => diffN(model, losses.nll, batch, options)));
  const mean = parts[0]!.map(({ shape, data }, k) => ({
    shape,
    data: data.map((value, i) => (5 * value + 2 * parts[1]![k]!.data[i]!) / 7),
  }));
  expectSame(await diffNFullbatch(model, losses.nll, batches, options), mean, 1e-12);
  // Along the full gradient, order 1 adds up to its squared norm.
  const [, g] = await diffNFullbatch(model, losses.nll, batches, { engine: oracle, order: 1 });
  expect(g!.data.every((value) => value > 0)).toBe(true);
  await expect(diffNFullbatch(model, losses.nll, [], options)).rejects.toThrow(DataError);
});

test("a model without inputs, to any order: x⁴ at 2", async () => {
  const x = { shape: [], data: Float64Array.of(2) };
  const model = fromFunction({ x }, (p) => p.x!.square().square());
  const direction = { x: { shape: [], data: Float64Array.of(1) } };
  const tensors = await diffN(model, (output) => output, undefined, { engine: oracle, order: 10, direction });
  expect(tensors.map(({ data }) => data[0])).toEqual([16, 32, 48, 48, 24, 0, 0, 0, 0, 0, 0]);
});

describe("refuses", () => {
  const model = classifier();
  const direction = Object.fromEntries(
    model.namedParameters().map(([name, { shape }]) => {
      const data = new Float64Array(shape.reduce((size, dim) => size * dim, 1)).fill(1);
      return [name, { shape, data }];
    }),
  );

  test.each([
    [{ order: 0 }, /order must be a whole number, 1 or more; found 0/],
    [{ order: 2.5 }, /order must be a whole number, 1 or more; found 2.5/],
    [{} as { order: number }, /order must be a whole number, 1 or more; found undefined/],
    [{ order: 2, rank: 1 }, /diffN: unknown option "rank"/],
    [{ order: 2, microbatch: 0 }, /microbatch must be a whole number, 1 or more/],
    [{ order: 11 }, /order 11 of 4 groups takes \d\.\d+e\+\d products for each operation, at most 262144 fit/],
  ])("%j", async (options, message) => {
    const run = diffN(model, losses.nll, labelled(3), { engine: oracle, ...options });
    await expect(run).rejects.toThrow(OptionError);
    await expect(run).rejects.toThrow(message);
  });

  test("values that do not fit, before anything is compiled", async () => {
    const engine = new ReferenceEngine();
    const coupled = new CenteredModel(true);
    const named = coupled.namedParameters().map(([name, { shape }]) => {
      const data = new Float64Array(shape.reduce((size, dim) => size * dim, 1)).fill(1);
      return [name, { shape, data }] as const;
    });
    const run = diffN(coupled, labelLoss, labelled(2 ** 17), {
      engine,
      order: 8,
      direction: Object.fromEntries(named),
    });
    await expect(run).rejects.toThrow(
      /order 8 of 4 groups keeps \d\.\d+e\+\d+ numbers at one time, at most 1073741824/,
    );
    const withoutDirection = diffN(coupled, labelLoss, labelled(2 ** 17), { engine, order: 8 });
    await expect(withoutDirection).rejects.toThrow(/order 8 of 4 groups keeps/);
    expect(engine.sessions.compiled).toBe(0);
    const split = diffN(coupled, labelLoss, labelled(4), { engine, order: 2, microbatch: 2 });
    await expect(split).rejects.toThrow(/microbatch: this loss cannot be split, since/);
  });

  test("what is not finite, by order and groups", async () => {
    const loss: Loss = (output, target) => losses.nll(output, target).mul(1e200);
    const large = Object.fromEntries(
      Object.entries(direction).map(([name, { shape, data }]) => [name, { shape, data: data.map(() => 1e60) }]),
    );
    const run = diffN(model, loss, labelled(3), { engine: oracle, order: 2, direction: large });
    await expect(run).rejects.toThrow(NonFiniteError);
    await expect(run).rejects.toThrow(/derivative of order 2 is .* along layers\./);
  });
});
