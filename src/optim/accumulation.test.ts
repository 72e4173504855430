import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { assertClose } from "../../test/support/close.ts";
import { classifier, labelled } from "../../test/support/models.ts";
import { StrictEngine } from "../../test/support/strict-engine.ts";
import { ReferenceEngine } from "../engine/index.ts";
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
import { computeHg, valueAndGrad } from "../summary/index.ts";
import { DataError, NonFiniteError, OptionError, ShapeError } from "../util/errors.ts";
import { type Batch, type FloatData, ndarray } from "../util/ndarray.ts";
import {
  AdamWUpdater,
  KFAC,
  LBFGS,
  NewtonSummary,
  Optimizer,
  ProdigyUpdater,
  SGDUpdater,
  StochasticHvUpdater,
  type TrainingOptimizer,
} from "./index.ts";

const engine = new ReferenceEngine();
const double = new OrtNodeEngine({ precision: "float64", threads: 1 });
afterAll(() => double.dispose());

/** All samples as one batch. */
function merged(batches: readonly Batch[]): Batch {
  const samples = batches.reduce((sum, { y }) => sum + y.shape[0]!, 0);
  const x = batches.flatMap((batch) => Array.from(batch.x.data as FloatData));
  const y = batches.flatMap((batch) => Array.from(batch.y.data as Int32Array));
  return { x: ndarray(Float64Array.from(x), [samples, 5]), y: ndarray(Int32Array.from(y), [samples]) };
}

async function weights(model: Module): Promise<number[]> {
  return Object.values(await model.stateDict()).flatMap(({ data }) => Array.from(data as FloatData));
}

/** Dropout in training mode: masks are those of the whole. */
function dropping(seed: number): Module {
  manualSeed(seed);
  return new Sequential(new Linear(5, 4), new Dropout(0.5), new Tanh(), new Linear(4, 3));
}

/** A model whose samples are coupled, with buffers. */
function normed(): Module {
  manualSeed(2);
  return new Sequential(new Linear(5, 4), new BatchNorm1d(4), new Tanh(), new Linear(4, 3));
}

const WEIGHTED = { weight: [0.2, 1, 5], ignoreIndex: 1 };
const lossOf: Readonly<Record<string, (model: Module) => Loss>> = {
  mean: () => losses.crossEntropy,
  "class weights and an ignored label": () => (o, t) => losses.crossEntropy(o, t, WEIGHTED),
  "a sum, with a penalty": (model) => (o, t) =>
    losses.crossEntropy(o, t).mul(7).add(model.parameters()[0]!.square().sum().mul(0.01)),
};

type Make = (
  model: Module,
  loss: Loss,
  own: { engine: ReferenceEngine; stepMicrobatch?: number },
) => Promise<TrainingOptimizer>;
const log = () => {};
/** A ridge, or rates that nothing holds would magnify rounding. */
const held = { periodHg: 2, nesterov: { use: false }, ridge: 0.1, log };
const optimizers: Readonly<Record<string, Make>> = {
  "SGD, clipped": (model, loss, own) =>
    Optimizer.create(model, loss, { ...own, updater: new SGDUpdater({ momentum: 0.9 }), lr: 0.1, clipGradNorm: 0.1 }),
  "AdamW with weight decay": (model, loss, own) =>
    Optimizer.create(model, loss, { ...own, updater: new AdamWUpdater({ weightDecay: 0.1 }), lr: 0.01 }),
  Prodigy: (model, loss, own) =>
    Optimizer.create(model, loss, { ...own, updater: new ProdigyUpdater({ d0: 0.01 }), lr: 1 }),
  NewtonSummary: (model, loss, own) => NewtonSummary.create(model, loss, { ...own, ...held }),
  "NewtonSummary along products with the Hessian": (model, loss, own) =>
    NewtonSummary.create(model, loss, { ...own, ...held, updater: new StochasticHvUpdater() }),
  LBFGS: (model, loss, own) => LBFGS.create(model, loss, { ...own, maxIter: 4 }),
};

const sizes = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 2, maxLength: 4 });

