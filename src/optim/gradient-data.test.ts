import { describe, expect, test } from "vitest";
import { assertClose } from "../../test/support/close.ts";
import { classifier, labelLoss, labelled } from "../../test/support/models.ts";
import { StrictEngine } from "../../test/support/strict-engine.ts";
import { Dataset } from "../datasets/index.ts";
import { ReferenceEngine } from "../engine/index.ts";
import {
  Buffer,
  Dropout,
  init,
  Linear,
  losses,
  Module,
  manualSeed,
  Sequential,
  Tanh,
  type Tensor,
} from "../nn/index.ts";
import { fullbatchGradient } from "../summary/index.ts";
import { DataError, OptionError } from "../util/errors.ts";
import { type Batch, type FloatData, ndarray } from "../util/ndarray.ts";
import {
  NewtonSummary,
  type NewtonSummaryOptions,
  Optimizer,
  SGDUpdater,
  type StepArgument,
  StochasticHvUpdater,
} from "./index.ts";

const engine = new ReferenceEngine();
const parts: readonly Batch[] = [labelled(5, 11), labelled(2, 12), labelled(7, 13)];
const make = (model: Module, options: NewtonSummaryOptions = {}): Promise<NewtonSummary> =>
  NewtonSummary.create(model, losses.nll, { engine, periodHg: 2, log: () => {}, gradientData: parts, ...options });

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

/** Layers of which one drops inputs. */
function dropping(): Module {
  manualSeed(3);
  return new Sequential(new Linear(5, 4), new Dropout(0.5), new Tanh(), new Linear(4, 3));
}

describe("the gradient over all of gradientData", () => {
  test.each<[string, NewtonSummaryOptions]>([
    ["with momentum", {}],
    ["clipped", { clipGradNorm: 0.1 }],
    ["with a learned direction", { updater: new StochasticHvUpdater() }],
    ["with a warm-up", { uniformAvg: { period: 2, warmup: 1 } }],
  ])("is that of one batch with all samples, %s", async (_what, options) => {
    const [model, other] = [classifier(), classifier()];
    const [whole, one] = [
      await make(model, options),
      await make(other, { ...options, gradientData: undefined as never }),
    ];
    for (let i = 0; i < 7; i++) {
      const [found, expected] = [await whole.step(), await one.step(merged(parts))];
      // Sums in another order: rounding, which each step passes on to the next.
      expect(found.loss).toBeCloseTo(expected.loss, 11);
      assertClose(found.learningRates, expected.learningRates, { relative: 1e-9 }, `rates of step ${i}`);
      assertClose(await weights(model), await weights(other), { relative: 1e-10 }, `weights of step ${i}`);
    }
  });

  test("is what fullbatchGradient gives", async () => {
    const [model, other] = [classifier(), classifier()];
    const whole = await make(model);
    const given = await make(other, { gradientData: undefined as never, hgData: parts });
    for (let i = 0; i < 4; i++) {
      const { gradient } = await fullbatchGradient(other, losses.nll, parts, { engine });
      const { update } = await whole.step();
      expect(update).toEqual((await given.step({ gradient })).update);
      expect(await weights(model)).toEqual(await weights(other));
    }
  });

  test("goes over a loader again and again, and leaves the summary to hgLoader where there is one", async () => {
    const data = Dataset.fromArrays(labelled(20, 5).x, labelled(20, 5).y);
    let drawn = 0;
    const draw = async (): Promise<Batch> => {
      drawn++;
      return labelled(9, 4);
    };
    const whole = await make(classifier(), { gradientData: data.loader({ batchSize: 6 }), hgLoader: { draw } });
    const one = await make(classifier(), { gradientData: [labelled(20, 5)], hgData: [labelled(9, 4)] });
    for (let i = 0; i < 4; i++) {
      const [found, expected] = [await whole.step(), await one.step()];
      expect(found.loss).toBeCloseTo(expected.loss, 11);
      assertClose(found.update?.H ?? [], expected.update?.H ?? [], { relative: 1e-9 }, "H");
    }
    expect(drawn).toBe(2);
  });

  test("is what a probe sees, and a saved state goes on to the last bit, masks included", async () => {
    const create = (model: Module) =>
      NewtonSummary.create(model, losses.crossEntropy, { engine, periodHg: 2, log: () => {}, gradientData: parts });
    const [first, second] = [dropping(), dropping()];
    const [optimizer, resumed] = [await create(first), await create(second)];
    for (let i = 0; i < 6; i++) {
      second.loadStateDict(await first.stateDict());
      await resumed.restore(await optimizer.state());
      const probed = i % 2 === 0 ? await optimizer.probe() : undefined;
      const result = await optimizer.step();
      expect(result.update).toEqual(probed);
      expect(await resumed.step()).toEqual(result);
    }
    expect(await weights(second)).toEqual(await weights(first));
  });
});

