import { describe, expect, test } from "vitest";
import { ReferenceEngine } from "../engine/index.ts";
import { valueAndGrad } from "../summary/index.ts";
import { DataError, NonFiniteError, OptionError, ShapeError } from "../util/errors.ts";
import { type Batch, type NDArray, ndarray } from "../util/ndarray.ts";
import { type CrossEntropyOptions, fromFunction, type Loss, losses, type Tensor } from "./index.ts";

const engine = new ReferenceEngine();
const real = (shape: readonly number[], ...data: number[]) => ndarray(Float64Array.from(data), shape);
const labels = (shape: readonly number[], ...data: number[]) => ndarray(Int32Array.from(data), shape);

/** The loss of outputs that are parameters, and its gradient in them. */
async function of(loss: Loss, output: NDArray<Float64Array>, y: NDArray): Promise<{ loss: number; slopes: number[] }> {
  const [samples, ...rest] = output.shape;
  // Each sample's input picks its own row.
  const picks = Float64Array.from({ length: samples! ** 2 }, (_, i) => Number(i % (samples! + 1) === 0));
  const model = fromFunction({ output }, (p, x) => x!.matmul(p.output.flatten(1)).reshape(-1, ...rest));
  const batch: Batch = { x: ndarray(picks, [samples!, samples!]), y };
  const { loss: value, gradient } = await valueAndGrad(model, loss, batch, { engine });
  return { loss: value, slopes: [...gradient.output!.data] };
}

function expectClose(actual: readonly number[], expected: readonly number[]): void {
  expect(actual).toHaveLength(expected.length);
  for (const [i, value] of expected.entries()) expect(actual[i]).toBeCloseTo(value, 12);
}

test("nll with weights and an ignored label, on images too", async () => {
  // Two samples, three classes, two places each; place (1, 0) is ignored.
  const output = real([2, 3, 2], ...Array.from({ length: 12 }, (_, i) => -1 - i / 10));
  const loss: Loss = (o, t) => losses.nll(o, t, { weight: [1, 2, 4], ignoreIndex: 9 });
  const found = await of(loss, output, labels([2, 2], 0, 2, 9, 1));
  // Classes 0, 2 and 1 at entries 0, 5 and 9.
  expect(found.loss).toBeCloseTo((1 * 1 + 4 * 1.5 + 2 * 1.9) / 7, 12);
  const slopes = new Array(12).fill(0);
  [slopes[0], slopes[5], slopes[9]] = [-1 / 7, -4 / 7, -2 / 7];
  expectClose(found.slopes, slopes);
});

test("cross-entropy is log-softmax and nll, and its gradient p − y over the samples", async () => {
  const found = await of(losses.crossEntropy, real([2, 2], 0, Math.log(3), 1000, 0), labels([2], 0, 1));
  expect(found.loss).toBeCloseTo((Math.log(4) + 1000) / 2, 10);
  expectClose(found.slopes, [-0.75 / 2, 0.75 / 2, 1 / 2, -1 / 2]);
});

describe("label smoothing", () => {
  // Two samples and the third ignored; classes of weights 1, 2, 4. log p of each class:
  const [a, b] = [
    [1, 2, 3],
    [2, 0, 1],
  ].map((logits) => {
    const total = Math.log(logits.reduce((sum, z) => sum + Math.exp(z), 0));
    return logits.map((z) => z - total);
  }) as [number[], number[]];
  const output = real([3, 3], 1, 2, 3, 2, 0, 1, 5, 6, 7);
  const y = labels([3], 0, 2, 8);
  const smoothed =
    (options: CrossEntropyOptions): Loss =>
    (o, t) =>
      losses.crossEntropy(o, t, options);

  test("alone", async () => {
    const { loss } = await of(smoothed({ labelSmoothing: 0.3 }), real([2, 3], 1, 2, 3, 2, 0, 1), labels([2], 0, 2));
    const each = [0.7 * a[0]! + 0.1 * (a[0]! + a[1]! + a[2]!), 0.7 * b[2]! + 0.1 * (b[0]! + b[1]! + b[2]!)] as const;
    expect(loss).toBeCloseTo(-(each[0] + each[1]) / 2, 14);
  });

  test("with class weights and an ignored label", async () => {
    const options = { labelSmoothing: 0.3, weight: [1, 2, 4], ignoreIndex: 8 };
    const { loss, slopes } = await of(smoothed(options), output, y);
    const each = [
      0.7 * 1 * a[0]! + 0.1 * (1 * a[0]! + 2 * a[1]! + 4 * a[2]!),
      0.7 * 4 * b[2]! + 0.1 * (1 * b[0]! + 2 * b[1]! + 4 * b[2]!),
    ] as const;
    expect(loss).toBeCloseTo(-(each[0] + each[1]) / (1 + 4), 14);
    expect(slopes.slice(6)).toEqual([0, 0, 0]);
  });

  test("of 1 asks for all classes alike, of 0 is none", async () => {
    const some = [real([2, 3], 1, 2, 3, 2, 0, 1), labels([2], 0, 2)] as const;
    const { loss } = await of(smoothed({ labelSmoothing: 1 }), ...some);
    expect(loss).toBeCloseTo(-[...a, ...b].reduce((sum, x) => sum + x, 0) / 6, 14);
    expect(await of(smoothed({ labelSmoothing: 0 }), ...some)).toEqual(await of(losses.crossEntropy, ...some));
  });
});