describe.each(Object.entries(optimizers))("a step of %s over several batches", (_what, make) => {
  test.each(Object.keys(lossOf))(
    "is that over all samples at once, with a loss that is %s",
    { timeout: 30_000 },
    async (kind) => {
      const property = fc.asyncProperty(sizes, fc.nat(1000), fc.boolean(), async (lengths, seed, whole) => {
        const [first, second] = [dropping(seed), dropping(seed)];
        const [parted, once] = [
          await make(first, lossOf[kind]!(first), { engine, ...(whole && { stepMicrobatch: Math.max(...lengths) }) }),
          await make(second, lossOf[kind]!(second), { engine }),
        ];
        for (let i = 0; i < 3; i++) {
          // At least one label that is not ignored.
          const batches = lengths.map((samples, k) => labelled(samples, seed + 10 * i + k));
          batches[0] = { ...batches[0]!, y: ndarray(new Int32Array(lengths[0]!), [lengths[0]!]) };
          const [found, expected] = [
            await parted.step(whole ? merged(batches) : batches),
            await once.step(merged(batches)),
          ];
          // Sums in another order, whose rounding each step and each line search passes on.
          assertClose([found.loss], [expected.loss], { relative: 1e-6 }, `loss of step ${i}`);
          assertClose(found.learningRates, expected.learningRates, { relative: 1e-6 }, `rates of step ${i}`);
          assertClose(await weights(first), await weights(second), { relative: 1e-5 }, `step ${i}`);
        }
      });
      await fc.assert(property, { numRuns: 4 });
    },
  );
});

test("engines agree", async () => {
  const run = async (own: ReferenceEngine | OrtNodeEngine): Promise<number[]> => {
    const model = normed();
    const optimizer = await NewtonSummary.create(model, losses.crossEntropy, { engine: own, periodHg: 2, log });
    for (let i = 0; i < 4; i++) await optimizer.step([labelled(5, i), labelled(3, 20 + i)]);
    return await weights(model);
  };
  // Another order of sums.
  assertClose(await run(double), await run(engine), { relative: 1e-9, absolute: 1e-11 }, "weights");
});

