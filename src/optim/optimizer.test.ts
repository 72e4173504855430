import { afterAll, describe, expect, test, vi } from "vitest";
import { classifier, labelled } from "../../test/support/models.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { OrtNodeEngine } from "../engine/ort-node.ts";
import { fromFunction, Linear, losses, type Module, Sequential, Tanh } from "../nn/index.ts";
import { productFlops } from "../ops/index.ts";
import { partition, valueAndGrad } from "../summary/index.ts";
import { DataError, NonFiniteError, ShapeError, StateError } from "../util/errors.ts";
import { ndarray } from "../util/ndarray.ts";
import {
  AdamUpdater,
  LBFGS,
  NewtonSummary,
  Optimizer,
  type OptimizerOptions,
  SGDUpdater,
  type StepResult,
  type TrainingOptimizer,
} from "./index.ts";

const engine = new ReferenceEngine();
const double = new OrtNodeEngine({ precision: "float64", threads: 1 });
const single = new OrtNodeEngine({ threads: 1 });
afterAll(() => Promise.all([double.dispose(), single.dispose()]));

const make = (model: Module, options: Partial<OptimizerOptions> = {}): Promise<Optimizer> =>
  Optimizer.create(model, losses.nll, { engine, updater: new AdamUpdater(), lr: 0.05, ...options });

async function run(optimizer: Optimizer, from: number, to: number): Promise<number[]> {
  const found: number[] = [];
  for (let i = from; i < to; i++) found.push((await optimizer.step(labelled(6, i))).loss);
  return found;
}

test("engines agree", async () => {
  const expected = await run(await make(classifier()), 0, 8);
  for (const [other, digits] of [
    [double, 12],
    [single, 4],
  ] as const)
    for (const [i, loss] of (await run(await make(classifier(), { engine: other }), 0, 8)).entries())
      expect(loss).toBeCloseTo(expected[i]!, digits);
});

test("a step on a batch and one on its gradient are the same, clipped or not", async () => {
  for (const options of [{}, { clipGradNorm: 0.01 }]) {
    const [a, b] = [classifier(), classifier()];
    const updater = new SGDUpdater({ momentum: 0.9, nesterov: true });
    const [onBatch, onGradient] = [await make(a, { updater, ...options }), await make(b, { updater, ...options })];
    for (let i = 0; i < 4; i++) {
      const { gradient } = await valueAndGrad(b, losses.nll, labelled(6, i), { engine });
      await onBatch.step(labelled(6, i));
      await onGradient.step({ gradient });
    }
    expect(await b.stateDict()).toEqual(await a.stateDict());
  }
});

test("a gradient whose norm overflows is refused, not taken for 0", async () => {
  const model = classifier();
  const before = await model.stateDict();
  const { gradient } = await valueAndGrad(model, losses.nll, labelled(6), { engine });
  const grown = (factor: number) =>
    Object.fromEntries(
      Object.entries(gradient).map(([name, { shape, data }]) => [name, { shape, data: data.map((g) => g * factor) }]),
    );
  const optimizer = await make(model, { engine: single, updater: new SGDUpdater(), lr: 0.1, clipGradNorm: 1 });
  await expect(optimizer.step({ gradient: grown(1e21) })).rejects.toThrow(NonFiniteError);
  expect(await model.stateDict()).toEqual(before);
  await optimizer.step({ gradient: grown(1e15) });
  const moved = Object.entries(await model.stateDict()).flatMap(([name, { data }]) =>
    [...data].map((value, i) => Number(value) - Number(before[name]!.data[i])),
  );
  expect(Math.hypot(...moved)).toBeCloseTo(0.1, 5);
});

test("a bound on the norm costs no product of matrices", async () => {
  const products = async (options: Partial<OptimizerOptions>): Promise<number> => {
    const compile = vi.spyOn(engine, "compile");
    const model = new Sequential(new Linear(5, 256), new Tanh(), new Linear(256, 3));
    await (await make(model, { updater: new SGDUpdater(), ...options })).step(labelled(6));
    const [[graph]] = compile.mock.calls as [Parameters<typeof engine.compile>];
    compile.mockRestore();
    return productFlops(graph, 6);
  };
  expect(await products({ clipGradNorm: 1 })).toBe(await products({}));
});

