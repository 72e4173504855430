import { describe, expect, test } from "vitest";
import { classifier, labelled } from "../../test/support/models.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { OrtNodeEngine } from "../engine/ort-node.ts";
import { NewtonSummary } from "../optim/index.ts";
import { valueAndGrad } from "../summary/index.ts";
import { GraphError, ShapeError, StateError } from "../util/errors.ts";
import { ndarray } from "../util/ndarray.ts";
import {
  evaluate,
  fromFunction,
  Lambda,
  Linear,
  type Loss,
  losses,
  Module,
  Parameter,
  Sequential,
  type Tensor,
} from "./index.ts";

const engine = new ReferenceEngine();
const value = (...numbers: number[]) => ndarray(Float64Array.from(numbers), [numbers.length]);

class Nested extends Module {
  readonly blocks = [new Linear(2, 2), new Linear(2, 2)];
  readonly head = new Sequential(new Linear(2, 2), new Lambda((x) => x.tanh()), new Linear(2, 1));
  readonly gain = new Parameter(value(1, 2));
  readonly tied = this.gain;

  override forward(x: Tensor): Tensor {
    return this.head.forward(this.blocks.reduce((h, block) => block.forward(h), x.mul(this.gain).mul(this.tied)));
  }
}

describe("names", () => {
  test("are PyTorch's: own parameters first, then parts in order, shared ones once", () => {
    expect(new Nested().namedParameters().map(([name]) => name)).toEqual([
      "gain",
      "blocks.0.weight",
      "blocks.0.bias",
      "blocks.1.weight",
      "blocks.1.bias",
      "head.0.weight",
      "head.0.bias",
      "head.2.weight",
      "head.2.bias",
    ]);
  });

  test("a plain function of parameters is a module", async () => {
    const model = fromFunction({ a: value(2, 3), b: value(1, 1) }, ({ a, b }, x) => x!.mul(a).add(b));
    expect(model.namedParameters().map(([name]) => name)).toEqual(["a", "b"]);
    const { data } = await model.predict(ndarray(Float64Array.of(1, 1, 2, 2), [2, 2]), { engine });
    expect([...data]).toEqual([3, 4, 5, 7]);
  });
});

describe("state", () => {
  test("goes out and in again", async () => {
    const [a, b] = [classifier(1), classifier(2)];
    b.loadStateDict(await a.stateDict());
    expect(await b.stateDict()).toEqual(await a.stateDict());
  });

  test.each([
    ["a missing name", { "layers.0.bias": undefined }, StateError, /layers.0.bias is missing/],
    ["an unknown name", { other: value(1) }, StateError, /unknown name other/],
    ["another shape", { "layers.0.bias": value(1) }, ShapeError, /layers.0.bias: expected shape \[4\], found \[1\]/],
  ])("is refused with %s, and nothing changes", async (_what, change, kind, message) => {
    const model = classifier();
    const before = await model.stateDict();
    const other = { ...(await classifier(2).stateDict()), ...change };
    const state = Object.fromEntries(Object.entries(other).filter(([, array]) => array !== undefined));
    expect(() => model.loadStateDict(state as typeof before)).toThrow(kind);
    expect(() => model.loadStateDict(state as typeof before)).toThrow(message);
    expect(await model.stateDict()).toEqual(before);
  });
});

describe("predict and evaluate", () => {
  test("go through a smaller last part", async () => {
    const model = classifier();
    const { x } = labelled(7);
    const whole = await model.predict(x, { engine });
    expect(whole.shape).toEqual([7, 3]);
    expect(await model.predict(x, { engine, batchSize: 3 })).toEqual(whole);
  });

  test("evaluate weights batches by their samples, and knows accuracy only for labels", async () => {
    const model = classifier();
    const [a, b] = [labelled(5, 1), labelled(2, 2)];
    const parts = await Promise.all([a, b].map((batch) => evaluate(model, losses.nll, [batch], { engine })));
    const both = await evaluate(model, losses.nll, [a, b], { engine });
    expect(both.samples).toBe(7);
    expect(both.loss).toBeCloseTo((5 * parts[0]!.loss + 2 * parts[1]!.loss) / 7, 12);
    expect(both.accuracy).toBeCloseTo((5 * parts[0]!.accuracy! + 2 * parts[1]!.accuracy!) / 7, 12);
    const y = ndarray(new Float64Array(15), [5, 3]);
    expect((await evaluate(model, losses.mse, [{ x: a.x, y }], { engine })).accuracy).toBeUndefined();
    await expect(evaluate(model, losses.nll, [], { engine })).rejects.toThrow(/at least one batch/);
  });
});