/** It follows the mean of its inputs: each batch leaves its trace. */
class Following extends Module {
  readonly layer = new Linear(5, 3);
  readonly mean = new Buffer(init.zeros([5]));

  override forward(x: Tensor): Tensor {
    this.mean.assign(this.mean.mul(0.5).add(x.mean([0]).mul(0.5)));
    return this.layer.forward(x);
  }
}

describe("buffers", () => {
  test("go from batch to batch, with and without a summary", async () => {
    const [model, other] = [new Following(), new Following()];
    const optimizer = await NewtonSummary.create(model, labelLoss, {
      engine,
      periodHg: 2,
      log: () => {},
      gradientData: parts,
    });
    const follow = await Optimizer.create(other, labelLoss, { engine, updater: new SGDUpdater(), lr: 1e-3 });
    for (let i = 0; i < 3; i++) {
      await optimizer.step();
      for (const batch of parts) await follow.step(batch);
      expect((await model.stateDict()).mean).toEqual((await other.stateDict()).mean);
    }
  });
});

describe("what goes wrong leaves everything as it was", () => {
  const poisoned = (): Batch => {
    const batch = labelled(3);
    return { ...batch, x: ndarray(Float64Array.from(batch.x.data as FloatData).fill(Number.NaN, 2, 3), [3, 5]) };
  };
  /** Batches of which the last one is bad, once it is asked for. */
  class Turning {
    bad: Batch | (() => void) | undefined;

    *[Symbol.iterator](): Generator<Batch> {
      yield* parts;
      if (typeof this.bad === "function") this.bad();
      else if (this.bad) yield this.bad;
      yield parts[0]!;
    }
  }

  test.each([0, 1, 2])("after %i steps", async (steps) => {
    const strict = new StrictEngine();
    const model = new Following();
    const batches = new Turning();
    const options = { engine: strict, periodHg: 2, log: () => {}, gradientData: batches };
    const optimizer = await NewtonSummary.create(model, labelLoss, options);
    for (let i = 0; i < 2 + steps; i++) await optimizer.step();
    const before = [await optimizer.state(), await model.stateDict()];
    const live = strict.tensors.live;
    const stop = new AbortController();
    const wrong: [Batch | (() => void), RegExp][] = [
      [poisoned(), /batch x: entry 2 is NaN/],
      [{ ...labelled(3), y: ndarray(Int32Array.of(0, 1, 5), [3]) }, /label 5 of sample 2/],
      [() => stop.abort(new Error("enough")), /enough/],
    ];
    for (const [bad, message] of wrong) {
      batches.bad = bad;
      await expect(optimizer.step(undefined, { signal: stop.signal })).rejects.toThrow(message);
      expect([await optimizer.state(), await model.stateDict()]).toEqual(before);
      expect(strict.tensors.live).toBe(live);
    }
    batches.bad = undefined;
    await optimizer.step();
    expect(strict.tensors.live).toBe(live);
  });

  test("a step may be skipped", async () => {
    const optimizer = await make(classifier(), { gradientData: [...parts, poisoned()], onNonFinite: "skip" });
    expect((await optimizer.step()).skipped).toMatch(/batch x: entry 2 is NaN/);
  });

  test("no batch at all is an error", async () => {
    await expect((await make(classifier(), { gradientData: [] })).step()).rejects.toThrow(DataError);
  });

  test.each<[string, StepArgument]>([
    ["a batch", labelled(6)],
    ["a gradient", { gradient: {} }],
  ])("%s beside it is refused", async (_what, input) => {
    const optimizer = await make(classifier());
    for (const refused of [optimizer.step(input), optimizer.probe(input)]) {
      await expect(refused).rejects.toThrow("a batch or gradient would be ignored beside gradientData");
      await expect(refused).rejects.toThrow(OptionError);
    }
  });

  test("what is no batches is refused", async () => {
    const made = make(classifier(), { gradientData: labelled(6) as never });
    await expect(made).rejects.toThrow("gradientData must be batches: an array of them, or a loader");
  });
});
