import { afterAll, describe, expect, test } from "vitest";
import { classifier, labelled } from "../../test/support/models.ts";
import { Dataset, type Loader } from "../datasets/index.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { OrtNodeEngine } from "../engine/ort-node.ts";
import * as models from "../models/index.ts";
import { Dropout, Linear, logSoftmax, losses, Module, Parameter, type Tensor } from "../nn/index.ts";
import { StateError } from "../util/errors.ts";
import { Random } from "../util/random.ts";
import { decrementOf, judge, type Seen, Spread, type Watch, watchedBatches } from "./auto-damping.ts";
import { NewtonSummary, type NewtonSummaryOptions, SGDUpdater, type StepResult } from "./index.ts";

const engine = new ReferenceEngine();
const double = new OrtNodeEngine({ precision: "float64", threads: 1 });
afterAll(() => double.dispose());

/** Points whose label is the place of the largest of their first three numbers. */
function learnable(samples: number): Dataset {
  const { x } = labelled(samples, 5);
  const label = (i: number): number => [0, 1, 2].reduce((best, k) => (entry(i, k) > entry(i, best) ? k : best), 0);
  const entry = (i: number, k: number): number => Number(x.data[5 * i + k]);
  return Dataset.fromArrays(x, { shape: [samples], data: Int32Array.from({ length: samples }, (_, i) => label(i)) });
}

const data = learnable(240);
const loader = (batchSize: number, seed: number): Loader => data.loader({ batchSize, shuffle: true, seed });
const make = (model: Module, options: NewtonSummaryOptions = {}): Promise<NewtonSummary> =>
  NewtonSummary.create(model, losses.nll, {
    engine: double,
    damping: "auto",
    periodHg: 3,
    hgLoader: loader(30, 7),
    log: () => {},
    ...options,
  });

async function steps(optimizer: NewtonSummary, count: number, from: Loader = loader(12, 3)): Promise<StepResult[]> {
  const results: StepResult[] = [];
  while (results.length < count) results.push(await optimizer.step(await from.draw()));
  return results;
}

/** With random masks. */
class Dropping extends Module {
  readonly first = new Linear(5, 8);
  readonly drop = new Dropout(0.3);
  readonly last = new Linear(8, 3);

  override forward(x: Tensor): Tensor {
    return logSoftmax(this.last.forward(this.drop.forward(this.first.forward(x).tanh())), 1);
  }
}

/** A loss of its own, without inputs. */
class Quartic extends Module {
  readonly w = new Parameter({ shape: [2], data: Float64Array.of(2, -1) });

  override forward(): Tensor {
    return this.w.square().sum().square();
  }
}

