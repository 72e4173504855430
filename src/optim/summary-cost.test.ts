import { describe, expect, test } from "vitest";
import { classifier, labelled } from "../../test/support/models.ts";
import { ReferenceEngine } from "../engine/index.ts";
import * as models from "../models/index.ts";
import { losses, type Module, Parameter } from "../nn/index.ts";
import { partition } from "../summary/index.ts";
import { OptionError, StateError } from "../util/errors.ts";
import { type Batch, sizeOf } from "../util/ndarray.ts";
import { NewtonSummary, type NewtonSummaryOptions, summaryBatchSize } from "./index.ts";
import { newtonSettings } from "./newton-options.ts";
import { isDue, periodOf } from "./summary-cost.ts";
import { resolveTarget } from "./target.ts";

const engine = new ReferenceEngine();

function images(samples: number, shape: readonly number[]): Batch {
  const data = Float32Array.from({ length: samples * sizeOf(shape) }, (_, i) => Math.sin(i));
  return { x: { shape: [samples, ...shape], data }, y: { shape: [samples], data: new Int32Array(samples) } };
}

/**
 * Products of a step and of a summary of 1000 with its two losses, in forward passes (`npm run bench` has them too); n = 1000 √(10 · 100 ·
 * step / 1000 · summary); the least period with 1000 · summary ≤ period · 100 · step; and the largest n with n · summary, of which the
 * losses are more below 1000, ≤ 10 · 100 · step, but 100 at least.
 */
const MODELS: readonly [string, Module, readonly number[], number, number, number][] = [
  // 2.220 and 5.416
  ["the perceptron", models.perceptron({ layers: "784-1024-200-100-10", activation: "tanh" }), [784], 640, 25, 263],
  // 2.459 and 7.266
  ["LeNet", models.lenet({ activation: "tanh" }), [3, 32, 32], 581, 30, 218],
  // 2.866 and 57.33
  ["20 narrow layers", models.perceptron({ layers: "96-20*32-10", activation: "elu" }), [96], 223, 201, 100],
];

test.each(MODELS)("the costs of %s", (_, model, shape, size, period, sizeFor10) => {
  const batch = images(100, shape);
  const options: NewtonSummaryOptions = { damping: "auto", periodHg: "auto" };
  expect(summaryBatchSize(model, losses.nll, batch, options)).toBe(size);
  expect(summaryBatchSize(model, losses.nll, batch, { damping: "auto", periodHg: 10 })).toBe(sizeFor10);
  const settings = newtonSettings(options, false);
  const parts = { ...resolveTarget(model, losses.nll, undefined), updater: settings.updater, clipGradNorm: undefined };
  expect(periodOf(parts, settings, batch, { batch: images(1000, shape), samples: 1000, watched: 1 })).toBe(period);
});

test("a period is as long as its own watching asks for", () => {
  const [, model, shape] = MODELS[2]!;
  const batch = images(16, shape);
  const settings = newtonSettings({ periodHg: "auto" }, false);
  const parts = { ...resolveTarget(model, losses.nll, undefined), updater: settings.updater, clipGradNorm: undefined };
  // 16 · (55.33 + 1 + 31) is less than 31 · 16 · 2.866, but 16 · (55.33 + 1 + 30) more than 30 · 16 · 2.866.
  expect(periodOf(parts, settings, batch, { batch, samples: 16, watched: 1 })).toBe(31);
  // Of four such batches, 4 · 16 · (55.33 + 1) and 63 · 16: in all more than 99 · 16 · 2.866, but not more than 101 · 16 · 2.866.
  expect(periodOf(parts, settings, batch, { batch, samples: 64, watched: 4 })).toBe(101);
});

