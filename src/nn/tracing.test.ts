import { describe, expect, test } from "vitest";
import { classifier, labelled } from "../../test/support/models.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { Optimizer, SGDUpdater } from "../optim/index.ts";
import { valueAndGrad } from "../summary/index.ts";
import { DataError, GraphError, ShapeError } from "../util/errors.ts";
import { type NDArray, ndarray } from "../util/ndarray.ts";
import { fromFunction, Lambda, Linear, losses, Module, Parameter, Sequential, type Tensor } from "./index.ts";

const engine = new ReferenceEngine();
const real = (shape: readonly number[], ...data: number[]) => ndarray(Float64Array.from(data), shape);
const number = (value: number) => new Parameter(real([], value));
const names = (module: Module) => module.namedParameters().map(([name]) => name);

/** A module of whatever fields, that passes its input on. */
class Holder extends Module {
  constructor(fields: Record<string, unknown>) {
    super();
    Object.assign(this, fields);
  }

  override forward(x: Tensor): Tensor {
    return x;
  }
}

describe("parameters are found", () => {
  test("in arrays, which count as parts: after a module's own ones", () => {
    const module = new Holder({ list: [number(1), number(2)], own: number(3), nested: [[number(4)], [number(5)]] });
    expect(names(module)).toEqual(["own", "list.0", "list.1", "nested.0.0", "nested.1.0"]);
  });

  test("once, under the first name, where parts are shared or refer to each other", () => {
    const shared = new Holder({ w: number(1) });
    const child: Module = new Holder({ w: number(2) });
    const module = new Holder({ a: shared, b: shared, child });
    Object.assign(child, { parent: module });
    expect(names(module)).toEqual(["a.w", "child.w"]);
    module.eval();
    expect(module.modules().map(({ training }) => training)).toEqual([false, false, false]);
    expect(
      module
        .train()
        .modules()
        .every(({ training }) => training),
    ).toBe(true);
  });

  test("in a function that is a part", async () => {
    const scale = fromFunction({ a: real([], 3) }, ({ a }, x) => x!.mul(a));
    const model = new Sequential(scale, new Lambda((x) => x.add(1)));
    expect(names(model)).toEqual(["0.a"]);
    expect([...(await model.predict(real([2], 1, 2), { engine })).data]).toEqual([4, 7]);
  });

  test("and a parameter that no field holds is named as the mistake", async () => {
    const hidden = new Map([["w", number(1)]]);
    const model = new Lambda((x) => x.mul(hidden.get("w")!));
    await expect(model.predict(real([1], 1), { engine })).rejects.toThrow(
      /that the model does not have: make it a field/,
    );
  });

  test("whatever their names: those of inputs and outputs too", async () => {
    const values = { x: real([], 2), y: real([], 3), loss: real([], 5), rates: real([], 7), batchSize: real([], 11) };
    const model = fromFunction(values, (p, x) =>
      x!.mul(p.x).add(p.y).mul(p.loss).add(p.rates).add(p.batchSize.square()).mean(),
    );
    const batch = { x: real([2], 1, 2), y: real([2], 0, 0) };
    const { loss, gradient } = await valueAndGrad(model, (output) => output, batch, { engine });
    expect(loss).toBe(6 * 5 + 7 + 121);
    const slopes = Object.fromEntries(Object.entries(gradient).map(([name, { data }]) => [name, data[0]]));
    expect(slopes).toEqual({ x: 7.5, y: 5, loss: 6, rates: 1, batchSize: 22 });
  });
});

describe("parameters are refused", () => {
  test.each<[string, unknown, RegExp]>([
    ["whose data do not fill their shape", { shape: [3], data: new Float32Array(2) }, /shape \[3\] does not fit its 2/],
    ["of whole numbers", { shape: [1], data: new Int32Array(1) }, /expected real numbers/],
    ["of a plain array", { shape: [1], data: [1] }, /expected \{ shape, data \} with a typed array/],
    ["without a value", undefined, /expected \{ shape, data \}/],
  ])("%s", (_what, value, message) => {
    expect(() => new Parameter(value as NDArray<Float64Array>)).toThrow(message);
  });

  test("in a state whose data do not fill their shape, with nothing changed", async () => {
    const model = new Linear(2, 2);
    const before = await model.stateDict();
    const state = { weight: real([2, 2], 1, 2, 3, 4), bias: { shape: [2], data: new Float32Array(3) } };
    expect(() => model.loadStateDict(state)).toThrow(ShapeError);
    expect(() => model.loadStateDict(state)).toThrow("state: parameter bias: shape [2] does not fit its 3 entries");
    expect(await model.stateDict()).toEqual(before);
  });
});

