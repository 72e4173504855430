import { beforeAll, expect, test } from "vitest";
import { classifier, labelled } from "../../test/support/models.ts";
import { Dataset } from "../datasets/index.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { models } from "../index.ts";
import { losses, type Module } from "../nn/index.ts";
import { partition } from "../summary/index.ts";
import { StateError } from "../util/errors.ts";
import {
  AdamUpdater,
  GeometricDamping,
  KFAC,
  LBFGS,
  NewtonStochasticHv,
  NewtonSummary,
  type NewtonSummaryOptions,
  Optimizer,
  ScheduleFreeAdamWUpdater,
  SGDUpdater,
  type TrainingOptimizer,
} from "./index.ts";

const engine = new ReferenceEngine();
const data = Dataset.fromArrays(labelled(40, 5).x, labelled(40, 5).y);
const loader = (seed: number) => data.loader({ batchSize: 12, shuffle: true, seed });
const own = { engine, periodHg: 2, log: () => {} };

function newton(options: NewtonSummaryOptions = {}): (model: Module) => Promise<NewtonSummary> {
  return (model) => NewtonSummary.create(model, losses.nll, { ...own, ...options });
}

function scheduled(factor: number): (model: Module) => Promise<NewtonSummary> {
  return async (model) => {
    const optimizer = await newton()(model);
    new GeometricDamping(optimizer, { factor, applyTo: "dampingInt" });
    return optimizer;
  };
}

function frozen(): Module {
  const model = classifier();
  model.parameters()[1]!.requiresGrad = false;
  return model;
}

interface Variant {
  readonly model?: () => Module;
  readonly make: (model: Module) => Promise<TrainingOptimizer>;
  /** What the first one says of this one's state. */
  readonly message: RegExp;
}