describe("summaryBatchSize", () => {
  test("has fewer samples with more groups, and more without automatic damping or some third derivatives", () => {
    const model = models.perceptron({ layers: "30-8*30-3" });
    const size = (options: NewtonSummaryOptions = {}) =>
      summaryBatchSize(model, losses.nll, images(20, [30]), { damping: 0.3, ...options });
    expect(size({ partition: partition.wb(model) })).toBeGreaterThan(size());
    expect(size({ damping: "auto" })).toBeLessThan(size());
    expect(size({ periodOrder3: 3 })).toBeGreaterThan(size({ periodOrder3: 2 }));
    expect(size({ periodOrder3: 2 })).toBeGreaterThan(size());
    expect(() => size({ periodHg: 0 })).toThrow(OptionError);
    expect(() => size({ gradientData: [labelled(6)] })).toThrow(/summaryBatchSize: gradientData/);
  });
});

describe("periodHg: auto", () => {
  const make = (options: NewtonSummaryOptions = {}) =>
    NewtonSummary.create(classifier(), losses.nll, {
      engine,
      damping: 0.3,
      periodHg: "auto",
      log: () => {},
      ...options,
    });
  const from = (samples: number) => ({ hgLoader: { draw: async () => labelled(samples) } });

  test("is 10 where summaries are cheap, and grows with their samples", async () => {
    const [none, small, large, twice] = [
      await make(),
      await make(from(10)),
      await make(from(200)),
      await make({ ...from(100), hgBatches: 2 }),
    ];
    expect(small.periodHg).toBeUndefined();
    for (const optimizer of [none, small, large, twice]) await optimizer.step(labelled(10));
    expect([none.periodHg, small.periodHg]).toEqual([10, 10]);
    expect(large.periodHg).toBeGreaterThan(20);
    expect(twice.periodHg).toBe(large.periodHg);
  });

  test("summaries are taken so often, whatever the batches of later steps", async () => {
    const optimizer = await make(from(60));
    const taken: number[] = [];
    for (let i = 0; i < 40; i++) if ((await optimizer.step(labelled(i === 0 ? 10 : 3))).update) taken.push(i);
    const period = optimizer.periodHg!;
    expect(period).toBeGreaterThan(10);
    expect(period).toBeLessThan(19);
    expect(taken).toEqual([0, period, 2 * period]);
  });

  test("the first one is halved as long as 10 steps remain", () => {
    const taken = (period: number) =>
      Array.from({ length: 2 * period + 1 }, (_, i) => i).filter((i) => isDue(i, period));
    expect(taken(10)).toEqual([0, 10, 20]);
    expect(taken(18)).toEqual([0, 18, 36]);
    expect(taken(19)).toEqual([0, 10, 19, 38]);
    expect(taken(41)).toEqual([0, 11, 21, 41, 82]);
    expect(taken(201)).toEqual([0, 13, 26, 51, 101, 201, 402]);
  });

  test("a number stays as it is", async () => {
    const optimizer = await make({ ...from(200), periodHg: 2 });
    await optimizer.step(labelled(10));
    expect(optimizer.periodHg).toBe(2);
    expect(await optimizer.state()).not.toHaveProperty("period");
  });

  test("is saved, and a damaged one is refused", async () => {
    const [first, second] = [await make(from(200)), await make(from(200))];
    await first.step(labelled(10));
    const state = await first.state();
    expect(state.period).toBe(first.periodHg);
    await second.restore(state);
    expect(second.periodHg).toBe(first.periodHg);
    await expect(second.restore({ ...state, period: 0 })).rejects.toThrow(StateError);
    const { period: _, ...without } = state;
    await expect(second.restore(without)).rejects.toThrow(/period must be a whole number, 1 or more; found nothing/);
    expect(second.periodHg).toBe(first.periodHg);
  });

  test("of a loss without inputs or products is 10", async () => {
    const w = new Parameter({ shape: [2], data: Float64Array.of(2, -1) });
    const optimizer = await NewtonSummary.create([{ params: [w] }], () => w.square().sum().square(), {
      engine,
      periodHg: "auto",
    });
    await optimizer.step();
    expect(optimizer.periodHg).toBe(10);
  });

  test("is refused where a step's cost is not known", async () => {
    await expect(make({ gradientData: [labelled(10)] })).rejects.toThrow('periodHg: "auto" weighs');
    const optimizer = await make(from(10));
    await expect(optimizer.step({ gradient: {} })).rejects.toThrow('periodHg: "auto" weighs');
  });
});