describe("accuracy", () => {
  const identity = new Lambda((x) => x);
  const scores = ndarray(Float64Array.of(9, 0, 0, 9, 9, 0, 0, 9), [4, 2]);
  const accuracy = async (loss: Loss, labels: number[], x = scores, shape = [4]) =>
    (await evaluate(identity, loss, [{ x, y: ndarray(Int32Array.from(labels), shape) }], { engine })).accuracy;
  const ignoring =
    (ignoreIndex: number): Loss =>
    (o, t) =>
      losses.crossEntropy(o, t, { ignoreIndex });

  test("leaves out the label that the loss ignores, whether it is a class or not", async () => {
    expect(await accuracy(losses.crossEntropy, [0, 1, 1, 1])).toBe(3 / 4);
    expect(await accuracy(ignoring(-100), [0, 1, 1, -100])).toBe(2 / 3);
    expect(await accuracy(ignoring(1), [0, 1, 0, 1])).toBe(1);
    expect(await accuracy((o) => o.mean(), [0, 5, 1, -1])).toBe(1 / 2);
  });

  test("is not known where no label counts", async () => {
    expect(await accuracy((o) => o.mean(), [-1, -1, -1, -1])).toBeUndefined();
    expect(await accuracy((o) => o.mean(), [0, 1, 0, 1], scores, [4, 1])).toBeUndefined();
  });

  test("counts every place of a sequence", async () => {
    const x = ndarray(scores.data, [2, 2, 2]);
    // Classes lie along the second axis: places (0, 0), (0, 1) and so on have the scores 9 0, 0 9, 9 0, 0 9.
    expect(await accuracy(losses.crossEntropy, [0, 1, 1, 0], x, [2, 2])).toBe(1 / 2);
  });
});

describe("a forward is refused", () => {
  const forwards: [string, (x: Tensor) => unknown, RegExp][] = [
    ["that reads a value", (x) => x.mul(Number(x)), /value of a traced tensor was read.*module\.test\.ts:\d+/],
    ["that joins a tensor to a text", (x) => x.mul(`${x}`.length), /value of a traced tensor was read/],
    ["that is random", (x) => x.mul(Math.random()), /two traces of the model differ/],
    ["that is asynchronous", async (x) => x, /must return a tensor/],
    ["whose output is no tensor", () => 3, /must return a tensor/],
  ];
  test.each(forwards)("%s", async (_what, forward, message) => {
    const model = new Lambda(forward as (x: Tensor) => Tensor);
    await expect(model.predict(labelled(2).x, { engine })).rejects.toThrow(message);
    await expect(model.predict(labelled(2).x, { engine })).rejects.toThrow(GraphError);
  });

  test("that uses a tensor of an earlier trace", async () => {
    let kept: Tensor | undefined;
    const model = new Lambda((x) => {
      kept ??= x;
      return x.add(kept);
    });
    await expect(model.predict(labelled(2).x, { engine })).rejects.toThrow(/outside the trace/);
    expect(() => kept!.tanh()).toThrow(/only while a model is traced|outside the trace/);
  });
});