/** Optimisers of which none takes another's state. */
const VARIANTS: Readonly<Record<string, Variant>> = {
  plain: { make: newton(), message: /^$/ },
  "a wider model": {
    model: () => models.perceptron({ layers: [5, 6, 3] }),
    make: newton(),
    message: /another model: shapes.layers.0.weight.0: expected 4, found 6/,
  },
  "a deeper model": {
    model: () => models.perceptron({ layers: [5, 4, 4, 3] }),
    make: newton(),
    message: /another partition: groups: expected 4, found 6/,
  },
  "a frozen parameter": { model: frozen, make: newton(), message: /another partition: groups: expected 4, found 3/ },
  "another partition": {
    make: (model) => newton({ partition: partition.wb(model) })(model),
    message: /another partition: groups: expected 4, found 2/,
  },
  "another updater": {
    make: newton({ updater: new AdamUpdater() }),
    message: /another updater: updater.name: expected "SGD", found "Adam"/,
  },
  "other options of the updater": {
    make: newton({ momentum: 0.5 }),
    message: /another updater: updater.options.momentum: expected 0.9, found 0.5/,
  },
  "a learned direction": {
    make: (model) => NewtonStochasticHv.create(model, losses.nll, own),
    message: /expected "SGD", found "StochasticHv"/,
  },
  "no cubic regularisation": {
    make: newton({ nesterov: { use: false } }),
    message: /another optimiser's options: settings.nesterov: expected true, found false/,
  },
  "uniform averages": {
    make: newton({ uniformAvg: { period: 2 } }),
    message: /another optimiser's options: settings.averaging.kind: expected "polynomial", found "uniform"/,
  },
  "uniform averages over another period": {
    make: newton({ uniformAvg: { period: 3 } }),
    message: /settings.averaging.kind: expected "polynomial", found "uniform"/,
  },
  "polynomial averages with another power": {
    make: newton({ polyAvg: 1 }),
    message: /settings.averaging.power: expected 5, found 1/,
  },
  "corrected averages": {
    make: newton({ movavg: 0.5, movavgBiasCorrection: true }),
    message: /settings.averaging.kind: expected "polynomial", found "exponential"/,
  },
  "other corrected averages": {
    make: newton({ movavg: 0.25, movavgBiasCorrection: true }),
    message: /settings.averaging.kind: expected "polynomial", found "exponential"/,
  },
  "normalised directions": {
    make: newton({ normalizeDirs: true }),
    message: /settings.normalizeDirs: expected false, found true/,
  },
  "a damping that stays": {
    make: newton({ damping: 0.1 }),
    message: /settings.damping: expected "auto", found "given"/,
  },
  "medians of other windows": { make: newton({ medianLrs: 3 }), message: /settings.medianLrs: expected 9, found 3/ },
  "third derivatives at times": {
    make: newton({ periodOrder3: 2 }),
    message: /settings.periodOrder3: expected 1, found 2/,
  },
  "a period that is chosen": {
    make: newton({ periodHg: "auto" }),
    message: /settings.periodHg: expected "given", found "auto"/,
  },
  "a warm-up": {
    make: newton({ uniformAvg: { period: 2, warmup: 1 } }),
    message: /settings.averaging.kind: expected "polynomial", found "uniform"/,
  },
  "rates clipped by their average": {
    make: newton({ clipRates: { by: "average" } }),
    message: /settings.clipRates: expected "none", found/,
  },
  "rates clipped by their median": {
    make: newton({ clipRates: { by: "median" } }),
    message: /settings.clipRates: expected "none", found/,
  },
  "a loader for summaries": {
    make: newton({ hgLoader: loader(3) }),
    message: /saved with the place of an hgLoader, this optimiser has none/,
  },
  "another loader": {
    make: newton({ hgLoader: loader(4) }),
    message: /saved with the place of an hgLoader, this optimiser has none/,
  },
  "a schedule": {
    make: scheduled(1.1),
    message: /other schedules: expected none, found GeometricDamping/,
  },
  "the same with another factor": {
    make: scheduled(1.2),
    message: /other schedules: expected none, found GeometricDamping/,
  },
  Optimizer: {
    make: (model) => Optimizer.create(model, losses.nll, { engine, updater: new SGDUpdater(), lr: 0.1 }),
    message: /another optimiser: kind: expected "NewtonSummary", found "Optimizer"/,
  },
  ScheduleFreeAdamW: {
    make: (model) => Optimizer.create(model, losses.nll, { engine, updater: new ScheduleFreeAdamWUpdater(), lr: 0.1 }),
    message: /another optimiser: kind/,
  },
  "ScheduleFreeAdamW, whose tensors are in units of another learning rate": {
    make: (model) => Optimizer.create(model, losses.nll, { engine, updater: new ScheduleFreeAdamWUpdater(), lr: 0.4 }),
    message: /another optimiser: kind/,
  },
  "KFAC with another damping": {
    make: (model) => KFAC.create(model, losses.nll, { engine, damping: 0.1 }),
    message: /another optimiser: kind/,
  },
  KFAC: {
    make: (model) => KFAC.create(model, losses.nll, { engine }),
    message: /another optimiser: kind: expected "NewtonSummary", found "KFAC"/,
  },
  LBFGS: {
    make: (model) => LBFGS.create(model, losses.nll, { engine, maxIter: 2 }),
    message: /another optimiser: kind: expected "NewtonSummary", found "LBFGS"/,
  },
};

/** An optimiser after some steps, and its model. */
async function run({ make, model = classifier }: Variant): Promise<{ optimizer: TrainingOptimizer; model: Module }> {
  const own = model();
  const optimizer = await make(own);
  for (let i = 0; i < 3; i++) await optimizer.step(labelled(6, i));
  return { optimizer, model: own };
}

const everything = async ({ optimizer, model }: { optimizer: TrainingOptimizer; model: Module }) => [
  await optimizer.state(),
  await model.stateDict(),
];

const states: Record<string, unknown> = {};
beforeAll(async () => {
  for (const [name, variant] of Object.entries(VARIANTS)) states[name] = await (await run(variant)).optimizer.state();
});

test.each(Object.entries(VARIANTS))(
  "with %s, it takes its own state, and refuses those of all others before anything changes",
  async (name, variant) => {
    const mine = await run(variant);
    await mine.optimizer.restore(states[name]);
    const before = await everything(mine);
    for (const [other, { message }] of Object.entries(VARIANTS)) {
      if (other === name) continue;
      const restored = mine.optimizer.restore(states[other]);
      await expect(restored, other).rejects.toThrow(StateError);
      if (name === "plain") await expect(restored, other).rejects.toThrow(message);
      expect(await everything(mine), other).toEqual(before);
    }
  },
);
