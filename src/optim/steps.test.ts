import { setTimeout } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { wave } from "../../test/support/arrays.ts";
import { labelled } from "../../test/support/models.ts";
import { StrictEngine } from "../../test/support/strict-engine.ts";
import { type Engine, ReferenceEngine, type Session } from "../engine/index.ts";
import { OrtNodeEngine } from "../engine/ort-node.ts";
import { models } from "../index.ts";
import { BatchNorm1d, Dropout, Linear, losses, type Module, manualSeed, Sequential, Tanh } from "../nn/index.ts";
import { DataError, NonFiniteError, PartitionError } from "../util/errors.ts";
import type { Batch } from "../util/ndarray.ts";
import {
  AdamUpdater,
  KFAC,
  LBFGS,
  NewtonSummary,
  type NewtonSummaryOptions,
  Optimizer,
  type OptimizerOptions,
  SGDUpdater,
  type StepResult,
  type TrainingOptimizer,
} from "./index.ts";

/** Steps begin ahead on it, whatever the machine. */
class SpareEngine extends OrtNodeEngine {
  override readonly spareProcessor = true;
}

const double = new SpareEngine({ precision: "float64", threads: 1 });
const two = new SpareEngine({ threads: 2 });
afterAll(() => Promise.all([double.dispose(), two.dispose()]));

/** With random masks, and buffers that steps change. */
function model(): Module {
  manualSeed(2);
  return new Sequential(new Linear(5, 6), new BatchNorm1d(6), new Tanh(), new Dropout(0.3), new Linear(6, 3));
}

/** What a test puts back later. */
let saved: unknown;

type Make = (model: Module, engine: Engine) => Promise<TrainingOptimizer>;

const adam =
  (options: Partial<OptimizerOptions> = {}): Make =>
  (model, engine) =>
    Optimizer.create(model, losses.crossEntropy, { updater: new AdamUpdater(), lr: 0.1, engine, ...options });

const newton =
  (options: NewtonSummaryOptions = {}): Make =>
  (model, engine) =>
    NewtonSummary.create(model, losses.crossEntropy, { periodHg: 3, damping: 0.3, engine, ...options });

/** The last of another size. */
const batches = [6, 6, 6, 6, 6, 6, 6, 4].map((size, i) => labelled(size, i));

function spoilt(batch: Batch): Batch {
  const x = { ...batch.x, data: batch.x.data.slice() };
  x.data[3] = Number.NaN;
  return { ...batch, x };
}

/** What steps on batches gave, and all that they left behind. */
interface Outcome {
  readonly results: readonly StepResult[];
  readonly error: unknown;
  readonly model: unknown;
  readonly optimizer: unknown;
  readonly live: number;
}

/** What is done after a step, before the next one is asked for. */
type Between = (step: number, model: Module, optimizer: TrainingOptimizer) => unknown;

/** Engines free what they hold for models that are gone, which would count. */
const held: Module[] = [];

async function outcome(
  engine: Engine,
  make: Make,
  takes: (optimizer: TrainingOptimizer) => AsyncIterable<StepResult>,
  between: Between = () => {},
  trained = model(),
): Promise<Outcome> {
  held.push(trained);
  const optimizer = await make(trained, engine);
  const before = engine.tensors.live;
  const results: StepResult[] = [];
  let error: unknown;
  try {
    for await (const result of takes(optimizer)) {
      results.push(result);
      await between(results.length, trained, optimizer);
    }
  } catch (thrown) {
    error = thrown;
  }
  const live = engine.tensors.live - before;
  const left = { model: await trained.stateDict(), optimizer: await optimizer.state() };
  await optimizer.dispose();
  return { results, error, ...left, live };
}

async function* oneByOne(optimizer: TrainingOptimizer, given: Iterable<Batch>): AsyncGenerator<StepResult> {
  for (const batch of given) yield await optimizer.step(batch);
}

/** Steps on batches from a source, in a loop that is left after so many. */
function leftAfter(count: number, source: AsyncIterable<Batch>) {
  return async function* (optimizer: TrainingOptimizer): AsyncGenerator<StepResult> {
    for await (const result of optimizer.steps(source)) {
      yield result;
      if (result.step === count - 1) return;
    }
  };
}

/** Expects of `steps` what `step` gives. */
async function expectSame(engine: Engine, make: Make, given: readonly Batch[] = batches, between?: Between) {
  const expected = await outcome(engine, make, (optimizer) => oneByOne(optimizer, given), between);
  expect(await outcome(engine, make, (optimizer) => optimizer.steps(given), between)).toEqual(expected);
  return expected;
}

