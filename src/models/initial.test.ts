import { expect, test } from "vitest";
import { Linear, type Module, manualSeed } from "../nn/index.ts";
import { autoencoderMLP, perceptron, resnet18, transformer, vgg } from "./index.ts";

const MODELS: Readonly<Record<string, () => Module>> = {
  perceptron: () => perceptron({ layers: [3, 4, 2] }),
  autoencoder: () => autoencoderMLP({ layers: [3, 4, 2] }),
  vgg: () => vgg({ cfg: [2, "M", 3], fcSizes: [4] }),
  resnet18: () => resnet18({ classes: 3 }),
  transformer: () => transformer({ vocabulary: 5, context: 4, width: 8, heads: 2, layers: 1, tied: false }),
};

test.each(Object.entries(MODELS))("%s draws each weight once, from its own seed", async (_name, make) => {
  manualSeed(1);
  const first = await new Linear(2, 2).stateDict();
  manualSeed(1);
  const model = make();
  expect(await new Linear(2, 2).stateDict()).toEqual(first);
  for (const [name, parameter] of model.namedParameters()) {
    if (parameter.shape.length < 2) continue;
    const { data } = await parameter.variable.read();
    expect(data[0], name).not.toBe(data[1]);
  }
});