describe("a model that couples the samples", () => {
  const batches = [labelled(6, 1), labelled(4, 2), labelled(3, 3)];

  /** What the parts give by themselves, each on buffers as the one before has left them. */
  async function alone(loss: Loss) {
    const model = normed();
    const found = [];
    for (const batch of batches) found.push(await valueAndGrad(model, loss, batch, { engine }));
    return found;
  }

  async function moved(loss: Loss): Promise<Record<string, number[]>> {
    const model = normed();
    const before = await model.stateDict();
    const optimizer = await Optimizer.create(model, loss, { engine, updater: new SGDUpdater(), lr: 1 });
    await optimizer.step(batches);
    const after = await model.stateDict();
    return Object.fromEntries(
      Object.keys(before).map((name) => [
        name,
        Array.from(before[name]!.data as FloatData, (value, i) => value - Number(after[name]!.data[i])),
      ]),
    );
  }

  const shares: readonly [string, Loss, (batch: Batch) => number][] = [
    ["their samples", losses.crossEntropy, ({ y }) => y.data.length],
    [
      "what the loss is divided by",
      (o, t) => losses.crossEntropy(o, t, WEIGHTED),
      ({ y }) =>
        [...y.data].reduce<number>((sum, label) => sum + (label === 1 ? 0 : WEIGHTED.weight[Number(label)]!), 0),
    ],
  ];
  test.each(shares)("has the mean of the parts' gradients, weighted by %s", async (_what, loss, weightOf) => {
    const found = await alone(loss);
    const total = batches.reduce((sum, batch) => sum + weightOf(batch), 0);
    const steps = await moved(loss);
    for (const name of Object.keys(found[0]!.gradient)) {
      const expected = Array.from(found[0]!.gradient[name]!.data, (_, i) =>
        found.reduce((sum, { gradient }, k) => sum + (weightOf(batches[k]!) / total) * gradient[name]!.data[i]!, 0),
      );
      assertClose(steps[name]!, expected, { relative: 1e-12, absolute: 1e-15 }, name);
    }
  });

  test("has its buffers written by each part in turn", async () => {
    const [model, other] = [normed(), normed()];
    const options = { engine, updater: new SGDUpdater(), lr: 1e-300 };
    await (await Optimizer.create(model, losses.crossEntropy, options)).step(batches);
    const inTurn = await Optimizer.create(other, losses.crossEntropy, options);
    for (const batch of batches) await inTurn.step(batch);
    const [found, expected] = [await model.stateDict(), await other.stateDict()];
    const buffers = model.namedBuffers().map(([name]) => name);
    expect(buffers).toHaveLength(3);
    for (const name of buffers)
      assertClose(found[name]!.data as FloatData, expected[name]!.data as FloatData, { relative: 1e-13 }, name);
  });

  test.each(shares)(
    "has the summary of the same function: means of the parts, weighted by %s",
    async (_w, loss, weightOf) => {
      const model = normed();
      const messages: string[] = [];
      const optimizer = await NewtonSummary.create(model, loss, {
        engine,
        updater: new SGDUpdater(),
        log: (message) => messages.push(message),
      });
      const { gradient: first } = (await alone(loss))[0]!;
      const total = batches.reduce((sum, batch) => sum + weightOf(batch), 0);
      const found = await alone(loss);
      const direction = Object.fromEntries(
        Object.entries(first).map(([name, { shape, data }]) => [
          name,
          ndarray(
            Float64Array.from(data, (_, i) =>
              found.reduce(
                (sum, { gradient }, k) => sum + (weightOf(batches[k]!) / total) * gradient[name]!.data[i]!,
                0,
              ),
            ),
            [...shape],
          ),
        ]),
      );
      const parts = await Promise.all(batches.map((batch) => computeHg(model, loss, batch, { engine, direction })));
      const { update } = await optimizer.step(batches);
      for (const key of ["g", "H", "order3"] as const) {
        const expected = Array.from(parts[0]![key], (_, i) =>
          parts.reduce((sum, part, k) => sum + (weightOf(batches[k]!) / total) * part[key][i]!, 0),
        );
        const most = Math.max(...expected.map(Math.abs));
        assertClose(update![key], expected, { absolute: 1e-11 * most }, key);
      }
      expect(messages[0]).toMatch(/not split into microbatches: .* mixes the samples/);
    },
  );

  test("refuses parts that are too small for its layers, and a microbatch of summaries", async () => {
    const optimizer = await Optimizer.create(normed(), losses.crossEntropy, {
      engine,
      updater: new SGDUpdater(),
      lr: 1,
    });
    await expect(optimizer.step([labelled(4), labelled(1)])).rejects.toThrow(/found a batch of 1/);
    const newton = await NewtonSummary.create(normed(), losses.crossEntropy, { engine, microbatch: 2, log });
    await expect(newton.step([labelled(4), labelled(3)])).rejects.toThrow(/microbatch: this loss cannot be split/);
  });
});