test("huber and smooth l1 are parabolas near 0", async () => {
  const [output, y] = [real([4, 1], 0.5, 2, -5, 3), real([4, 1], 0, 0, 0, 0)];
  const wide = await of((o, t) => losses.huber(o, t, { delta: 2 }), output, y);
  expect(wide.loss).toBeCloseTo((0.125 + 2 + 2 * (5 - 1) + 2 * (3 - 1)) / 4, 14);
  expectClose(wide.slopes, [0.5 / 4, 2 / 4, -2 / 4, 2 / 4]);
  const byDefault = await of(losses.huber, output, y);
  expect(byDefault.loss).toBeCloseTo((0.125 + 1.5 + 4.5 + 2.5) / 4, 14);
  expect(await of(losses.smoothL1, output, y)).toEqual(byDefault);
  const smooth = await of((o, t) => losses.smoothL1(o, t, { beta: 2 }), output, y);
  expect(smooth.loss).toBeCloseTo(wide.loss / 2, 14);
  const far = await of(losses.huber, real([2, 1], 1e200, -1e200), real([2, 1], 0, 0));
  expect(far.loss).toBe(1e200);
  expectClose(far.slopes, [0.5, -0.5]);
});

test("bce with weights for entries and for what is wanted", async () => {
  const [p, x] = [real([2, 2], 0.5, 0.25, 0.75, 0.5), real([2, 2], 1, -2, 0.5, 3)];
  const y = real([2, 2], 1, 0, 0.5, 1);
  const weight = ndarray(Float64Array.of(1, 3), [2]);
  const logs = (p1: number, target: number): number => -target * Math.log(p1) - (1 - target) * Math.log(1 - p1);
  const plain = await of((o, t) => losses.bce(o, t, { weight }), p, y);
  expect(plain.loss).toBeCloseTo((logs(0.5, 1) + 3 * logs(0.25, 0) + logs(0.75, 0.5) + 3 * logs(0.5, 1)) / 4, 14);
  const sigmoid = (z: number): number => 1 / (1 + Math.exp(-z));
  const weighted = (z: number, target: number, pos: number): number =>
    -pos * target * Math.log(sigmoid(z)) - (1 - target) * Math.log(1 - sigmoid(z));
  const posWeight = ndarray(Float64Array.of(5, 2), [2]);
  const found = await of((o, t) => losses.bceWithLogits(o, t, { posWeight, weight }), x, y);
  const entries = weighted(1, 1, 5) + 3 * weighted(-2, 0, 2) + weighted(0.5, 0.5, 5) + 3 * weighted(3, 1, 2);
  expect(found.loss).toBeCloseTo(entries / 4, 14);
  const far = await of(
    (o, t) => losses.bceWithLogits(o, t, { posWeight: 3 }),
    real([2, 1], 1000, -1000),
    real([2, 1], 0, 1),
  );
  expect(far.loss).toBe((1000 + 3 * 1000) / 2);
});

test("bce holds its logarithms at −100, where they are constant", async () => {
  const found = await of(losses.bce, real([4, 1], 0, 1, 0, 0.25), real([4, 1], 0, 0, 1, 1));
  expect(found.loss).toBeCloseTo((0 + 100 + 100 + Math.log(4)) / 4, 12);
  expectClose(found.slopes, [1 / 4, 0, 0, -4 / 4]);
});

test("bce refuses what is no probability", async () => {
  await expect(of(losses.bce, real([1, 1], 1.5), real([1, 1], 1))).rejects.toThrow(NonFiniteError);
  await expect(of(losses.bce, real([1, 1], -0.5), real([1, 1], 1))).rejects.toThrow("the loss is NaN");
});

test("bce of logits does not overflow", async () => {
  const found = await of(losses.bceWithLogits, real([3, 1], 1000, -1000, 0), real([3, 1], 0, 1, 1));
  expect(found.loss).toBeCloseTo((1000 + 1000 + Math.log(2)) / 3, 10);
  expectClose(found.slopes, [1 / 3, -1 / 3, -0.5 / 3]);
});