describe("losses", () => {
  const out = ndarray(Float64Array.of(Math.log(0.5), Math.log(0.5), Math.log(0.25), Math.log(0.75)), [2, 2]);
  const identity = new Lambda((x) => x);
  const of = async (loss: Parameters<typeof evaluate>[1], y: Parameters<typeof ndarray>[0], shape: number[], x = out) =>
    (await evaluate(identity, loss, [{ x, y: ndarray(y, shape) }], { engine })).loss;
  const labels = Int32Array.of(1, 0);

  test("nll, with class weights and an ignored label", async () => {
    expect(await of(losses.nll, labels, [2])).toBeCloseTo(-(Math.log(0.5) + Math.log(0.25)) / 2, 12);
    const weighted = await of((o, y) => losses.nll(o, y, { weight: [3, 1] }), labels, [2]);
    expect(weighted).toBeCloseTo(-(Math.log(0.5) + 3 * Math.log(0.25)) / 4, 12);
    const ignored = await of((o, y) => losses.nll(o, y, { ignoreIndex: -1 }), Int32Array.of(-1, 0), [2]);
    expect(ignored).toBeCloseTo(-Math.log(0.25), 12);
  });

  test("mse, l1, bce and bce with logits", async () => {
    const x = ndarray(Float64Array.of(0.25, 0.5), [2, 1]);
    const y = Float64Array.of(1, 0);
    expect(await of(losses.mse, y, [2, 1], x)).toBeCloseTo((0.75 ** 2 + 0.5 ** 2) / 2, 12);
    expect(await of(losses.l1, y, [2, 1], x)).toBeCloseTo(0.625, 12);
    expect(await of(losses.bce, y, [2, 1], x)).toBeCloseTo(-(Math.log(0.25) + Math.log(0.5)) / 2, 12);
    const sigmoid = (z: number) => 1 / (1 + Math.exp(-z));
    const logits = -(Math.log(sigmoid(0.25)) + Math.log(1 - sigmoid(0.5))) / 2;
    expect(await of(losses.bceWithLogits, y, [2, 1], x)).toBeCloseTo(logits, 12);
    const sure = ndarray(Float64Array.of(0, 1), [2, 1]);
    expect(await of(losses.bce, y, [2, 1], sure)).toBeCloseTo(100, 12);
  });

  test("labels out of range are named with their sample", async () => {
    await expect(of(losses.nll, Int32Array.of(0, 2), [2])).rejects.toThrow(
      /label 2 of sample 1 is out of range, expected 0 to 1/,
    );
    await expect(of(losses.nll, Int32Array.of(-1, 0), [2])).rejects.toThrow(/label -1 of sample 0/);
    await expect(of(losses.nll, Float64Array.of(0, 1), [2])).rejects.toThrow(/whole-number targets/);
    await expect(of(losses.mse, Float64Array.of(0, 1), [2])).rejects.toThrow(/mse: expected real targets/);
  });
});

describe("several users of one model", () => {
  test("looking at it on another engine changes nothing", async () => {
    const [precise, coarse] = [new ReferenceEngine(), new OrtNodeEngine({ threads: 1 })];
    const model = classifier();
    model.loadStateDict(await perturbed(model));
    const before = await model.stateDict();
    await model.predict(labelled(3).x, { engine: precise });
    await model.predict(labelled(3).x, { engine: coarse });
    expect(await model.stateDict()).toEqual(before);
    await coarse.dispose();
  });

  test("take turns on an engine", async () => {
    const shared = new OrtNodeEngine({ threads: 1, precision: "float64" });
    const model = classifier();
    const optimizers = await Promise.all([1, 2].map(() => NewtonSummary.create(model, losses.nll, { engine: shared })));
    for (let i = 0; i < 5; i++) {
      const steps = optimizers.map((optimizer) => optimizer.step(labelled(6, i)));
      const looks = [
        model.predict(labelled(3).x, { engine: shared }),
        evaluate(model, losses.nll, [labelled(4)], { engine: shared }),
      ];
      await Promise.all([...steps, ...looks, valueAndGrad(model, losses.nll, labelled(4), { engine: shared })]);
    }
    await shared.dispose();
  });
});

/** A state that float32 cannot hold. */
async function perturbed(model: Module) {
  const state = Object.entries(await model.stateDict());
  return Object.fromEntries(
    state.map(([name, { shape, data }]) => [name, { shape, data: Float64Array.from(data, (value) => value + 1 / 3) }]),
  );
}
