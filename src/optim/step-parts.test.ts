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
import { type PartFigures, stepPart } from "./step-parts.ts";

/** So many threads that one part takes any batch. */
class AtOnce extends ReferenceEngine {
  override readonly threads: number = 2 ** 20;
}

const engines: Readonly<Record<string, Engine>> = {
  reference: new ReferenceEngine(),
  "onnxruntime-node float64": new OrtNodeEngine({ precision: "float64", threads: 1 }),
};
const atOnce = new AtOnce();
afterAll(async () => {
  for (const engine of Object.values(engines)) await engine.dispose();
});

/** Its values of 256 numbers fill a cache, in float64, with 512 samples. */
function wide(...between: readonly Module[]): Module {
  manualSeed(1);
  return new Sequential(new Linear(5, 256), ...between, new Tanh(), new Linear(256, 3));
}

/** Three parts each. */
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
  compile.mockRestore();
  return { found, inParts };
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
    const { found, inParts } = await trained(optimizers[kind]!, engines[name]!, wide(new Dropout(0.5)));
    expect(expected.inParts).toBe(0);
    expect(inParts).toBeGreaterThan(0);
    assertClose(found, expected.found, TOLERANCE, kind);
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

describe("the samples of a part", () => {
  const figures: PartFigures = { widest: 2 ** 16, computed: 2 ** 24, summed: 2 ** 19 };
  const single = { precision: "float32", threads: 1 } as Engine;

  test("keep a value within each thread's share of the cache", () => {
    expect(stepPart(figures, 32, single)).toBe(4);
    expect(stepPart(figures, 32, { ...single, threads: 2 })).toBe(8);
    expect(stepPart(figures, 32, { ...single, precision: "float64" })).toBe(2);
  });

  test("divide the batch, and are not much fewer than could be", () => {
    expect(stepPart(figures, 6, single)).toBe(3);
    expect(stepPart(figures, 10, single)).toBe(2);
    expect(stepPart(figures, 13, single)).toBeUndefined();
  });

  test("are all where these are few, or what is added up is much beside what is computed", () => {
    expect(stepPart(figures, 4, single)).toBeUndefined();
    expect(stepPart({ ...figures, summed: 2 ** 21 }, 32, single)).toBe(4);
    expect(stepPart({ ...figures, summed: 2 ** 21 + 1 }, 32, single)).toBeUndefined();
  });
});
