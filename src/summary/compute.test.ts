import { afterAll, describe, expect, test } from "vitest";
import { CenteredModel, classifier, labelLoss, labelled } from "../../test/support/models.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { OrtNodeEngine } from "../engine/ort-node.ts";
import { Linear, type Loss, losses, Module, type Tensor } from "../nn/index.ts";
import { DataError, NonFiniteError, OptionError, PartitionError, ShapeError } from "../util/errors.ts";
import type { Batch } from "../util/ndarray.ts";
import {
  computeHg,
  computeHgFullbatch,
  type Direction,
  diffN,
  fullbatchGradient,
  partition,
  type Summary,
  valueAndGrad,
} from "./index.ts";

const oracle = new ReferenceEngine();
const double = new OrtNodeEngine({ precision: "float64", threads: 1 });
const single = new OrtNodeEngine({ threads: 1 });
afterAll(() => Promise.all([double.dispose(), single.dispose()]));

function expectClose(actual: Summary, expected: Summary, tolerance: number): void {
  for (const key of ["g", "H", "order3"] as const) {
    const size = Math.max(...expected[key].map(Math.abs));
    for (const [i, value] of actual[key].entries())
      expect(Math.abs(value - expected[key][i]!), `${key}[${i}]`).toBeLessThanOrEqual(tolerance * size);
  }
  expect(actual.loss).toBeCloseTo(expected.loss, 5);
}

const penalised: (model: Module) => Loss = (model) => (output, target) =>
  model
    .parameters()
    .reduce(
      (sum, parameter) => sum.add(parameter.square().sum().mul(0.1)),
      losses.nll(output, target, { weight: [1, 2, 0.5], ignoreIndex: 1 }),
    );

describe("microbatches", () => {
  const model = classifier();
  const batch = labelled(7);
  const cases: [string, Loss][] = [
    ["a mean over the samples", losses.nll],
    ["class weights, an ignored label and a penalty on the weights", penalised(model)],
    ["a sum", (output, target) => losses.nll(output, target).mul(7)],
  ];
  describe.each(cases)("of %s", (_what, loss) => {
    test.each([1, 2, 3, 6, 7, 100])("of %i samples add up to the whole", async (microbatch) => {
      const whole = await computeHg(model, loss, batch, { engine: oracle });
      // Sums in another order: rounding only.
      expectClose(await computeHg(model, loss, batch, { engine: oracle, microbatch }), whole, 1e-12);
      expectClose(await computeHg(model, loss, batch, { engine: double, microbatch }), whole, 1e-12);
      expectClose(await computeHg(model, loss, batch, { engine: single, microbatch }), whole, 1e-4);
    });
  });

  test("are refused where the samples are coupled, with the reason", async () => {
    const centered = new CenteredModel(true);
    const part = computeHg(centered, labelLoss, batch, { engine: oracle, microbatch: 2 });
    await expect(part).rejects.toThrow(/microbatch: this loss cannot be split, since .* mixes the samples/);
    await expect(computeHg(model, losses.nll, batch, { engine: oracle, microbatch: 0 })).rejects.toThrow(OptionError);
  });

  test("stop between two parts", async () => {
    const stop = new AbortController();
    stop.abort(new Error("enough"));
    const run = computeHg(model, losses.nll, batch, { engine: oracle, microbatch: 1, signal: stop.signal });
    await expect(run).rejects.toThrow("enough");
  });
});

test("batch, classes and width may be equal", async () => {
  class Square extends Module {
    readonly layer = new Linear(3, 3);
    override forward(x: Tensor): Tensor {
      return this.layer.forward(x);
    }
  }
  const batch: Batch = {
    x: { shape: [3, 3], data: Float64Array.from({ length: 9 }, (_, i) => Math.sin(i)) },
    y: { shape: [3], data: Int32Array.of(0, 2, 1) },
  };
  const model = new Square();
  const whole = await computeHg(model, labelLoss, batch, { engine: oracle });
  expectClose(await computeHg(model, labelLoss, batch, { engine: oracle, microbatch: 1 }), whole, 1e-12);
});

test("merging groups adds up g and the blocks of H", async () => {
  const model = classifier();
  const batch = labelled(6);
  const fine = await computeHg(model, losses.nll, batch, { engine: oracle });
  const coarse = await computeHg(model, losses.nll, batch, { engine: oracle, partition: partition.trivial(model) });
  expect(coarse.g[0]).toBeCloseTo(
    fine.g.reduce((a, b) => a + b),
    12,
  );
  expect(coarse.H[0]).toBeCloseTo(
    fine.H.reduce((a, b) => a + b),
    12,
  );
});

describe("whole data sets", () => {
  test("weight batches by their share of the samples", async () => {
    const model = classifier();
    const { gradient: direction } = await valueAndGrad(model, losses.nll, labelled(3, 9), { engine: oracle });
    const batches = [labelled(5, 1), labelled(2, 2)];
    const parts = await Promise.all(
      batches.map((batch) => computeHg(model, losses.nll, batch, { engine: oracle, direction })),
    );
    const mean = (key: "g" | "H" | "order3") =>
      parts[0]![key].map((value, i) => (5 * value + 2 * parts[1]![key][i]!) / 7);
    const whole = await computeHgFullbatch(model, losses.nll, batches, { engine: oracle, direction });
    expectClose(whole, { ...whole, g: mean("g"), H: mean("H"), order3: mean("order3") }, 1e-12);
    const full = await fullbatchGradient(model, losses.nll, batches, { engine: oracle });
    const own = await computeHgFullbatch(model, losses.nll, batches, { engine: oracle });
    const bias = full.gradient["layers.1.bias"]!.data;
    expect(own.g[3]).toBeCloseTo(
      Array.from(bias).reduce((sum, value) => sum + value ** 2, 0),
      12,
    );
  });

  test("must not be empty", async () => {
    const model = classifier();
    await expect(fullbatchGradient(model, losses.nll, [], { engine: oracle })).rejects.toThrow(DataError);
    await expect(computeHgFullbatch(model, losses.nll, [], { engine: oracle })).rejects.toThrow(/at least one batch/);
  });
});