describe("damping: auto", () => {
  test.each([0.003, 0.3, 30, 1e9])("learns from a damping of %d on", async (start) => {
    const optimizer = await make(classifier(), { engine });
    optimizer.damping = start;
    const results = await steps(optimizer, 120);
    const [first, last] = [results[0]!.loss, results.slice(-10).reduce((sum, { loss }) => sum + loss / 10, 0)];
    expect(last).toBeLessThan(0.2 * first);
    expect(Math.max(...results.map(({ loss }) => loss))).toBeLessThan(3 * first);
    expect(optimizer.damping[0]).toBeLessThanOrEqual(2);
    expect(optimizer.damping[0]).toBeGreaterThan(0.01);
  });

  test("a step that would spoil the loss of the summary's batch is tried again with less", async () => {
    const options = { engine, damping: "auto", updater: new SGDUpdater(), periodHg: 1 } as const;
    const optimizer = await NewtonSummary.create(classifier(), losses.nll, options);
    optimizer.damping = 1e6;
    const batch = labelled(20);
    const first = await optimizer.step(batch);
    const second = await optimizer.step(batch);
    expect(second.loss - first.loss).toBeLessThan(3 * decrementOf(first.update!));
    expect(optimizer.damping[0]).toBeLessThanOrEqual(2);
  });

  test("each group keeps its share of damping", async () => {
    const optimizer = await make(classifier());
    const shares = [0.1, 0.2, 0.05, 0.4];
    optimizer.damping = shares;
    await steps(optimizer, 4);
    const factor = optimizer.damping[0]! / shares[0]!;
    // After one period it went up or down.
    expect([1.2, 0.72]).toContainEqual(expect.closeTo(factor, 12));
    optimizer.damping.forEach((value, s) => {
      expect(value).toBeCloseTo(shares[s]! * factor, 12);
    });
  });

  test("rates are medians over nine summaries, without those below 0", async () => {
    const optimizer = await make(classifier(), { periodHg: 1 });
    const raw = (await steps(optimizer, 12)).map(({ update }) => update!.rawRates!);
    const middle = [0, 1, 2, 3].map(
      (s) =>
        raw
          .slice(-9)
          .map((rates) => rates[s]!)
          .sort((x, y) => x - y)[4]!,
    );
    const expected = middle.map((rate, s) => Math.max(rate, 0) * optimizer.damping[s]!);
    expect([...optimizer.learningRates]).toEqual(expected);
  });

  test("a run goes on bit for bit in the middle of a period, with random masks too", async () => {
    const initial = new Dropping();
    const run = async (cut: boolean): Promise<unknown> => {
      const models = [new Dropping(), new Dropping()];
      for (const model of models) model.loadStateDict(await initial.stateDict());
      const weights = (i: number) => models[i]!.stateDict();
      let from = loader(12, 3);
      let optimizer = await make(models[0]!);
      await steps(optimizer, 8, from);
      if (cut) {
        const saved = structuredClone([await optimizer.state(), await weights(0), from.state] as const);
        optimizer = await make(models[1]!);
        from = loader(12, 3);
        from.state = saved[2];
        models[1]!.loadStateDict(saved[1]);
        await optimizer.restore(saved[0]);
      }
      await steps(optimizer, 10, from);
      return [await optimizer.state(), await weights(cut ? 1 : 0)];
    };
    expect(await run(true)).toEqual(await run(false));
  });

  test("a probe leaves no trace, a step that fails none either", async () => {
    const optimizer = await make(classifier());
    await steps(optimizer, 3);
    const before = await optimizer.state();
    await optimizer.probe(labelled(12));
    const broken = { x: { shape: [2, 5], data: new Float64Array(10).fill(Number.NaN) }, y: labelled(2).y };
    await expect(optimizer.step(broken)).rejects.toThrow();
    expect(await optimizer.state()).toEqual(before);
  });

  test("states with and without it are told apart, and damaged ones refused", async () => {
    const [auto, fixed] = [await make(classifier()), await make(classifier(), { damping: 0.3, medianLrs: 9 })];
    await steps(auto, 2);
    await steps(fixed, 2);
    await expect(auto.restore(await fixed.state())).rejects.toThrow('damping: expected "auto", found "given"');
    await expect(fixed.restore(await auto.state())).rejects.toThrow('damping: expected "given", found "auto"');
    const state = await auto.state();
    const [watch] = state.auto!.watches;
    const spoilt = (change: object) => ({ ...state.auto!, watches: [{ ...watch!, ...change }] });
    const { x, y } = watch!.batch!;
    const withY = (changed: unknown) => spoilt({ batch: { x, y: changed } });
    for (const damaged of [
      null,
      { successes: -1, watches: [] },
      { successes: 1 },
      { successes: 0, first: Number.NaN, watches: [] },
      { ...state.auto!, successes: -1 },
      spoilt({ loss: Number.NaN }),
      spoilt({ parts: [5, 6] }),
      spoilt({ batch: undefined, parts: [1] }),
      spoilt({ batch: { x: labelled(3).x } }),
      spoilt({ batch: { x: { shape: [30, 4], data: x.data.slice(30) }, y } }),
      spoilt({ batch: { x: { ...x, data: Float64Array.from(x.data, Number).fill(Number.NaN, 7, 8) }, y } }),
      withY(labelled(29).y),
      withY({ ...y, shape: [30, 1] }),
      withY({ ...y, data: Float64Array.from(y.data, Number) }),
      withY({ ...y, data: [...y.data] }),
      withY({ ...y, data: Int32Array.from(y.data, Number).fill(3, 4, 5) }),
    ]) {
      await expect(auto.restore({ ...state, auto: damaged })).rejects.toThrow(StateError);
      expect(await auto.state()).toEqual(state);
    }
    await auto.restore(state);
  });

  test("where there is nothing to learn, rounding does not turn it", async () => {
    const model = new Linear(5, 3);
    model.loadStateDict({
      weight: { shape: [3, 5], data: new Float32Array(15) },
      bias: { shape: [3], data: new Float32Array(3) },
    });
    const single = new OrtNodeEngine({ threads: 1 });
    const optimizer = await NewtonSummary.create(model, losses.crossEntropy, {
      engine: single,
      periodHg: 1,
      microbatch: 11,
      log: () => {},
    });
    // Each label as often as the others, for each input: the gradient is 0 but for rounding.
    const x = Float64Array.from({ length: 150 }, (_, i) => Math.sin((i % 5) + 1) * Math.floor(i / 15));
    const y = Int32Array.from({ length: 30 }, (_, i) => i % 3);
    for (let i = 0; i < 5; i++) await optimizer.step({ x: { shape: [30, 5], data: x }, y: { shape: [30], data: y } });
    expect(optimizer.damping[0]).toBe(0.3);
    await optimizer.dispose();
    await single.dispose();
  });

  test("a model without inputs", async () => {
    const options = { engine, damping: "auto", periodHg: 1 } as const;
    const optimizer = await NewtonSummary.create(new Quartic(), (output: Tensor) => output, options);
    const first = (await optimizer.step()).loss;
    for (let i = 0; i < 100; i++) await optimizer.step();
    expect((await optimizer.step()).loss).toBeLessThan(first / 10);
  });
});