describe.each<[string, () => Engine]>([
  ["the oracle", () => new StrictEngine()],
  ["ONNX Runtime", () => double],
])("on %s, steps are those of step by step", (_name, engine) => {
  test.each<[string, Make]>([
    ["SGD with momentum", adam({ updater: new SGDUpdater({ momentum: 0.9 }) })],
    ["Adam, clipped", adam({ clipGradNorm: 0.1 })],
    ["in parts whose gradients are added up", adam({ stepMicrobatch: 2 })],
    ["K-FAC", (model, engine) => KFAC.create(model, losses.crossEntropy, { lr: 0.1, engine })],
    ["L-BFGS", (model, engine) => LBFGS.create(model, losses.crossEntropy, { engine })],
    ["NewtonSummary", newton()],
    ["NewtonSummary without steps at first", newton({ uniformAvg: { period: 2, warmup: 1 } })],
    ["NewtonSummary with its own period", newton({ periodHg: "auto" })],
  ])("%s", async (_name, make) => {
    const { error, results } = await expectSame(engine(), make);
    expect(error).toBeUndefined();
    expect(results).toHaveLength(batches.length);
  });

  test.each<[string, Make, Between]>([
    [
      "parameters are loaded",
      adam(),
      async (step, model) =>
        step === 3 && model.loadStateDict({ ...(await model.stateDict()), "0.weight": wave(6, 5) }),
    ],
    ["the state is looked at", adam(), (_step, _model, optimizer) => optimizer.state()],
    [
      "the state is put back",
      adam({ updater: new SGDUpdater() }),
      async (step, _model, optimizer) => {
        if (step === 1) saved = await optimizer.state();
        if (step === 4) await optimizer.restore(saved);
      },
    ],
    [
      "another optimiser steps",
      adam(),
      async (step, model) => {
        if (step === 3) await (await adam({ lr: 0.2 })(model, engine())).step(labelled(6, 20));
      },
    ],
    ["the mode changes", adam(), (step, model) => (step === 3 ? model.eval() : step === 5 && model.train())],
    [
      "the state is put back, so that the next takes a summary",
      newton(),
      async (step, _model, optimizer) => {
        if (step === 3) saved = await optimizer.state();
        if (step === 5) await optimizer.restore(saved);
      },
    ],
    ["the damping changes", newton(), (_step, _model, optimizer) => (optimizer as NewtonSummary).dampingMul(0.9)],
  ])("where %s between two", async (_name, make, between) => {
    const { error } = await expectSame(engine(), make, batches, between);
    expect(error).toBeUndefined();
  });

  test("where a parameter is frozen between two", async () => {
    const { error, results } = await expectSame(engine(), adam(), batches, (step, model) => {
      if (step === 3) [...model.parameters()][0]!.requiresGrad = false;
    });
    expect(error).toBeInstanceOf(PartitionError);
    expect(results).toHaveLength(3);
  });

  test("where a frozen parameter is trained from one on", async () => {
    const frozen: Make = (model, engine) => {
      [...model.parameters()][0]!.requiresGrad = false;
      return adam()(model, engine);
    };
    const { error, results } = await expectSame(engine(), frozen, batches, (step, model) => {
      if (step === 3) [...model.parameters()][0]!.requiresGrad = true;
    });
    expect(error).toBeInstanceOf(PartitionError);
    expect(results).toHaveLength(3);
  });

  test("where the loop is left while a batch does not come", async () => {
    const few = batches.slice(0, 2);
    const expected = await outcome(engine(), adam(), (optimizer) => oneByOne(optimizer, few));
    async function* stalled(): AsyncGenerator<Batch> {
      yield* few;
      await new Promise(() => {});
    }
    expect(await outcome(engine(), adam(), leftAfter(2, stalled()))).toEqual(expected);
  });

  test("where all batches are put into the same memory and no step begins ahead", async () => {
    const same = batches.slice(0, 7);
    const make = adam({ stepMicrobatch: 2 });
    const expected = await outcome(engine(), make, (optimizer) => oneByOne(optimizer, same));
    function* source(): Generator<Batch> {
      const memory = {
        x: { ...same[0]!.x, data: new Float64Array(30) },
        y: { ...same[0]!.y, data: new Int32Array(6) },
      };
      for (const { x, y } of same) {
        memory.x.data.set(x.data as Float64Array);
        memory.y.data.set(y.data as Int32Array);
        yield memory;
      }
    }
    expect(await outcome(engine(), make, (optimizer) => optimizer.steps(source()))).toEqual(expected);
  });

  test.each<[string, (options: { onNonFinite?: "skip"; log: () => void }) => Make]>([
    ["Adam", adam],
    ["NewtonSummary", newton],
  ])("where a batch is not finite: %s", async (_name, make) => {
    const given = batches.map((batch, i) => (i === 4 ? spoilt(batch) : batch));
    const log = (): void => {};
    const { error, results } = await expectSame(engine(), make({ log }), given);
    expect(error).toBeInstanceOf(NonFiniteError);
    expect(results).toHaveLength(4);
    const skipped = await expectSame(engine(), make({ onNonFinite: "skip", log }), given);
    expect(skipped.error).toBeUndefined();
    expect(skipped.results.map(({ skipped }) => skipped !== undefined)).toEqual(given.map((_, i) => i === 4));
  });

  test("where a batch does not fit", async () => {
    const wrong = { ...batches[4]!, y: { shape: [6], data: Int32Array.of(0, 1, 2, 3, 0, 1) } };
    const { error, results } = await expectSame(engine(), adam(), batches.with(4, wrong));
    expect(error).toBeInstanceOf(DataError);
    expect(results).toHaveLength(4);
  });

  test("where the loop is left: no more are taken, and the source is closed", async () => {
    const few = batches.slice(0, 3);
    const expected = await outcome(engine(), adam(), (optimizer) => oneByOne(optimizer, few));
    let fetched = 0;
    let closed = false;
    async function* source(): AsyncGenerator<Batch> {
      try {
        for (const batch of batches) {
          fetched++;
          yield batch;
        }
      } finally {
        closed = true;
      }
    }
    expect(await outcome(engine(), adam(), leftAfter(3, source()))).toEqual(expected);
    expect(closed).toBe(true);
    expect(fetched).toBe(4);
  });

  test("where a batch cannot be fetched, once the steps before it are taken", async () => {
    const few = batches.slice(0, 3);
    const expected = await outcome(engine(), adam(), (optimizer) => oneByOne(optimizer, few));
    async function* source(): AsyncGenerator<Batch> {
      yield* few;
      throw new DataError("no file");
    }
    const found = await outcome(engine(), adam(), (optimizer) => optimizer.steps(source()));
    expect(found).toEqual({ ...expected, error: new DataError("no file") });
  });

  test("where a batch comes only after the result of the one before", async () => {
    const few = batches.slice(0, 3);
    const expected = await outcome(engine(), adam(), (optimizer) => oneByOne(optimizer, few));
    let [release, released] = [() => {}, Promise.resolve()];
    const hold = (): void => {
      released = new Promise((resolve) => {
        release = resolve;
      });
    };
    async function* source(): AsyncGenerator<Batch> {
      for (const batch of few) {
        await released;
        hold();
        yield batch;
      }
      await released;
    }
    const found = await outcome(
      engine(),
      adam(),
      (optimizer) => optimizer.steps(source()),
      () => release(),
    );
    expect(found).toEqual(expected);
  });

  test("where it is aborted, once the step under way is taken", async () => {
    const few = batches.slice(0, 3);
    const expected = await outcome(engine(), adam(), (optimizer) => oneByOne(optimizer, few));
    const abort = new AbortController();
    const found = await outcome(
      engine(),
      adam(),
      (optimizer) => optimizer.steps(batches, { signal: abort.signal }),
      (step) => step === 3 && abort.abort(),
    );
    expect(found).toEqual({ ...expected, error: abort.signal.reason });
  });
});

