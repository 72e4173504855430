import { expect, test } from "vitest";
import { ReferenceEngine } from "../engine/index.ts";
import * as nn from "../nn/index.ts";
import { OptionError } from "../util/errors.ts";
import { ndarray } from "../util/ndarray.ts";
import { autoencoderMLP, type PerceptronOptions, perceptron } from "./index.ts";

const engine = new ReferenceEngine();

test("has PyTorch's names and shapes, and the deviations asked for", async () => {
  const model = perceptron({ layers: [400, 100, 10], sigmaW: 2, sigmaB: 0.5, seed: 3 });
  const state = await model.stateDict();
  expect(Object.entries(state).map(([name, { shape }]) => [name, shape])).toEqual([
    ["layers.0.weight", [100, 400]],
    ["layers.0.bias", [100]],
    ["layers.1.weight", [10, 100]],
    ["layers.1.bias", [10]],
  ]);
  const deviation = (name: string): number => Math.hypot(...state[name]!.data) / Math.sqrt(state[name]!.data.length);
  // The deviation of n draws is within 4 / √(2n) of the true one.
  expect(Math.abs(deviation("layers.0.weight") / (2 / 20) - 1)).toBeLessThan(4 / Math.sqrt(2 * 40_000));
  expect(Math.abs(deviation("layers.0.bias") / 0.5 - 1)).toBeLessThan(4 / Math.sqrt(2 * 100));
  expect(await perceptron({ layers: [400, 100, 10], sigmaW: 2, sigmaB: 0.5, seed: 3 }).stateDict()).toEqual(state);
});

test("gives log-probabilities, or the last layer's output, of flattened inputs", async () => {
  const x = ndarray(
    Float64Array.from({ length: 8 }, (_, i) => Math.sin(i)),
    [2, 2, 2],
  );
  const { shape, data } = await perceptron({ layers: [4, 3, 3] }).predict(x, { engine });
  expect(shape).toEqual([2, 3]);
  for (const row of [data.slice(0, 3), data.slice(3)])
    expect(Array.from(row as Float64Array, Math.exp).reduce((a, b) => a + b)).toBeCloseTo(1, 12);
  const plain = await perceptron({ layers: [4, 3, 3], classification: false }).predict(x, { engine });
  expect([...plain.data].some((value) => Number(value) > 0)).toBe(true);
});

test("with batchNorm is linear layers, batch normalisation and activations in turn, as is an autoencoder", async () => {
  const model = perceptron({ layers: [3, 4, 2, 3], batchNorm: true, sigmaB: 1, classification: false });
  const state = await model.stateDict();
  expect(Object.keys(state).filter((name) => name.startsWith("norms.1"))).toEqual([
    "norms.1.weight",
    "norms.1.bias",
    "norms.1.running_mean",
    "norms.1.running_var",
    "norms.1.num_batches_tracked",
  ]);
  // In the order in which they work.
  expect(model.namedModules().map(([name]) => name)).toEqual([
    "",
    "layers.0",
    "norms.0",
    "layers.1",
    "norms.1",
    "layers.2",
  ]);
  const [first, second, last] = model.layers;
  const byHand = new nn.Sequential(
    first!,
    model.norms[0]!,
    new nn.Tanh(),
    second!,
    model.norms[1]!,
    new nn.Tanh(),
    last!,
  );
  const x = ndarray(
    Float64Array.from({ length: 15 }, (_, i) => Math.sin(i * i)),
    [5, 3],
  );
  expect(await model.predict(x, { engine })).toEqual(await byHand.predict(x, { engine }));
  const coder = autoencoderMLP({ layers: [3, 4, 2], batchNorm: true });
  const norms = [...coder.norms_enc, ...coder.norms_dec];
  expect(norms.map(({ weight }) => weight!.shape)).toEqual([[4], [4]]);
  const halves = new nn.Sequential(
    ...[coder.layers_enc[0]!, norms[0]!, new nn.Tanh(), coder.layers_enc[1]!],
    ...[coder.layers_dec[0]!, norms[1]!, new nn.Tanh(), coder.layers_dec[1]!, new nn.Sigmoid()],
  );
  expect(await coder.predict(x, { engine })).toEqual(await halves.predict(x, { engine }));
  // Evaluation mode takes single samples.
  expect((await coder.eval().predict({ shape: [1, 3], data: x.data.slice(0, 3) }, { engine })).shape).toEqual([1, 3]);
});

test.each<[object, RegExp]>([
  [{ layers: [3, 2], batchNorm: 1 }, /batchNorm must be true or false/],
  [{ layers: [3] }, /at least 2 widths/],
  [{ layers: 3 }, /at least 2 widths/],
  [{ layers: [3, 0] }, /a width in layers must be a whole number, 1 or more; found 0/],
  [{ layers: [3, 2], activation: "toString" }, /activation must be one of "?identity"?, "?tanh.*toString/],
  [{ layers: [3, 2], sigmaW: -1 }, /sigmaW must be a number of at least 0; found -1/],
  [{ layers: [3, 2], sigmaB: Number.NaN }, /sigmaB must be/],
  [{ layers: [3, 2], classification: 1 }, /classification must be true or false/],
  [{ layers: [3, 2], width: 1 }, /unknown option "width"/],
])("%o is refused", (options, message) => {
  expect(() => perceptron(options as PerceptronOptions)).toThrow(OptionError);
  expect(() => perceptron(options as PerceptronOptions)).toThrow(message);
});