describe("what is watched", () => {
  test("1000 samples, of so many summaries, but no more batches than steps", () => {
    expect([1000, 2000, 999, 500, 100, 30].map((samples) => watchedBatches(samples, 10))).toEqual([1, 1, 2, 2, 10, 10]);
    expect(watchedBatches(100, 1)).toBe(1);
  });

  test("of a summary all its batches at least", () => {
    expect([watchedBatches(100, 1, 7), watchedBatches(100, 10, 7), watchedBatches(300, 10, 3)]).toEqual([7, 10, 4]);
  });

  /** Which of so many batches of so many samples are kept. */
  const keptOf = (count: number, samples: number): number[] => {
    const spread = new Spread();
    for (let i = 0; i < count; i++) spread.add({ parts: [samples], loss: i, random: {} as Seen["random"] });
    return spread.kept.map(({ loss }) => loss);
  };

  test("all batches of a small summary, and a spread of a large one's", () => {
    expect(keptOf(1, 60_000)).toEqual([0]);
    expect(keptOf(3, 30)).toEqual([0, 1, 2]);
    expect(keptOf(60, 1000)).toEqual([0, 8, 16, 24, 32, 40, 48, 56]);
    expect(keptOf(600, 100)).toEqual(Array.from({ length: 10 }, (_, i) => 64 * i));
    expect(keptOf(19, 100)).toHaveLength(10);
  });

  test("enough, whatever the number of batches, and not twice as much", () => {
    for (let count = 5; count < 300; count++) {
      const [few, many] = [keptOf(count, 400), keptOf(count, 100)];
      expect(few.length).toBeGreaterThanOrEqual(5);
      expect(few.length).toBeLessThan(10);
      expect(many.length).toBeGreaterThanOrEqual(Math.min(count, 10));
      expect(many.length).toBeLessThan(20);
    }
  });

  test("of summaries of several batches all of them, from which a run goes on bit for bit", async () => {
    const options = () => ({ engine, hgBatches: 3, hgLoader: loader(10, 7) });
    const [first, second] = [classifier(), classifier()];
    const [whole, cut] = [await make(first, options()), await make(second, options())];
    await steps(whole, 4);
    expect((await whole.state()).auto!.watches.map(({ parts }) => parts)).toEqual(Array(3).fill([10]));
    second.loadStateDict(await first.stateDict());
    await cut.restore(structuredClone(await whole.state()));
    for (const optimizer of [whole, cut]) await steps(optimizer, 4);
    expect(await cut.state()).toEqual(await whole.state());
  });

  test("the last summaries' batches, each with its loss at the last summary", async () => {
    const model = classifier();
    const optimizer = await make(model);
    await steps(optimizer, 4);
    const { watches } = (await optimizer.state()).auto!;
    expect(watches.map(({ parts }) => parts)).toEqual([[30], [30]]);
    await steps(optimizer, 6);
    const later = (await optimizer.state()).auto!.watches;
    expect(later).toHaveLength(3);
    const at = later.map(({ batch }) => batch!.x.data.join());
    expect(new Set(at).size).toBe(3);
    // The first of the three was taken at step 3, and its loss again at steps 6 and 9.
    expect(at[0]).toBe(watches[1]!.batch!.x.data.join());
    expect(later[0]!.loss).not.toBe(watches[1]!.loss);
  });
});