test("steps whose shares run side by side are those of step by step", async () => {
  const lenet = () => models.lenet({ layers: [1, 2, 3, 4, 5, 3], imageSize: 16, seed: 1 });
  const images = batches.map((_, i) => ({
    x: wave(8, 1, 16, 16),
    y: { shape: [8], data: Int32Array.from({ length: 8 }, (_, j) => (i + j) % 3) },
  }));
  const take = (takes: (optimizer: TrainingOptimizer) => AsyncIterable<StepResult>) =>
    outcome(two, adam(), takes, undefined, lenet());
  const expected = await take((optimizer) => oneByOne(optimizer, images));
  expect(await take((optimizer) => optimizer.steps(images))).toEqual(expected);
});

test("a step has begun before the result of the one before is given", async () => {
  const runs: string[] = [];
  class Noting extends ReferenceEngine {
    override async compile(...args: Parameters<ReferenceEngine["compile"]>): Promise<Session> {
      const session = await super.compile(...args);
      return {
        ...session,
        begin: async (...input) => {
          runs.push("begun");
          const { outputs, done } = await session.begin(...input);
          return { outputs, done: done.then(() => setTimeout(5)) };
        },
      };
    }
  }
  const take = (engine: Engine) =>
    outcome(
      engine,
      adam(),
      (optimizer) => optimizer.steps(batches.slice(0, 3)),
      () => void runs.push("result"),
    );
  await take(new Noting());
  expect(runs.splice(0).join(" ")).toBe("begun begun result begun result result");
  // Once something came between, no more.
  const engine = new Noting();
  const changes: Between = (step, model) => {
    runs.push("result");
    if (step === 1) model.eval();
  };
  await outcome(engine, adam(), (optimizer) => optimizer.steps(batches.slice(0, 4)), changes);
  expect(runs.splice(0).join(" ")).toBe("begun begun result begun begun result begun result begun result");
  // Not where all processors compute.
  class Busy extends Noting {
    override readonly spareProcessor = false;
  }
  await take(new Busy());
  expect(runs.join(" ")).toBe("begun result begun result begun result");
});

test.each<[string, unknown]>([
  ["{ x, y }", batches[0]],
  ["undefined", undefined],
])("%s is refused where batches are expected", async (found, given) => {
  const optimizer = await adam()(model(), double);
  await expect(optimizer.steps(given as Batch[]).next()).rejects.toThrow(
    new DataError(`steps: expected batches one after the other, as a loader gives; found ${found}`),
  );
  await optimizer.dispose();
});
