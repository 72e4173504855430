import { expect, test } from "vitest";
import { sizeOf } from "../util/ndarray.ts";
import { resnet18 } from "./index.ts";

test("has torchvision's number and names of parameters", async () => {
  const model = resnet18({ classes: 1000, stem: "imagenet" });
  expect(model.parameters().reduce((sum, { shape }) => sum + sizeOf(shape), 0)).toBe(11_689_512);
  const names = Object.keys(await model.stateDict());
  expect(names.slice(0, 6)).toEqual([
    "conv1.weight",
    "bn1.weight",
    "bn1.bias",
    "bn1.running_mean",
    "bn1.running_var",
    ...names.slice(5, 6),
  ]);
  expect(names).toContain("layer2.0.downsample.0.weight");
  expect(names).toContain("layer4.1.bn2.bias");
  expect(names.slice(-2)).toEqual(["fc.weight", "fc.bias"]);
});

test("has 62 parameters on small images, and no more without their maxima", () => {
  expect(resnet18().namedParameters()).toHaveLength(62);
  expect(() => resnet18({ stem: "mnist" as "cifar" })).toThrow(/resnet18: stem must be one of/);
});