test("resumes bit for bit", async () => {
  const updater = () => new AdamUpdater({ amsgrad: true, weightDecay: 0.01 });
  const model = classifier();
  const whole = await make(model, { engine: double, updater: updater() });
  await run(whole, 0, 4);
  const [state, weights] = [await whole.state(), await model.stateDict()];
  const expected = await run(whole, 4, 9);
  const other = classifier(2);
  other.loadStateDict(weights);
  const resumed = await make(other, { engine: double, updater: updater() });
  await resumed.restore(state);
  expect(await run(resumed, 4, 9)).toEqual(expected);
  const strange = await make(other, { engine: double, updater: new SGDUpdater() });
  await expect(strange.restore(state)).rejects.toThrow(StateError);
});

test("trains groups of a loss that contains the model, and tells of its steps", async () => {
  const model = classifier();
  const [first, ...rest] = model.parameters();
  const seen: StepResult[] = [];
  const groups = [{ name: "first", params: [first!] }, { params: rest }];
  const options = {
    engine,
    updater: new SGDUpdater(),
    lr: 0.1,
    onStep: (result: StepResult) => void seen.push(result),
  };
  const optimizer = await Optimizer.create(groups, (x, y) => losses.nll(model.forward(x), y), options);
  expect(optimizer.groups.map(({ name }) => name)).toEqual(["first", "group1.0+group1.1+group1.2"]);
  const plain = classifier();
  await (await make(plain, { updater: new SGDUpdater(), lr: 0.1 })).step(labelled(6));
  await optimizer.step(labelled(6));
  expect(await model.stateDict()).toEqual(await plain.stateDict());
  expect(seen).toHaveLength(1);
  expect([...seen[0]!.learningRates]).toEqual([0.1, 0.1]);
});

describe("a step without a batch", () => {
  const create: Record<string, () => Promise<TrainingOptimizer>> = {
    NewtonSummary: () => NewtonSummary.create(classifier(), losses.nll, { engine }),
    Optimizer: () => make(classifier(), { engine, updater: new SGDUpdater(), lr: 0.1 }),
    LBFGS: () => LBFGS.create(classifier(), losses.nll, { engine }),
  };

  test.each(Object.entries(create))("is refused by %s, for a model that needs one", async (_name, make) => {
    const optimizer = await make();
    await expect(optimizer.step()).rejects.toThrow(/there is no batch, and the model or the loss needs one/);
    await expect(optimizer.step()).rejects.toThrow(DataError);
  });

  test.each([null, 3, {}, { x: labelled(6).x }, [null], [labelled(6), {}], { gradient: null }])(
    "%j is none",
    async (argument) => {
      for (const make of Object.values(create)) {
        const step = (await make()).step(argument as never);
        await expect(step).rejects.toThrow(/step: expected a batch { x, y }, a list of them, or { gradient }; found/);
        await expect(step).rejects.toThrow(DataError);
      }
    },
  );

  test("goes on failing as it did, where something else is wrong", async () => {
    const bare = fromFunction({ w: ndarray(Float64Array.of(1), []) }, ({ w }) => w.matmul(w));
    const optimizer = await Optimizer.create(bare, (loss) => loss, { engine, updater: new SGDUpdater(), lr: 0.1 });
    await expect(optimizer.step()).rejects.toThrow(ShapeError);
  });
});

test("goes up with maximize", async () => {
  const w = ndarray(Float64Array.of(1), []);
  const model = fromFunction({ w }, (p) => p.w.square().neg());
  const options = { engine, lr: 0.25, updater: new SGDUpdater({ maximize: true }) };
  const optimizer = await Optimizer.create(partition.canonical(model), () => model.forward(), options);
  await optimizer.step(labelled(1));
  expect((await model.stateDict()).w!.data[0]).toBe(0.5);
});