test("whole data in unlike batches are judged as in mixed ones", async () => {
  const random = new Random(5);
  const mixed = Array.from({ length: 90 }, (_, i) => ({
    label: i % 3,
    point: [...[0, 1, 2].map((k) => 1.2 * random.normal() + (i % 3 === k ? 1 : 0)), 1],
  }));
  const sorted = mixed.toSorted((a, b) => a.label - b.label);
  const dampingAfter = async (points: typeof mixed): Promise<number> => {
    const gradientData = [0, 30, 60].map((start) => {
      const part = points.slice(start, start + 30);
      return {
        x: { shape: [30, 4], data: Float64Array.from(part.flatMap(({ point }) => point)) },
        y: { shape: [30], data: Int32Array.from(part, ({ label }) => label) },
      };
    });
    const model = models.perceptron({ layers: [4, 8, 3], activation: "tanh", seed: 1 });
    const optimizer = await NewtonSummary.create(model, losses.nll, { engine, gradientData, log: () => {} });
    for (let i = 0; i < 21; i++) await optimizer.step();
    return optimizer.damping[0]!;
  };
  expect(await dampingAfter(sorted)).toBe(await dampingAfter(mixed));
});

test("a batch that comes again is watched once", async () => {
  const optimizer = await NewtonSummary.create(classifier(), losses.nll, { engine, periodHg: 3, log: () => {} });
  for (let i = 0; i < 10; i++) await optimizer.step(labelled(12));
  expect((await optimizer.state()).auto!.watches).toHaveLength(1);
});

describe("judge", () => {
  const watch = (loss: number, samples: number): Watch => ({
    parts: [samples],
    loss,
    decrement: 0.1,
    random: { seed: 0, drawn: 0 } as unknown as Watch["random"],
  });
  const watches = [watch(2, 30), watch(1, 10)];
  const factorOf = (losses: readonly number[], damping: number): number =>
    judge(
      { successes: 0, watches },
      watches.map((each, i) => ({ ...each, loss: losses[i]! })),
      Float64Array.of(damping),
    ).factor;

  test("goes by the mean over all watched samples", () => {
    expect(factorOf([1.9, 1.2], 1)).toBe(1.2);
    expect(factorOf([2.1, 0.8], 1)).toBe(0.72);
  });

  test("takes back one success for a failure below the start, so that noise alone does not lower it", () => {
    expect(factorOf([2.1, 1], 0.1) * factorOf([1.9, 1], 0.1)).toBeCloseTo(1, 15);
    expect(factorOf([2.1, 1], 0.3)).toBe(0.72);
  });
});

describe("decrementOf", () => {
  test("half of what the slope gives along the rates as solved, or as kept, and 0 at least", () => {
    const g = Float64Array.of(2, -1);
    expect(decrementOf({ g, rates: Float64Array.of(9, 9), rawRates: Float64Array.of(3, 1) })).toBe(2.5);
    expect(decrementOf({ g, rates: Float64Array.of(1, 1) })).toBe(0.5);
    expect(decrementOf({ g, rates: Float64Array.of(0, 1) })).toBe(0);
  });
});
