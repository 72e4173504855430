import { describe, expect, test } from "vitest";
import { ReferenceEngine } from "../engine/index.ts";
import { evaluate, losses, type Module } from "../nn/index.ts";
import { NewtonSummary } from "../optim/index.ts";
import { type NDArray, ndarray, sizeOf } from "../util/ndarray.ts";
import { lenet, vgg } from "./index.ts";

const engine = new ReferenceEngine();
const count = (model: Module) => model.parameters().reduce((sum, { shape }) => sum + sizeOf(shape), 0);
const images = (...shape: number[]): NDArray =>
  ndarray(
    Float64Array.from({ length: sizeOf(shape) }, (_, i) => Math.sin(i * i)),
    shape,
  );

describe("VGG", () => {
  // Weights and biases of 3 × 3 convolutions and one linear layer, worked out from table 1 of the paper.
  test.each([["A", 9_220_480 + 5_130]] as const)("%s has the paper's number of parameters", (cfg, parameters) => {
    expect(count(vgg({ cfg }))).toBe(parameters);
  });

  test("names its parameters by places in which activations and pools count", () => {
    const model = vgg({ cfg: [2, "M", 3], fcSizes: [4] });
    const names = model.namedParameters().map(([name]) => name);
    expect(names.filter((name) => name.endsWith("weight"))).toEqual([
      "features.0.weight",
      "features.3.weight",
      "classifier.0.weight",
      "classifier.2.weight",
    ]);
  });

  test("trains with NewtonSummary", async () => {
    const model = vgg({ cfg: [3, "M", 4, "M"], activation: "elu", sigmaW: Math.SQRT2, classes: 3 });
    await expectFalls(model, images(6, 3, 8, 8));
  });
});

describe("with batchNorm", () => {
  const names = (model: Module) => model.namedParameters().map(([name]) => name);

  test("VGG has torchvision's names, LeNet a norm after each layer but the last", () => {
    const model = vgg({ cfg: [2, "M", 3], fcSizes: [4], batchNorm: true });
    expect(names(model).filter((name) => name.endsWith("weight"))).toEqual([
      "features.0.weight",
      "features.1.weight",
      "features.4.weight",
      "features.5.weight",
      "classifier.0.weight",
      "classifier.2.weight",
    ]);
    expect(names(lenet({ batchNorm: true })).filter((name) => name.endsWith("weight"))).toEqual(
      ["conv1", "bn1", "conv2", "bn2", "fc1", "bn3", "fc2", "bn4", "fc3"].map((name) => `${name}.weight`),
    );
    expect(() => lenet({ batchNorm: 1 as never })).toThrow(/lenet: batchNorm must be true or false/);
    expect(() => vgg({ batchNorm: 1 as never })).toThrow(/vgg: batchNorm must be true or false/);
  });

  test.each<[string, () => Module, NDArray]>([
    ["VGG", () => vgg({ cfg: [2, "M", 3], activation: "elu", classes: 3, batchNorm: true }), images(6, 3, 4, 4)],
    ["LeNet", () => lenet({ layers: [1, 2, 3, 8, 6, 3], imageSize: 16, batchNorm: true }), images(6, 1, 16, 16)],
  ])("the loss of %s falls, and its statistics run along", async (_, make, x) => {
    const model = make();
    await expectFalls(model, x);
    const state = await model.stateDict();
    const means = Object.entries(state).filter(([name]) => name.endsWith("running_mean"));
    expect(means.length).toBeGreaterThan(1);
    for (const [, { data }] of means) expect(data.every((mean) => mean !== 0)).toBe(true);
  });
});

describe("LeNet", () => {
  test("trains with NewtonSummary", async () => {
    await expectFalls(lenet({ layers: [1, 2, 3, 12, 8, 3] }), images(6, 1, 28, 28));
  });
});

async function expectFalls(model: Module, x: NDArray): Promise<void> {
  const batch = {
    x,
    y: ndarray(
      Int32Array.from({ length: x.shape[0]! }, (_, i) => i % 3),
      [x.shape[0]!],
    ),
  };
  const loss = async () => (await evaluate(model, losses.nll, [batch], { engine })).loss;
  const before = await loss();
  await using optimizer = await NewtonSummary.create(model, losses.nll, {
    engine,
    damping: 0.1,
    periodHg: 3,
    log: () => undefined,
  });
  for (let step = 0; step < 9; step++) await optimizer.step(batch);
  expect(await loss()).toBeLessThan(before);
}
