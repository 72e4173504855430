import { afterAll, describe, expect, test, vi } from "vitest";
import { assertClose } from "../../test/support/close.ts";
import { labelled } from "../../test/support/models.ts";
import { Dataset } from "../datasets/index.ts";
import { type Engine, ReferenceEngine } from "../engine/index.ts";
import { OrtNodeEngine } from "../engine/ort-node.ts";
import {
  BatchNorm1d,
  Dropout,
  Linear,
  type Loss,
  losses,
  type Module,
  manualSeed,
  Sequential,
  Tanh,
} from "../nn/index.ts";
import type { FloatData } from "../util/ndarray.ts";
import { AdamUpdater, KFAC, NewtonSummary, Optimizer, SGDUpdater, StochasticHvUpdater } from "./index.ts";
import { type PartFigures, stepCut } from "./step-parts.ts";

/** So many threads that one part takes any batch. */
class AtOnce extends ReferenceEngine {
  override readonly threads: number = 2 ** 20;
}

const engines: Readonly<Record<string, Engine>> = {
  reference: new ReferenceEngine(),
  "onnxruntime-node float64": new OrtNodeEngine({ precision: "float64", threads: 1 }),
  "onnxruntime-node float64, two shares": new OrtNodeEngine({ precision: "float64", threads: 2 }),
};
const atOnce = new AtOnce();
afterAll(async () => {
  for (const engine of Object.values(engines)) await engine.dispose();
});

/** Its values of 256 numbers fill a cache, in float64, with 256 samples. */
function wide(...between: readonly Module[]): Module {
  manualSeed(1);
  return new Sequential(new Linear(5, 256), ...between, new Tanh(), new Linear(256, 3));
}

/** Six parts each. */
const BATCHES = [1, 2].map((seed) => labelled(1536, seed));

type Make = (model: Module, engine: Engine) => Promise<{ step: Optimizer["step"]; dispose: Optimizer["dispose"] }>;

/** The losses and weights of two steps, and in how many of its programs gradients are added up. */
async function trained(make: Make, engine: Engine, model: Module) {
  const compile = vi.spyOn(engine, "compile");
  const optimizer = await make(model, engine);
  const found: number[] = [];
  for (const batch of BATCHES) found.push((await optimizer.step(batch)).loss!);
  for (const { data } of Object.values(await model.stateDict())) found.push(...Array.from(data as FloatData));
  await optimizer.dispose();
  const inParts = compile.mock.calls.filter(([graph]) => graph.ahead).length;
  const inShares = compile.mock.calls.some(([graph, options]) => graph.ahead && options?.sideBySide);
  compile.mockRestore();
  return { found, inParts, inShares };
}

const nll: Loss = (o, t) => losses.crossEntropy(o, t);
const log = () => {};
const newton = { periodHg: 2, nesterov: { use: false }, ridge: 0.1, damping: 1, log };
const hgData = Dataset.fromArrays(labelled(40, 9).x, labelled(40, 9).y);

const optimizers: Readonly<Record<string, Make>> = {
  "momentum, clipped": (model, engine) =>
    Optimizer.create(model, nll, { engine, updater: new SGDUpdater({ momentum: 0.9 }), lr: 0.1, clipGradNorm: 0.1 }),
  "Adam, a sum with a penalty": (model, engine) =>
    Optimizer.create(model, (o, t) => nll(o, t).mul(7).add(model.parameters()[0]!.square().sum().mul(0.01)), {
      engine,
      updater: new AdamUpdater(),
      lr: 0.01,
    }),
  "a rule with products with the Hessian": (model, engine) =>
    Optimizer.create(model, nll, { engine, updater: new StochasticHvUpdater(), lr: 0.01 }),
  NewtonSummary: (model, engine) =>
    NewtonSummary.create(model, nll, { ...newton, engine, hgLoader: hgData.loader({ batchSize: 20 }) }),
};

/** Sums of 1536 terms, added in another order: some 1536 units of 2⁻⁵³ of terms that are up to 100 times their sum. */
const TOLERANCE = { absolute: 1e-11, relative: 1e-11 };

