import type { Dataset } from "../datasets/index.ts";
import { mnist } from "../datasets/node/index.ts";
import { OrtNodeEngine } from "../engine/ort-node.ts";
import { perceptron } from "../models/index.ts";
import { losses, type Module } from "../nn/index.ts";
import { AdamUpdater, NewtonSummary, Optimizer, SGDUpdater, type TrainingOptimizer } from "../optim/index.ts";
import { partition } from "../summary/index.ts";
import type { TrainOptions } from "../train/index.ts";
import { OptionError } from "../util/errors.ts";
import type { TrainSettings } from "./train-options.ts";

const LAYERS = [784, 1024, 200, 100, 10];
const ACTIVATION = "tanh";
const EVALUATION_BATCH = 1000;
const METHODS = { newton: "NewtonSummary", adam: "Adam", sgd: "SGD" };

/** A run put together, ready for `train`. */
export interface Session {
  readonly options: Pick<
    TrainOptions,
    "model" | "loss" | "optimizer" | "trainLoader" | "evaluations" | "epochs" | "config" | "engine"
  >;
  dispose(): Promise<void>;
}

/**
 * Puts a run together: the model, the data and the optimiser.
 * @param given the names of the options that the user chose; only these are held against the size of the data.
 * @throws OptionError, DataError
 */
export async function openSession(settings: TrainSettings, given: ReadonlySet<string>): Promise<Session> {
  const { seed, epochs, "batch-size": batchSize, threads } = settings;
  const { train, test } = await data(settings, given);
  const model = perceptron({ layers: LAYERS, activation: ACTIVATION, seed });
  const engine = new OrtNodeEngine({ threads });
  const optimizer = await makeOptimizer(settings, model, engine, train);
  const evaluation = (dataset: Dataset) => dataset.loader({ batchSize: EVALUATION_BATCH });
  return {
    options: {
      model,
      loss: losses.nll,
      optimizer,
      engine,
      epochs,
      trainLoader: train.loader({ batchSize, shuffle: true, seed }),
      evaluations: { train: evaluation(train), test: evaluation(test) },
      config: {
        method: METHODS[settings.optimizer],
        dataset: "MNIST",
        model: `perceptron ${LAYERS.join("-")}, ${ACTIVATION}`,
        "test samples": test.length,
        ...settings,
      },
    },
    dispose: async () => {
      await optimizer.dispose();
      await engine.dispose();
    },
  };
}

async function data(settings: TrainSettings, given: ReadonlySet<string>): Promise<{ train: Dataset; test: Dataset }> {
  const { train, test } = await mnist();
  const { limit } = settings;
  if (limit !== undefined && limit > train.length)
    throw new OptionError(`--limit ${limit} is more than the ${train.length} training samples there are`);
  const samples = limit ?? train.length;
  for (const name of ["batch-size", "summary-batch-size"] as const)
    if (given.has(name) && settings[name]! > samples)
      throw new OptionError(`--${name} ${settings[name]} is more than the ${samples} training samples`);
  return limit === undefined ? { train, test } : { train: train.take(limit), test: test.take(Math.ceil(limit / 6)) };
}

function makeOptimizer(
  settings: TrainSettings,
  model: Module,
  engine: OrtNodeEngine,
  train: Dataset,
): Promise<TrainingOptimizer> {
  // What they would log is in the run's events too, from which the display warns.
  const common = { engine, log: () => {} };
  const { optimizer, seed, lr } = settings;
  if (optimizer === "adam")
    return Optimizer.create(model, losses.nll, { ...common, updater: new AdamUpdater(), lr: lr! });
  if (optimizer === "sgd")
    return Optimizer.create(model, losses.nll, { ...common, updater: new SGDUpdater({ momentum: 0.9 }), lr: lr! });
  return NewtonSummary.create(model, losses.nll, {
    ...common,
    partition: partition.canonical(model),
    hgLoader: train.loader({ batchSize: settings["summary-batch-size"]!, shuffle: true, seed: seed + 1 }),
    updater: new SGDUpdater({ momentum: 0.9, dampening: 0.9 }),
    damping: settings.damping!,
    periodHg: settings.period!,
    momLrs: settings["mom-lrs"]!,
    removeNegative: true,
    nesterov: { dampingInt: settings["damping-int"]! },
  });
}
