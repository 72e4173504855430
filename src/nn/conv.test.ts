import { describe, expect, test } from "vitest";
import { ReferenceEngine } from "../engine/index.ts";
import { OptionError, ShapeError } from "../util/errors.ts";
import { type NDArray, ndarray } from "../util/ndarray.ts";
import * as nn from "./index.ts";

const engine = new ReferenceEngine();
const real = (shape: readonly number[], ...data: number[]) => ndarray(Float64Array.from(data), shape);
const counting = (...shape: number[]) => {
  const size = shape.reduce((n, d) => n * d, 1);
  return real(shape, ...Array.from({ length: size }, (_, i) => i + 1));
};
const apply = async (f: (x: nn.Tensor) => nn.Tensor, x: NDArray) => {
  const { shape, data } = await new nn.Lambda(f).predict(x, { engine });
  return { shape, data: Array.from(data as Float64Array, (value) => Math.round(value * 1e9) / 1e9) };
};
const kernel = (shape: readonly number[], ...data: number[]) => nn.constant(real(shape, ...data));

describe("convolutions, by hand", () => {
  test("cross-correlation: the kernel is not turned round", async () => {
    const f = (x: nn.Tensor) => nn.conv1d(x, kernel([1, 1, 2], 1, 10), kernel([1], 0.5));
    expect(await apply(f, counting(1, 1, 3))).toEqual({ shape: [1, 1, 2], data: [21.5, 32.5] });
  });

  test("stride, padding and two channels", async () => {
    const f = (x: nn.Tensor) =>
      nn.conv2d(x, kernel([1, 2, 1, 2], 1, 2, 3, 4), undefined, { stride: [1, 2], padding: [0, 1] });
    // Rows 1 2 and 3 4 of the first channel, 5 6 and 7 8 of the second; windows (0, a), (b, 0).
    const data = [2 * 1 + 4 * 5, 1 * 2 + 3 * 6, 2 * 3 + 4 * 7, 1 * 4 + 3 * 8];
    expect(await apply(f, counting(1, 2, 2, 2))).toEqual({ shape: [1, 1, 2, 2], data });
  });

  test('padding "same" puts the odd zero last', async () => {
    const f = (x: nn.Tensor) => nn.conv1d(x, kernel([1, 1, 2], 1, 10), undefined, { padding: "same" });
    expect(await apply(f, counting(1, 1, 3))).toEqual({ shape: [1, 1, 3], data: [21, 32, 3] });
  });

  test("transposed, with output padding", async () => {
    const options = { stride: 2, padding: 1, outputPadding: 1 };
    const f = (x: nn.Tensor) => nn.convTranspose1d(x, kernel([1, 1, 3], 1, 10, 100), kernel([1], 1000), options);
    // Spread: 1 10 100+2 20 200 0, without the first and the last entry.
    expect(await apply(f, counting(1, 1, 2))).toEqual({ shape: [1, 1, 4], data: [1010, 1102, 1020, 1200] });
  });
});

describe("pooling, by hand", () => {
  const image = real([1, 1, 3, 3], 1, 2, 3, 4, 5, 6, 7, 8, 9);

  test.each<[string, (x: nn.Tensor) => nn.Tensor, number[], number[]]>([
    ["maxima that overlap", (x) => nn.maxPool2d(x, 2, { stride: 1 }), [2, 2], [5, 6, 8, 9]],
    ["maxima with padding", (x) => nn.maxPool2d(x.neg(), 3, { stride: 2, padding: 1 }), [2, 2], [-1, -2, -4, -5]],
    ["means that tile", (x) => nn.avgPool2d(x, [1, 3]), [3, 1], [2, 5, 8]],
    ["means, padding counted", (x) => nn.avgPool2d(x, 2, { padding: 1 }), [2, 2], [1 / 4, 5 / 4, 11 / 4, 28 / 4]],
    [
      "means, padding not counted",
      (x) => nn.avgPool2d(x, 2, { padding: 1, countIncludePad: false }),
      [2, 2],
      [1, 5 / 2, 11 / 2, 7],
    ],
    ["adaptive means that overlap", (x) => nn.adaptiveAvgPool2d(x, 2), [2, 2], [3, 4, 6, 7]],
    ["adaptive means of all", (x) => nn.adaptiveAvgPool2d(x, 1), [1, 1], [5]],
    ["adaptive means of more places", (x) => nn.adaptiveAvgPool2d(x, [1, 4]), [1, 4], [4, 4.5, 5.5, 6]],
    ["adaptive maxima that overlap", (x) => nn.adaptiveMaxPool2d(x, 2), [2, 2], [5, 6, 8, 9]],
    ["adaptive maxima of all", (x) => nn.adaptiveMaxPool2d(x, 1), [1, 1], [9]],
  ])("%s", async (_, f, size, data) => {
    expect(await apply(f, image)).toEqual({ shape: [1, 1, ...size], data: data.map((v) => Math.round(v * 1e9) / 1e9) });
  });
});

