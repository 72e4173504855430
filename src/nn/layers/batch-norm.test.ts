import { readFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { ReferenceEngine } from "../../engine/index.ts";
import { OrtNodeEngine } from "../../engine/ort-node.ts";
import { decodeSafetensors, encodeSafetensors } from "../../interop/index.ts";
import { NewtonSummary, Optimizer, SGDUpdater } from "../../optim/index.ts";
import { computeHg, partition, valueAndGrad } from "../../summary/index.ts";
import { DataError, OptionError, ShapeError } from "../../util/errors.ts";
import { type Batch, type NDArray, ndarray } from "../../util/ndarray.ts";
import { Random } from "../../util/random.ts";
import * as nn from "../index.ts";

const engine = new ReferenceEngine();
const double = new OrtNodeEngine({ precision: "float64", threads: 1 });
const single = new OrtNodeEngine({ threads: 1 });
afterAll(() => Promise.all([double.dispose(), single.dispose()]));

const real = (shape: readonly number[], ...data: number[]) => ndarray(Float64Array.from(data), shape);
const numbers = async (module: nn.Module, name: string): Promise<number[]> =>
  Array.from((await module.stateDict())[name]!.data);
const close = (found: readonly number[], expected: readonly number[]) => {
  expect(found).toHaveLength(expected.length);
  for (const [i, value] of expected.entries()) expect(found[i]).toBeCloseTo(value, 10);
};

/** Runs training-mode forwards that count: steps whose gradient is 0. */
async function feed(layer: nn.Module, ...inputs: NDArray[]): Promise<void> {
  const anchor = new nn.Parameter(real([], 1));
  const model = Object.assign(new nn.Lambda((x) => layer.forward(x).sum().mul(0).add(anchor.mul(0))), {
    layer,
    anchor,
  });
  const updater = new SGDUpdater();
  const optimizer = await Optimizer.create(model, (output) => output, { engine, updater, lr: 1 });
  for (const x of inputs) await optimizer.step({ x, y: ndarray(new Int32Array(x.shape[0]!), [x.shape[0]!]) });
}

// PyTorch: running_mean = 0.1 · [3, 30], running_var = 0.9 + 0.1 · [14/3, 1400/3] (unbiased).
const x = real([4, 2], 1, 10, 2, 20, 3, 30, 6, 60);

describe("running statistics are PyTorch's", () => {
  test("after one batch and after two", async () => {
    const layer = new nn.BatchNorm1d(2);
    await feed(layer, x);
    close(await numbers(layer, "running_mean"), [0.3, 3]);
    close(await numbers(layer, "running_var"), [0.9 + 14 / 30, 0.9 + 140 / 3]);
    await feed(layer, x);
    close(await numbers(layer, "running_mean"), [0.57, 5.7]);
    close(await numbers(layer, "running_var"), [0.81 + (0.19 * 14) / 3, 0.81 + (0.19 * 1400) / 3]);
    expect(await numbers(layer, "num_batches_tracked")).toEqual([2]);
  });

  test("with momentum null, the means of all batches", async () => {
    const layer = new nn.BatchNorm1d(2, { momentum: null });
    await feed(layer, x, real([2, 2], 9, 1, 11, 3));
    close(await numbers(layer, "running_mean"), [6.5, 16]);
    close(await numbers(layer, "running_var"), [(14 / 3 + 2) / 2, (1400 / 3 + 2) / 2]);
  });

  test("over places too: [N, C, L] and [N, C, H, W]", async () => {
    const [line, image] = [new nn.BatchNorm1d(1), new nn.BatchNorm2d(1)];
    await feed(line, real([2, 1, 2], 1, 2, 3, 6));
    await feed(image, real([1, 1, 2, 2], 1, 2, 3, 6));
    for (const layer of [line, image]) {
      close(await numbers(layer, "running_mean"), [0.3]);
      close(await numbers(layer, "running_var"), [0.9 + 14 / 30]);
    }
  });

  test("left out: evaluation mode uses the batch's own, and the state has none", async () => {
    const layer = new nn.BatchNorm1d(2, { trackRunningStats: false }).eval();
    expect(Object.keys(await layer.stateDict())).toEqual(["weight", "bias"]);
    const { data } = await layer.predict(x, { engine });
    close(Array.from(data, Number), [...(await layer.train().predict(x, { engine })).data].map(Number));
  });
});

describe("values", () => {
  test("in training mode have mean 0 and the biased variance 1, then weight and bias", async () => {
    const layer = new nn.BatchNorm1d(2, { eps: 0.5 });
    const state = await layer.stateDict();
    layer.loadStateDict({ ...state, weight: real([2], 1, 2), bias: real([2], 0, 3) });
    const { data } = await layer.predict(x, { engine });
    const expected = [1, 2, 3, 6].flatMap((value) => [
      (value - 3) / Math.sqrt(3.5 + 0.5),
      (2 * (10 * value - 30)) / Math.sqrt(350 + 0.5) + 3,
    ]);
    close(Array.from(data, Number), expected);
  });

  test("in evaluation mode come from the running statistics, for one sample as for many", async () => {
    const layer = new nn.BatchNorm2d(2, { affine: false });
    layer.loadStateDict({
      running_mean: real([2], 1, 2),
      running_var: real([2], 4, 9),
      num_batches_tracked: { shape: [], data: BigInt64Array.of(7n) },
    });
    const { data } = await layer.eval().predict(real([1, 2, 1, 2], 3, 5, 8, 2), { engine });
    close(
      Array.from(data, Number),
      [1, 2, 2, 0].map((value, i) => value * Math.sqrt(i < 2 ? 4 / 4.00001 : 9 / 9.00001)),
    );
  });
});

interface Golden {
  readonly params: Record<string, Flat>;
  readonly u: Record<string, Flat>;
  readonly grad: Record<string, Flat>;
  readonly x: Flat;
  readonly y: Flat;
  readonly loss: number;
  readonly partitions: { readonly canonical: { g: number[]; H: number[][]; order3: number[] } };
}
interface Flat {
  readonly shape: number[];
  readonly data: number[];
}

class Net extends nn.Module {
  readonly fc1 = new nn.Linear(6, 5);
  readonly bn1 = new nn.BatchNorm1d(5);
  readonly fc2 = new nn.Linear(5, 3);
  override forward(input: nn.Tensor): nn.Tensor {
    return this.fc2.forward(this.bn1.forward(this.fc1.forward(input)).tanh());
  }
}

const path = new URL("../../../test/golden/data/batchnorm_mlp.json", import.meta.url);
const golden = JSON.parse(readFileSync(path, "utf8")) as Golden;
const floats = ({ shape, data }: Flat) => ndarray(Float64Array.from(data), shape);
const all = (record: Record<string, Flat>) =>
  Object.fromEntries(Object.entries(record).map(([name, array]) => [name, floats(array)]));

async function goldenNet(): Promise<{ model: Net; batch: Batch }> {
  const model = new Net();
  model.loadStateDict({ ...(await model.stateDict()), ...all(golden.params) });
  return { model, batch: { x: floats(golden.x), y: ndarray(Int32Array.from(golden.y.data), golden.y.shape) } };
}

test("all derivatives in training mode are those of the golden file", async () => {
  const { model, batch } = await goldenNet();
  const { loss, gradient } = await valueAndGrad(model, nn.losses.crossEntropy, batch, { engine });
  expect(loss).toBeCloseTo(golden.loss, 12);
  for (const [name, { data }] of Object.entries(golden.grad))
    for (const [i, value] of data.entries()) expect(gradient[name]!.data[i]).toBeCloseTo(value, 12);
  const options = { engine, direction: all(golden.u), partition: partition.canonical(model) };
  const summary = await computeHg(model, nn.losses.crossEntropy, batch, options);
  const { g, H, order3 } = golden.partitions.canonical;
  for (const [s, value] of g.entries()) expect(summary.g[s]).toBeCloseTo(value, 10);
  for (const [i, value] of H.flat().entries()) expect(summary.H[i]).toBeCloseTo(value, 10);
  for (const [s, value] of order3.entries()) expect(summary.order3[s]).toBeCloseTo(value, 9);
  expect(summary.noEffect).toEqual([1]);
});

describe("a state", () => {
  test("has PyTorch's names in PyTorch's order, and loads from a file with a whole-number count", async () => {
    const model = new Net();
    const state = await model.stateDict();
    expect(Object.keys(state)).toEqual([
      "fc1.weight",
      "fc1.bias",
      "bn1.weight",
      "bn1.bias",
      "bn1.running_mean",
      "bn1.running_var",
      "bn1.num_batches_tracked",
      "fc2.weight",
      "fc2.bias",
    ]);
    const count = { shape: [], data: BigInt64Array.of(3n) };
    const file = encodeSafetensors({ ...state, "bn1.num_batches_tracked": count });
    model.loadStateDict(decodeSafetensors(file).tensors);
    expect(await numbers(model, "bn1.num_batches_tracked")).toEqual([3]);
  });
});

describe("a batch with one value for each channel", () => {
  const one = (...shape: number[]): Batch => ({
    x: ndarray(new Float64Array(shape.reduce((a, b) => a * b)), shape),
    y: ndarray(new Int32Array(1), [1]),
  });

  test("is refused in training mode by the layer's name, and nothing changes", async () => {
    const { model } = await goldenNet();
    const optimizer = await NewtonSummary.create(model, nn.losses.crossEntropy, { engine, log: () => {} });
    const before = await model.stateDict();
    const message = "bn1 (BatchNorm1d): batch statistics need more than one value per channel, found a batch of 1";
    await expect(optimizer.step(one(1, 6))).rejects.toThrow(new DataError(message));
    await expect(model.predict(one(1, 6).x, { engine })).rejects.toThrow(message);
    expect(await model.stateDict()).toEqual(before);
    expect((await model.eval().predict(one(1, 6).x, { engine })).shape).toEqual([1, 3]);
  });

  test("is none where there are places", async () => {
    const layer = new nn.BatchNorm2d(2);
    expect((await layer.predict(one(1, 2, 1, 3).x, { engine })).shape).toEqual([1, 2, 1, 3]);
  });
});

test("a model that couples its samples is never split: a microbatch is refused, in evaluation mode it isn't", async () => {
  const { model, batch } = await goldenNet();
  const log: string[] = [];
  const options = { engine, log: (message: string) => log.push(message) };
  const optimizer = await NewtonSummary.create(model, nn.losses.crossEntropy, { ...options, summaryMode: "train" });
  await optimizer.step(batch);
  expect(log).toContainEqual(expect.stringMatching(/^summaries are not split into microbatches: .* mixes the samples/));
  await expect(computeHg(model, nn.losses.crossEntropy, batch, { engine, microbatch: 3 })).rejects.toThrow(OptionError);
  log.length = 0;
  const used = await NewtonSummary.create(model, nn.losses.crossEntropy, {
    ...options,
    summaryMode: "eval",
    microbatch: 3,
  });
  await used.step(batch);
  expect(log.filter((message) => message.includes("microbatch"))).toEqual([]);
});

test.each([
  ["float64", double, 1e-10],
  ["float32", single, 2e-4],
] as const)("trains on ONNX Runtime in %s as on the oracle", async (_name, on, tolerance) => {
  const run = async (each: typeof engine | typeof on) => {
    const { model } = await goldenNet();
    const random = new Random(5);
    const optimizer = await NewtonSummary.create(model, nn.losses.crossEntropy, {
      engine: each,
      periodHg: 3,
      damping: 0.1,
      log: () => {},
    });
    for (let step = 0; step < 6; step++)
      await optimizer.step({
        x: ndarray(
          Float64Array.from({ length: 60 }, () => random.normal()),
          [10, 6],
        ),
        y: ndarray(
          Int32Array.from({ length: 10 }, () => random.below(3)),
          [10],
        ),
      });
    return await model.stateDict();
  };
  const [expected, found] = [await run(engine), await run(on)];
  for (const [name, { data }] of Object.entries(expected))
    for (const [i, value] of data.entries())
      expect(Math.abs(found[name]!.data[i]! - value), `${name} ${i}`).toBeLessThan(tolerance * (1 + Math.abs(value)));
});

test("what does not fit is refused", async () => {
  expect(() => new nn.BatchNorm1d(0)).toThrow("BatchNorm: numFeatures must be a whole number, 1 or more; found 0");
  expect(() => new nn.BatchNorm2d(2, { momentum: 2 })).toThrow(
    "BatchNorm: momentum must be null or from 0 to 1; found 2",
  );
  expect(() => new nn.BatchNorm2d(2, { track: true } as object)).toThrow(/unknown option "track"/);
  const of = (layer: nn.Module, ...shape: number[]) =>
    layer.predict(ndarray(new Float64Array(shape.reduce((a, b) => a * b)), shape), { engine });
  const error = new ShapeError("BatchNorm1d: expected [N, C] or [N, C, L] with C = 3, found [batch, 2]");
  await expect(of(new nn.BatchNorm1d(3), 4, 2)).rejects.toThrow(error);
  await expect(of(new nn.BatchNorm2d(3), 4, 3, 2)).rejects.toThrow(/expected \[N, C, H, W\] with C = 3/);
});