describe("accumulation", () => {
  test("compiles once, whatever the parts' sizes, and keeps no tensors", async () => {
    const strict = new StrictEngine();
    const optimizer = await NewtonSummary.create(normed(), losses.crossEntropy, { engine: strict, periodHg: 2, log });
    for (let i = 0; i < 2; i++) await optimizer.step([labelled(4, i), labelled(3, i)]);
    const [compiled, live] = [strict.sessions.compiled, strict.tensors.live];
    for (let i = 0; i < 4; i++) {
      await optimizer.step([labelled(2, i), labelled(4, i), labelled(3, i)]);
      expect([strict.sessions.compiled, strict.tensors.live]).toEqual([compiled, live]);
    }
    await optimizer.dispose();
    expect(strict.sessions.live).toBe(0);
  });

  const poisoned = (): Batch => {
    const { x, y } = labelled(3);
    return { x: ndarray(Float64Array.from(x.data as FloatData).fill(1e308, 3, 9), [3, 5]), y };
  };
  test.each(Object.entries(optimizers))(
    "of %s leaves all as it was where a part is not finite, or it is stopped",
    async (_w, make) => {
      const strict = new StrictEngine();
      const model = normed();
      const optimizer = await make(model, losses.crossEntropy, { engine: strict });
      await optimizer.step([labelled(4), labelled(3)]);
      await optimizer.step([labelled(4), labelled(3)]);
      const before = [await optimizer.state(), await weights(model)];
      const live = strict.tensors.live;
      const nan = { ...labelled(3), x: ndarray(new Float64Array(15).fill(Number.NaN), [3, 5]) };
      await expect(optimizer.step([labelled(4), nan])).rejects.toThrow(NonFiniteError);
      await expect(optimizer.step([labelled(4), poisoned()])).rejects.toThrow(NonFiniteError);
      let looks = 0;
      const throwIfAborted = (): void => {
        if (looks++ > 2) throw new Error("enough");
      };
      const signal = { throwIfAborted } as AbortSignal;
      await expect(optimizer.step([labelled(4), labelled(3), labelled(2)], { signal })).rejects.toThrow("enough");
      expect(strict.tensors.live).toBe(live);
      expect([await optimizer.state(), await weights(model)]).toEqual(before);
    },
  );

  test("is one update", async () => {
    const optimizer = await Optimizer.create(classifier(), losses.nll, { engine, updater: new SGDUpdater(), lr: 1 });
    await optimizer.step([labelled(4), labelled(3)]);
    const { step, stepper } = await optimizer.state();
    expect([step, stepper.updates]).toEqual([1, 1]);
  });

  test("can be probed, and what the probe finds is what the step takes", async () => {
    const optimizer = await NewtonSummary.create(dropping(1), losses.crossEntropy, { engine, periodHg: 1, log });
    const batches = [labelled(4), labelled(3)];
    const found = await optimizer.probe(batches);
    expect((await optimizer.step(batches)).update).toEqual(found);
  });

  test("of no batches, or of such that do not go together, is refused", async () => {
    const model = classifier();
    const optimizer = await Optimizer.create(model, losses.nll, { engine, updater: new SGDUpdater(), lr: 1 });
    const before = await weights(model);
    await expect(optimizer.step([])).rejects.toThrow(new DataError("step: expected at least one batch, found none"));
    const wide = { ...labelled(2), x: ndarray(new Float64Array(12), [2, 6]) };
    await expect(optimizer.step([labelled(3), wide])).rejects.toThrow(
      new ShapeError(
        "step: x of batch 1: expected Float64Array [batch, 5] as in the first, found Float64Array [batch, 6]",
      ),
    );
    const single = { ...labelled(2), x: ndarray(new Float32Array(10), [2, 5]) };
    await expect(optimizer.step([labelled(3), single])).rejects.toThrow(/found Float32Array \[batch, 5\]/);
    expect(await weights(model)).toEqual(before);
    const create = (stepMicrobatch: number) =>
      Optimizer.create(model, losses.nll, { engine, updater: new SGDUpdater(), lr: 1, stepMicrobatch });
    await expect(create(0)).rejects.toThrow(OptionError);
    await expect(create(0.5)).rejects.toThrow("stepMicrobatch must be a whole number, 1 or more; found 0.5");
  });

  test("is not for K-FAC, which says so", async () => {
    const optimizer = await KFAC.create(classifier(), losses.nll, { engine });
    await expect(optimizer.step([labelled(3), labelled(3)])).rejects.toThrow(
      "KFAC: a step needs its batch in one run, for the Fisher matrix; found one in parts",
    );
    await optimizer.step([labelled(3)]);
  });

  test("of a single batch is a plain step", async () => {
    const own = new ReferenceEngine();
    const optimizer = await Optimizer.create(classifier(), losses.nll, {
      engine: own,
      updater: new SGDUpdater(),
      lr: 1,
    });
    await optimizer.step([labelled(4)]);
    await optimizer.step(labelled(4));
    expect(own.sessions.compiled).toBe(1);
  });
});
