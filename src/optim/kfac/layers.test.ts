import { expect, test } from "vitest";
import { activeNodes } from "../../derive/index.ts";
import { BATCH, GraphBuilder, type Shape } from "../../graph/index.ts";
import { conv2d, convTranspose2d, linear, Tensor, traceApart } from "../../nn/index.ts";
import { input } from "../../ops/index.ts";
import { findLayers } from "./layers.ts";

type Parameters = Readonly<Record<string, Tensor>>;

/** The layers of a model as text: the weight, the bias, the side that meets inputs, how often it is used, and its groups. */
function layersOf(shapes: Record<string, readonly number[]>, x: Shape, model: (p: Parameters, x: Tensor) => Tensor) {
  const b = new GraphBuilder();
  return traceApart(b, () => {
    const parameters = new Map(Object.entries(shapes).map(([name, shape]) => [name, input(b, name, shape)]));
    const named = Object.fromEntries([...parameters].map(([name, node]) => [name, new Tensor(node)]));
    const output = model(named, new Tensor(input(b, "x", x))).node;
    const layers = findLayers(activeNodes(output, [...parameters.values()]), parameters);
    return layers.map(
      ({ weight, bias, inputSide, uses, groups }) => `${weight}+${bias ?? "-"} ${inputSide} ${uses.length} ${groups}`,
    );
  });
}

const rows: Shape = [BATCH, 3];
const images: Shape = [BATCH, 4, 5, 5];
const wb = { w: [2, 3], b: [2] };

test.each<[string, Record<string, readonly number[]>, Shape, (p: Parameters, x: Tensor) => Tensor, string[]]>([
  ["a linear layer", wb, rows, (p, x) => linear(x, p.w!, p.b), ["w+b 1 1 1"]],
  ["no bias", { w: [2, 3] }, rows, (p, x) => linear(x, p.w!).tanh(), ["w+- 1 1 1"]],
  ["one output", { w: [1, 3], b: [1] }, rows, (p, x) => linear(x, p.w!, p.b), ["w+b 1 1 1"]],
  ["one input", { w: [2, 1], b: [2] }, [BATCH, 1], (p, x) => linear(x, p.w!, p.b), ["w+b 1 1 1"]],
  ["one number", { w: [1, 1], b: [1] }, [BATCH, 1], (p, x) => linear(x, p.w!, p.b), ["w+b 0 1 1"]],
  ["x W", { w: [3, 2], b: [2] }, rows, (p, x) => p.b!.add(x.matmul(p.w!)), ["w+b 0 1 1"]],
  ["W x", { w: [2, 3], b: [2, 1] }, rows, (p, x) => p.w!.matmul(x.t()).add(p.b!), ["w+b 1 1 1"]],
  ["a sequence", wb, [BATCH, 7, 3], (p, x) => linear(x, p.w!, p.b), ["w+b 1 1 1"]],
  ["a bias between other sums", wb, rows, (p, x) => linear(x, p.w!).add(1).add(p.b!), ["w+- 1 1 1"]],
  ["a bias that is used twice", wb, rows, (p, x) => linear(x, p.w!, p.b).mul(p.b!), ["w+- 1 1 1"]],
  ["a bias for each place", { w: [2, 3], b: [7, 2] }, [BATCH, 7, 3], (p, x) => linear(x, p.w!, p.b), ["w+- 1 1 1"]],
  ["a product that is used twice", wb, rows, (p, x) => linear(x, p.w!, p.b).add(x.matmul(p.w!.t())), ["w+- 1 1 1"]],
  ["a fixed bias", wb, rows, (p, x) => linear(x, p.w!, p.b!.detach()), ["w+- 1 1 1"]],
  [
    "two layers with one bias",
    { w: [2, 3], v: [2, 3], b: [2] },
    rows,
    (p, x) => linear(x, p.w!, p.b).add(linear(x.tanh(), p.v!, p.b)),
    ["w+- 1 1 1", "v+- 1 1 1"],
  ],
  [
    "a layer that is used twice",
    { w: [3, 3], b: [3] },
    rows,
    (p, x) => linear(linear(x, p.w!, p.b).tanh(), p.w!, p.b),
    ["w+b 1 2 1"],
  ],
  ["a weight and its transpose", wb, rows, (p, x) => linear(x, p.w!, p.b).tanh().matmul(p.w!), []],
  ["a product with itself", { w: [3, 3] }, rows, (p, x) => x.matmul(p.w!.matmul(p.w!)), []],
  ["a factor", { w: [3] }, rows, (p, x) => x.mul(p.w!), []],
  ["a weight that is also a factor", { w: [3, 3] }, rows, (p, x) => x.matmul(p.w!).add(p.w!.sum()), []],
  ["part of a weight", { w: [4, 3] }, rows, (p, x) => linear(x, p.w!.slice(0, 0, 2)), []],
  ["rows of the whole batch", { w: [2, 3] }, rows, (p, x) => linear(x.mean([0], true), p.w!), []],
  ["reshaped, not transposed", { w: [2, 3] }, rows, (p, x) => x.matmul(p.w!.reshape(3, 2)), []],
  [
    "convolutions in groups",
    { w: [6, 2, 3, 3], b: [6] },
    images,
    (p, x) => conv2d(x, p.w!, p.b, { groups: 2 }),
    ["w+b 1 1 2"],
  ],
  [
    "a transposed convolution",
    { w: [4, 2, 3, 3], b: [2] },
    images,
    (p, x) => convTranspose2d(x, p.w!, p.b),
    ["w+- 0 1 1"],
  ],
  ["a filtered kernel", { w: [4, 4, 1, 1], v: [4, 4, 1, 1] }, images, (p, x) => conv2d(x, conv2d(p.v!, p.w!)), []],
])("%s", (_what, shapes, x, model, expected) => {
  expect(layersOf(shapes, x, model)).toEqual(expected);
});