describe("groups without effect", () => {
  test.each([
    ["oracle", oracle],
    ["float64", double],
    ["float32", single],
  ])("are told, %s", async (_name, engine) => {
    const model = new CenteredModel(true);
    const summary = await computeHg(model, labelLoss, labelled(40), { engine });
    expect(summary.noEffect).toEqual([1]);
  });
});

describe("bad input", () => {
  const model = classifier();
  const batch = labelled(4);
  const direction = async (change: Record<string, unknown>): Promise<Direction> => {
    const entries = Object.entries({
      ...(await valueAndGrad(model, losses.nll, batch, { engine: oracle })).gradient,
      ...change,
    });
    return Object.fromEntries(entries.filter(([, array]) => array !== undefined)) as Direction;
  };
  const bias = (value: number, length = 4) => ({ shape: [length], data: new Float64Array(length).fill(value) });

  test.each([
    ["misses a name", { "layers.0.bias": undefined }, ShapeError, /direction: layers.0.bias is missing/],
    ["has a name too many", { other: bias(1) }, ShapeError, /direction: other is not a trainable parameter/],
    [
      "has another shape",
      { "layers.0.bias": bias(1, 3) },
      ShapeError,
      /layers.0.bias: expected shape \[4\], found \[3\]/,
    ],
    [
      "is not finite",
      { "layers.0.bias": bias(Number.NaN) },
      NonFiniteError,
      /direction of layers.0.bias: entry 0 is NaN/,
    ],
  ])("a direction that %s", async (_what, change, kind, message) => {
    const run = computeHg(model, losses.nll, batch, { engine: oracle, direction: await direction(change) });
    await expect(run).rejects.toThrow(message);
    await expect(run).rejects.toThrow(kind);
  });

  test("a direction that is not finite leaves nothing on the engine", async () => {
    const bad = await direction({ "layers.1.bias": { shape: [3], data: Float64Array.of(0, 1, Number.NaN) } });
    // The model's own tensors stay.
    await valueAndGrad(model, losses.nll, batch, { engine: double });
    const before = double.tensors.live;
    for (const microbatch of [1, 4]) {
      const run = computeHg(model, losses.nll, batch, { engine: double, direction: bad, microbatch });
      await expect(run).rejects.toThrow(/direction of layers.1.bias: entry 2 is NaN/);
    }
    await expect(diffN(model, losses.nll, batch, { engine: double, direction: bad, order: 1 })).rejects.toThrow(
      /direction of layers.1.bias: entry 2 is NaN/,
    );
    expect(double.tensors.live).toBe(before);
  });

  test("data that are not finite, or of different length", async () => {
    const x = {
      ...batch.x,
      data: Float64Array.from(batch.x.data as Float64Array).fill(Number.POSITIVE_INFINITY, 6, 7),
    };
    await expect(valueAndGrad(model, losses.nll, { x, y: batch.y }, { engine: oracle })).rejects.toThrow(
      /batch x: entry 6 is Infinity in sample 1/,
    );
    const y = labelled(3).y;
    await expect(valueAndGrad(model, losses.nll, { x: batch.x, y }, { engine: oracle })).rejects.toThrow(
      "x has 4 samples, y has 3",
    );
    const narrow = { shape: [4, 4], data: new Float64Array(16) };
    await expect(valueAndGrad(model, losses.nll, { x: narrow, y: batch.y }, { engine: oracle })).rejects.toThrow(
      /matmul/,
    );
  });

  test("a loss that is not a scalar", async () => {
    const rows: Loss = (output) => output.sum([1]);
    await expect(valueAndGrad(model, rows, batch, { engine: oracle })).rejects.toThrow(
      "the loss must be one real number, found float[batch]",
    );
  });

  test("a loss that is not finite", async () => {
    const bad: Loss = (output, target) => losses.nll(output, target).mul(0).log();
    await expect(valueAndGrad(model, bad, batch, { engine: oracle })).rejects.toThrow(NonFiniteError);
  });

  test("options that do not exist", async () => {
    const options = { engine: oracle, microBatch: 3 };
    await expect(computeHg(model, losses.nll, batch, options)).rejects.toThrow(/unknown option "microBatch"/);
  });

  test("partitions that miss, repeat, invent, or are empty", async () => {
    const [weight, ...rest] = model.parameters();
    const foreign = classifier().parameters()[0]!;
    const run = (groups: Module["parameters"] extends () => infer P ? P[] : never) =>
      computeHg(model, losses.nll, batch, { engine: oracle, partition: groups.map((params) => ({ params })) });
    await expect(run([rest])).rejects.toThrow("layers.0.weight is in no group");
    await expect(run([[weight!, weight!], rest])).rejects.toThrow("layers.0.weight is in two places");
    await expect(run([[weight!, foreign], rest])).rejects.toThrow("a parameter that the model lacks");
    await expect(run([[weight!], rest, []])).rejects.toThrow("group 2 is empty");
    await expect(run([rest])).rejects.toThrow(PartitionError);
  });
});