test("mse and l1", async () => {
  const [output, y] = [real([2, 2], 1, 2, 3, 4), real([2, 2], 0, 4, 3, 2)];
  expect(await of(losses.mse, output, y)).toEqual({ loss: 9 / 4, slopes: [0.5, -1, 0, 1] });
  expect(await of(losses.l1, output, y)).toEqual({ loss: 5 / 4, slopes: [0.25, -0.25, 0, 0.25] });
});

test("any closure is a loss", async () => {
  const scale = 3;
  const huber: Loss = (o, t) => o.sub(t).square().add(1).sqrt().sub(1).sum().mul(scale);
  const found = await of(huber, real([2, 1], 1, 2), real([2, 1], 1, 2 - Math.sqrt(3)));
  expect(found.loss).toBeCloseTo(3, 12);
  expectClose(found.slopes, [0, (3 * Math.sqrt(3)) / 2]);
});

const scores = real([2, 3], ...new Array(6).fill(-1));

test.each<[string, Loss, NDArray, new (message: string) => Error, RegExp]>([
  ["a label too large", losses.nll, labels([2], 0, 3), DataError, /label 3 of sample 1 .* expected 0 to 2/],
  ["a negative label", losses.crossEntropy, labels([2], -1, 0), DataError, /label -1 of sample 0/],
  ["another label than the ignored one", ignoring(-100), labels([2], -100, -1), DataError, /label -1 of sample 1/],
  ["labels that are real", losses.nll, real([2], 0, 1), ShapeError, /whole-number targets .* found .* float\[batch\]/],
  ["labels with an axis too many", losses.nll, labels([2, 1], 0, 1), ShapeError, /found .* int\[batch, 1\]/],
  ["targets of another shape", losses.mse, real([2, 2], 0, 0, 0, 0), ShapeError, /mse: .* \[batch, 3\], found .*, 2\]/],
  ["whole-number targets", losses.bce, labels([2, 3], 0, 1, 0, 0, 1, 0), ShapeError, /bce: expected real targets/],
  ["weights for other classes", weighted(1, 2), labels([2], 0, 1), OptionError, /weight has 2 entries for 3 classes/],
  ["a negative weight", weighted(1, -2, 1), labels([2], 0, 1), OptionError, /weights must be .* found -2/],
  ["smoothing beyond 1", smoothing(1.5), labels([2], 0, 1), OptionError, /crossEntropy: labelSmoothing .* found 1.5/],
  ["smoothing of nll", smoothedNll, labels([2], 0, 1), OptionError, /nll: unknown option "labelSmoothing"/],
  ["no axis of classes", classless, labels([2], 0, 1), ShapeError, /crossEntropy: expected output .* found \[batch\]/],
  ["a delta of 0", flat, real([2, 3], 0, 0, 0, 0, 0, 0), OptionError, /huber: delta must be .* found 0/],
  [
    "weights of many",
    many,
    real([2, 3], 0, 0, 0, 0, 0, 0),
    ShapeError,
    /bce: weight: .* \[batch, 3\], found .* \[2, batch, 3\]/,
  ],
  ["an unknown option", unknown, labels([2], 0, 1), OptionError, /nll: unknown option "weights"/],
  ["a promise", (async (o: Tensor) => o.sum()) as never, labels([2], 0, 1), Error, /the loss must return .* a promise/],
  ["a number", (() => 3) as never, labels([2], 0, 1), Error, /the loss must return a tensor.* it returned number/],
  ["a row for each sample", (o) => o.sum([1]), labels([2], 0, 1), Error, /one real number, found float\[batch\]/],
  ["a whole number", (_, t) => t.sum(), labels([2], 0, 1), Error, /one real number, found int\[\]/],
])("refused: %s", async (_what, loss, y, kind, message) => {
  const run = of(loss, scores, y);
  await expect(run).rejects.toThrow(message);
  await expect(run).rejects.toThrow(kind);
});

function ignoring(ignoreIndex: number): Loss {
  return (o, t) => losses.nll(o, t, { ignoreIndex });
}

function weighted(...weight: number[]): Loss {
  return (o, t) => losses.nll(o, t, { weight });
}

function smoothing(labelSmoothing: number): Loss {
  return (o, t) => losses.crossEntropy(o, t, { labelSmoothing });
}

function smoothedNll(o: Tensor, t: Tensor): Tensor {
  return losses.nll(o, t, { labelSmoothing: 0.1 } as never);
}

function classless(o: Tensor, t: Tensor): Tensor {
  return losses.crossEntropy(o.sum([1]), t);
}

function flat(o: Tensor, t: Tensor): Tensor {
  return losses.huber(o, t, { delta: 0 });
}

function many(o: Tensor, t: Tensor): Tensor {
  return losses.bce(o, t, { weight: real([2, 1, 1], 1, 1) });
}

function unknown(o: Tensor, t: Tensor): Tensor {
  return losses.nll(o, t, { weights: [1, 1, 1] } as never);
}