describe.each(Object.keys(engines))("on %s, steps in parts are those at once", (name) => {
  test.each(Object.keys(optimizers))("%s", async (kind) => {
    const expected = await trained(optimizers[kind]!, atOnce, wide(new Dropout(0.5)));
    const { found, inParts, inShares } = await trained(optimizers[kind]!, engines[name]!, wide(new Dropout(0.5)));
    expect(expected.inParts).toBe(0);
    expect(inParts).toBeGreaterThan(0);
    expect(inShares).toBe(engines[name]!.lanes > 1);
    assertClose(found, expected.found, TOLERANCE, kind);
  });

  test.each([12, 1536])("an infinity that tanh hides is refused, with %i samples", async (samples) => {
    const [engine, model, spoiled] = [engines[name]!, wide(), labelled(samples, 3)];
    spoiled.x.data[5 * samples - 1] = Number.POSITIVE_INFINITY;
    const optimizer = await optimizers["momentum, clipped"]!(model, engine);
    await optimizer.step(labelled(samples, 1));
    const [before, { live }] = [await model.stateDict(), engine.tensors];
    await expect(optimizer.step(spoiled)).rejects.toThrow(
      `batch x: entry ${5 * samples - 1} is Infinity in sample ${samples - 1}`,
    );
    expect([await model.stateDict(), engine.tensors.live]).toEqual([before, live]);
    await optimizer.dispose();
  });
});

const whole: Readonly<Record<string, { readonly model: () => Module; readonly make: Make }>> = {
  "batch norm": { model: () => wide(new BatchNorm1d(256)), make: optimizers["momentum, clipped"]! },
  "class weights": {
    model: () => wide(),
    make: (model, engine) =>
      Optimizer.create(model, (o, t) => losses.crossEntropy(o, t, { weight: [0.2, 1, 5] }), {
        engine,
        updater: new SGDUpdater(),
        lr: 0.1,
      }),
  },
  "a preconditioner": { model: () => wide(), make: (model, engine) => KFAC.create(model, nll, { engine, lr: 0.01 }) },
};

test.each(Object.keys(whole))("with %s it is taken at once", async (kind) => {
  const { model, make } = whole[kind]!;
  const { inParts } = await trained(make, engines.reference!, model());
  expect(inParts).toBe(0);
});

/** A step of so many samples on an engine. */
function cut(figures: PartFigures, samples: number, engine: Partial<Engine> = {}) {
  const { shares, parts } = stepCut(figures, samples, {
    precision: "float32",
    threads: 1,
    lanes: 1,
    ...engine,
  } as Engine);
  return { shares, parts };
}

describe("the samples of a part", () => {
  const figures: PartFigures = { widest: 2 ** 15, computed: 2 ** 24, summed: 2 ** 22, convolves: false };

  test("keep a value within each thread's share of the cache", () => {
    expect(cut(figures, 32).parts).toEqual([4]);
    expect(cut(figures, 32, { threads: 2 }).parts).toEqual([8]);
    expect(cut(figures, 32, { precision: "float64" }).parts).toEqual([2]);
  });

  test("are more where convolutions put them side by side", () => {
    expect(cut({ ...figures, convolves: true }, 32).parts).toEqual([8]);
  });

  test("are one where its values fill more than the cache, if it computes much more than is added up", () => {
    const large = { ...figures, widest: 2 ** 20, summed: 2 ** 19 };
    expect(cut(large, 32).parts).toEqual([1]);
    expect(cut(large, 1).parts).toBeUndefined();
    expect(cut({ ...large, summed: 2 ** 19 + 1 }, 32).parts).toBeUndefined();
  });

  test("divide the batch, and are not much fewer than could be", () => {
    expect(cut(figures, 6).parts).toEqual([3]);
    expect(cut(figures, 10).parts).toEqual([2]);
    expect(cut(figures, 13).parts).toBeUndefined();
  });

  test("are all where these are few, or what is added up is much beside what is computed", () => {
    expect(cut(figures, 4).parts).toBeUndefined();
    expect(cut({ ...figures, summed: 2 ** 24 }, 32).parts).toEqual([4]);
    expect(cut({ ...figures, summed: 2 ** 24 + 1 }, 32).parts).toBeUndefined();
  });
});

describe("the samples of a share", () => {
  const figures: PartFigures = { widest: 2 ** 15, computed: 2 ** 10, summed: 2 ** 10, convolves: false };
  const two = { threads: 2, lanes: 2 };

  test("are as even as can be, where much is computed beside what shares exchange", () => {
    expect(cut(figures, 8, two).shares).toEqual([4, 4]);
    expect(cut(figures, 9, two).shares).toEqual([5, 4]);
    expect(cut(figures, 7, two).shares).toEqual([7]);
    expect(cut({ ...figures, computed: 2 ** 20 }, 1, two).shares).toEqual([1]);
  });

  test("are each cut into parts that suit one thread, or none is", () => {
    const large = { ...figures, computed: 2 ** 24 };
    expect(cut(large, 32, two)).toEqual({ shares: [16, 16], parts: [4, 4] });
    expect(cut(large, 33, two)).toEqual({ shares: [17, 16], parts: undefined });
    expect(cut(large, 18, two)).toEqual({ shares: [9, 9], parts: [3, 3] });
  });
});