describe("what does not fit is refused by name", () => {
  const x = counting(1, 2, 3, 3);
  const w = () => kernel([2, 2, 3, 3], ...new Array(36).fill(1));

  test.each<[string, (x: nn.Tensor) => nn.Tensor, new (message: string) => Error, RegExp]>([
    ["axes", (t) => nn.conv1d(t, w()), ShapeError, /conv1d: expected 3 axes.* found 4 in the input/],
    [
      "a word",
      (t) => nn.conv2d(t, w(), undefined, { padding: "half" as "same" }),
      OptionError,
      /padding must be.*half/,
    ],
    [
      "same with stride",
      (t) => nn.conv2d(t, w(), undefined, { padding: "same", stride: 2 }),
      OptionError,
      /needs stride 1/,
    ],
    [
      "an option",
      (t) => nn.conv2d(t, w(), undefined, { strides: 2 } as object),
      OptionError,
      /conv2d: unknown option "strides"/,
    ],
    ["a stride of 0", (t) => nn.conv2d(t, w(), undefined, { stride: 0 }), OptionError, /conv2d: stride must be/],
    [
      "three strides",
      (t) => nn.conv2d(t, w(), undefined, { stride: [1, 1, 1] }),
      OptionError,
      /expected one whole number or 2/,
    ],
    [
      "output padding",
      (t) => nn.convTranspose2d(t, w(), undefined, { outputPadding: 1 }),
      OptionError,
      /below the stride/,
    ],
    ["too much padding", (t) => nn.convTranspose2d(t, w(), undefined, { padding: 3 }), ShapeError, /leaves nothing of/],
    ["pool padding", (t) => nn.maxPool2d(t, 3, { padding: 2 }), OptionError, /at most half the kernel/],
    ["a pool too large", (t) => nn.avgPool2d(t, 4), ShapeError, /does not fit into \[3,3\]/],
    ["no image", (t) => nn.adaptiveAvgPool2d(t.flatten(1), 1), ShapeError, /adaptiveAvgPool2d: expected \[N, C, …\]/],
  ])("%s", async (_, f, kind, message) => {
    await expect(apply(f, x)).rejects.toThrow(kind);
    await expect(apply(f, x)).rejects.toThrow(message);
  });

  test("groups that do not divide the channels", () => {
    expect(() => new nn.Conv2d(3, 4, 3, { groups: 2 })).toThrow(/Conv2d: 3 channels cannot be divided into 2 groups/);
    expect(() => new nn.ConvTranspose2d(4, 3, 3, { groups: 2 })).toThrow(OptionError);
    expect(() => new nn.Conv2d(3, 4, 0)).toThrow(/Conv2d: kernelSize must be a whole number, 1 or more/);
  });

  test("options that a layer does not have", () => {
    expect(() => new nn.Conv2d(1, 1, 3, { strides: 2 } as never)).toThrow(
      /Conv2d: unknown option "strides"; .*, bias$/,
    );
    expect(() => new nn.Conv1d(1, 1, 3, { outputPadding: 1 } as never)).toThrow(OptionError);
    expect(() => new nn.ConvTranspose1d(1, 1, 3, { outputPadding: 1, stride: 2, bias: false })).not.toThrow();
    expect(() => new nn.Linear(1, 1, { biases: false } as never)).toThrow(/Linear: unknown option "biases"/);
  });

  test("a size that is left out", async () => {
    await expect(apply((t) => new nn.MaxPool2d(undefined as never).forward(t), x)).rejects.toThrow(
      /kernelSize must be a whole number, 1 or more; found undefined/,
    );
  });

  test("a function among modules", () => {
    const layers = [new nn.Flatten(), (t: nn.Tensor) => t.relu()] as unknown as nn.Module[];
    expect(() => new nn.Sequential(...layers)).toThrow(/Sequential: layer 1 must be a module; found function/);
  });
});

test("layers have PyTorch's shapes of weights", () => {
  const shapes = (module: nn.Module) => module.namedParameters().map(([name, { shape }]) => [name, shape]);
  expect(shapes(new nn.Conv2d(4, 6, [3, 2], { groups: 2 }))).toEqual([
    ["weight", [6, 2, 3, 2]],
    ["bias", [6]],
  ]);
  expect(shapes(new nn.ConvTranspose2d(4, 6, 3, { groups: 2, bias: false }))).toEqual([["weight", [4, 3, 3, 3]]]);
  expect(shapes(new nn.Conv1d(4, 6, 5))[0]).toEqual(["weight", [6, 4, 5]]);
});