describe("the value of a traced tensor", () => {
  test.each<[string, (x: Tensor) => unknown]>([
    ["Number(t)", (x) => Number(x)],
    ["t + 1", (x) => (x as unknown as number) + 1],
    ["t > 0", (x) => (x as unknown as number) > 0],
    ["a template", (x) => `${x}`],
    ["String(t)", (x) => String(x)],
  ])("cannot be read: %s", async (_what, read) => {
    const model = new Lambda((x) => x.mul(Number(read(x))));
    const run = model.predict(real([1], 1), { engine });
    await expect(run).rejects.toThrow(/value of a traced tensor was read.* \(at .*tracing\.test\.ts:\d+:\d+/);
    await expect(run).rejects.toThrow(GraphError);
  });

  test("a parameter has none outside of a trace, and the line is named", () => {
    expect(() => number(1).add(1)).toThrow(/only while a model is traced \(at .*tracing\.test\.ts:\d+:\d+/);
    expect(number(1).shape).toEqual([]);
  });
});

test("a promise is refused by summaries and gradients as it is by predict", async () => {
  const model = new Lambda((async (x: Tensor) => x) as never);
  const run = valueAndGrad(model, losses.nll, labelled(2), { engine });
  await expect(run).rejects.toThrow("forward must return a tensor, and return it at once; it returned a promise");
});

test("a loss that is no function and a model that is no module are refused", async () => {
  const { x, y } = labelled(2);
  await expect(valueAndGrad(classifier(), "mse" as never, { x, y }, { engine })).rejects.toThrow(
    "loss: expected a function of an output and a target, found string",
  );
  await expect(valueAndGrad((() => x) as never, losses.nll, { x, y }, { engine })).rejects.toThrow(
    "model: expected a module, found function",
  );
});

describe("predict", () => {
  test("refuses what is no array of a shape", async () => {
    const run = new Linear(2, 1).predict([[1, 2]] as never, { engine });
    await expect(run).rejects.toThrow("predict x: expected { shape, data }");
  });

  test.each<[string, (x: Tensor) => Tensor, RegExp]>([
    ["a number", (x) => x.mean(), /axis of samples in front, and there only; found \[\]/],
    ["no axis of samples", (x) => x.sum([0]), /found \[3\]/],
    ["two samples in one row", (x) => x.flatten(), /found \[3\*batch\]/],
    ["pairs of samples", (x) => x.matmul(x.t()), /found \[batch, batch\]/],
  ])("refuses an output with %s", async (_what, forward, message) => {
    const x = real([2, 3], 1, 2, 3, 4, 5, 6);
    await expect(new Lambda(forward).predict(x, { engine })).rejects.toThrow(message);
  });

  test.each<[string, unknown, object, RegExp]>([
    ["no samples", real([0, 5]), {}, /expected an axis of samples, found shape \[0,5\]/],
    ["a scalar", real([], 1), {}, /expected an axis of samples, found shape \[\]/],
    ["NaN", real([1, 5], 1, 2, Number.NaN, 4, 5), {}, /predict x: entry 2 is NaN in sample 0/],
    ["another width", real([1, 4], 1, 2, 3, 4), {}, /matmul/],
    [
      "entries that do not fill the shape",
      { shape: [2, 5], data: new Float64Array(9) },
      {},
      /\[2, 5\] does not fit its 9/,
    ],
    ["no array", { shape: [1, 5], data: [1, 2, 3, 4, 5] }, {}, /predict x: expected .* typed array/],
    ["batches of none", labelled(2).x, { batchSize: 0 }, /batchSize must be a whole number, 1 or more/],
    ["an unknown option", labelled(2).x, { batch: 1 }, /unknown option "batch"/],
  ])("refuses %s", async (_what, x, options, message) => {
    await expect(classifier().predict(x as NDArray, { engine, ...options })).rejects.toThrow(message);
  });

  test("may be called several times at once", async () => {
    const model = classifier();
    const { x } = labelled(4);
    const runs = await Promise.all([1, 2, 3].map(() => model.predict(x, { engine })));
    for (const found of runs) expect(found).toEqual(runs[0]);
    expect(await model.predict(x, { engine: new ReferenceEngine() })).toEqual(runs[0]);
  });
});

test("a value that is set while the old one is on its way to an engine stays", async () => {
  const model = new Linear(2, 1);
  const state = { weight: real([1, 2], 1, 2), bias: real([1], 3) };
  const run = model.predict(real([1, 2], 1, 1), { engine });
  model.loadStateDict(state);
  await run;
  expect([...(await model.predict(real([1, 2], 1, 1), { engine })).data]).toEqual([6]);
});

test.each<[string, object, RegExp]>([
  ["without targets", { x: labelled(2).x }, /batch y: expected \{ shape, data \}/],
  [
    "of plain arrays",
    { x: { shape: [2, 5], data: new Array(10).fill(0.5) }, y: labelled(2).y },
    /batch x: .*typed array/,
  ],
  ["with a scalar", { x: real([], 1), y: labelled(2).y }, /batch x: expected an axis of samples, found a scalar/],
  ["of no samples", { x: real([0, 5]), y: { shape: [0], data: new Int32Array(0) } }, /at least one sample/],
])("a batch %s is refused", async (_what, batch, message) => {
  const run = valueAndGrad(classifier(), losses.nll, batch as ReturnType<typeof labelled>, { engine });
  await expect(run).rejects.toThrow(message);
  await expect(run).rejects.toThrow(/batch/);
  await expect(run.catch((error) => error)).resolves.toSatisfy(
    (e) => e instanceof DataError || e instanceof ShapeError,
  );
});

describe("an error inside a forward names the module", () => {
  class Block extends Module {
    readonly first = new Linear(2, 3);
    readonly second = new Linear(4, 1);
    override forward(x: Tensor): Tensor {
      return this.second.forward(this.first.forward(x));
    }
  }

  class Direct extends Module {
    override forward(x: Tensor): Tensor {
      return x.reshape(7);
    }
  }

  const fails = async (model: Module): Promise<Error> =>
    model.predict(real([1, 2], 1, 2), { engine }).then(
      () => expect.fail("no error"),
      (error: Error) => error,
    );

  test("once, by its path and class, the innermost one", async () => {
    const error = await fails(new Sequential(new Lambda((x) => x), new Block()));
    expect(error).toBeInstanceOf(ShapeError);
    expect(error.message).toMatch(/^1\.second \(Linear\): matmul: expected [^:]+$/);
    expect(error.cause).toBeInstanceOf(ShapeError);
  });

  test("by its class alone where it is the model itself", async () => {
    expect((await fails(new Direct())).message).toBe("Direct: reshape: [batch, 2] does not fit [7]");
  });

  test("in a loss that contains its model, but not one that the loss itself makes", async () => {
    const block = new Block();
    const create = (loss: (x: Tensor) => Tensor) =>
      Optimizer.create([{ params: [block.first.weight] }], loss, { engine, updater: new SGDUpdater(), lr: 1 });
    const batch = { x: real([1, 2], 1, 2), y: real([1], 0) };
    await expect((await create((x) => block.forward(x).sum())).step(batch)).rejects.toThrow(
      /^second \(Linear\): matmul/,
    );
    await expect((await create((x) => x.reshape(7))).step(batch)).rejects.toThrow(/^reshape/);
  });

  test("not where it is of another kind: what a user throws passes unchanged", async () => {
    const own = new TypeError("mine");
    const model = new Sequential(
      new Lambda(() => {
        throw own;
      }),
    );
    expect(await fails(model)).toBe(own);
    expect((await fails(model)).message).toBe("mine");
  });

  test("and the model is as it was: another input passes", async () => {
    const model = new Linear(2, 1);
    await expect(model.predict(real([1, 3], 1, 2, 3), { engine })).rejects.toThrow(/^Linear: matmul/);
    expect((await model.predict(real([1, 2], 1, 2), { engine })).shape).toEqual([1, 1]);
    expect(Object.keys(model)).toEqual(["weight", "bias"]);
  });
});
