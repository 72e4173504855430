import type { Dataset, Loader } from "../datasets/index.ts";
import type { Engine } from "../engine/index.ts";
import type { Loss, Module } from "../nn/index.ts";
import {
  AdamUpdater,
  AdamWUpdater,
  KFAC,
  LBFGS,
  LionUpdater,
  MuonUpdater,
  NewtonSummary,
  type NewtonSummaryOptions,
  Optimizer,
  ProdigyUpdater,
  RMSpropUpdater,
  ScheduleFreeAdamWUpdater,
  SGDUpdater,
  StochasticHvUpdater,
  summaryBatchSize,
  type TrainingOptimizer,
  type Updater,
} from "../optim/index.ts";
import { partition } from "../summary/index.ts";
import { type Defaults, forOption } from "./options.ts";

/** The options of `grnewt train` that belong to some optimisers. */
export interface OptimizerSettings {
  readonly seed: number;
  readonly lr?: number;
  readonly momentum?: number;
  readonly "weight-decay"?: number;
  readonly "max-iter"?: number;
  readonly "history-size"?: number;
  readonly damping?: number | "auto";
  readonly "damping-int"?: number;
  readonly period?: number | "auto";
  readonly "period-order3"?: number;
  readonly "mom-lrs"?: number;
  readonly "summary-batch-size"?: number | "auto";
  readonly partition?: string;
  readonly "direction-lr"?: number;
  readonly "direction-ridge"?: number;
  readonly "step-microbatch"?: number;
}

/** What an optimiser is made for. */
export interface Parts {
  readonly model: Module;
  readonly loss: Loss;
  readonly engine: Engine;
  readonly train: Dataset;
  /** Samples in a step. */
  readonly batchSize: number;
}

/** The options of an optimiser, with their defaults. */
export type OptimizerTakes = Defaults<Omit<OptimizerSettings, "seed">>;

interface OptimizerEntry {
  /** What a run calls it. */
  readonly title: string;
  readonly takes: OptimizerTakes;
  /** Why it has no use for the options of others. */
  readonly because?: string;
  /** Defaults of other options that suit it. */
  readonly suits?: { readonly "batch-size": number };
  readonly create: (settings: OptimizerSettings, parts: Parts) => Promise<TrainingOptimizer>;
}

/** The options of NewtonSummary. */
const NEWTON = {
  damping: "auto",
  // What suits the damping.
  "damping-int": undefined,
  "mom-lrs": undefined,
  period: 10,
  "period-order3": 1,
  "summary-batch-size": 1000,
  partition: "canonical",
  "step-microbatch": undefined,
} as const;

/** The optimisers of `grnewt train`. */
export const OPTIMIZERS = {
  newton: withSummaries("NewtonSummary", NEWTON, () => new SGDUpdater({ momentum: 0.9, dampening: 0.9 })),
  "newton-hv": withSummaries(
    "NewtonStochasticHv",
    // With the updater's own 0.1 and 1 the paper's perceptron diverges on MNIST, by the largest eigenvalues of H.
    { ...NEWTON, "direction-lr": 0.03, "direction-ridge": 3 },
    ({ "direction-lr": lr, "direction-ridge": ridge }) => new StochasticHvUpdater({ lr: lr!, ridge: ridge! }),
  ),
  sgd: withRate("SGD", { lr: 0.1, momentum: 0.9, "weight-decay": 0 }, (given) => new SGDUpdater(given)),
  adam: withRate("Adam", { lr: 1e-3, "weight-decay": 0 }, (given) => new AdamUpdater(given)),
  adamw: withRate("AdamW", { lr: 1e-3, "weight-decay": 0.01 }, (given) => new AdamWUpdater(given)),
  rmsprop: withRate("RMSprop", { lr: 1e-3, momentum: 0, "weight-decay": 0 }, (given) => new RMSpropUpdater(given)),
  lion: withRate("Lion", { lr: 1e-4, "weight-decay": 0 }, (given) => new LionUpdater(given)),
  // With lengths as AdamW's, one rate suits the matrices and what AdamW takes over.
  muon: withRate("Muon, AdamW", { lr: 1e-3, momentum: 0.95, "weight-decay": 0.1 }, ({ momentum, weightDecay }) => {
    const others = new AdamWUpdater({ weightDecay });
    return new MuonUpdater({ momentum, weightDecay, adjustLrFn: "match_rms_adamw", others });
  }),
  "schedule-free": withRate(
    "schedule-free AdamW",
    { lr: 2.5e-3, "weight-decay": 0 },
    (given) => new ScheduleFreeAdamWUpdater(given),
  ),
  prodigy: withRate("Prodigy", { lr: 1, "weight-decay": 0 }, (given) => new ProdigyUpdater(given)),
  lbfgs: {
    title: "L-BFGS",
    takes: { lr: 1, "max-iter": 20, "history-size": 10, "step-microbatch": undefined },
    // Curvature that is taken from differences of gradients drowns in the noise of small batches.
    suits: { "batch-size": 1000 },
    create: (settings, { model, loss, engine }) => {
      const { lr, "max-iter": maxIter, "history-size": historySize } = settings;
      const own = { lr: lr!, maxIter: maxIter!, historySize: historySize! };
      return LBFGS.create(model, loss, { ...common(settings, engine), ...own });
    },
  },
  kfac: {
    title: "K-FAC",
    takes: { lr: 0.003, momentum: 0.9, "weight-decay": 0, damping: 0.03 },
    create: (settings, { model, loss, engine }) => {
      const { seed, lr, momentum, damping, "weight-decay": weightDecay } = settings;
      const own = { seed, lr: lr!, momentum: momentum!, weightDecay: weightDecay!, damping: damping as number };
      return KFAC.create(model, loss, { ...common(settings, engine), ...own });
    },
  },
} satisfies Record<string, OptimizerEntry>;

/** The name of an optimiser. */
export type OptimizerName = keyof typeof OPTIMIZERS;

/** The optimiser of that name. */
export function optimizerEntry(name: OptimizerName): OptimizerEntry {
  return OPTIMIZERS[name];
}

/** Batches in an order drawn anew each epoch. A last one of a single sample is left out: batch norm has no use for it. */
export function shuffled(data: Dataset, batchSize: number, seed: number): Loader {
  return data.loader({ batchSize, shuffle: true, seed, dropLast: batchSize > 1 && data.length % batchSize === 1 });
}

/** What all optimisers are given. What they would log is in the run's events too, from which the display warns. */
function common({ "step-microbatch": stepMicrobatch }: OptimizerSettings, engine: Engine) {
  return { engine, log: () => {}, ...(stepMicrobatch !== undefined && { stepMicrobatch }) };
}

interface RateSettings {
  readonly lr: number;
  readonly momentum?: number;
  readonly "weight-decay": number;
}

/** An updater's own options: what it takes beside the learning rate. */
type UpdaterSettings<Takes> = { readonly weightDecay: number } & {
  readonly [Name in keyof Takes & "momentum"]: number;
};

/** An updater with a fixed learning rate. */
function withRate<Takes extends RateSettings>(
  title: string,
  takes: Takes,
  updater: (settings: UpdaterSettings<Takes>) => Updater,
): OptimizerEntry & { readonly takes: Takes } {
  return {
    title,
    takes: { ...takes, "step-microbatch": undefined },
    create: (settings, { model, loss, engine }) => {
      const { lr, momentum, "weight-decay": weightDecay } = settings;
      const own = { weightDecay, ...("momentum" in takes && { momentum }) } as UpdaterSettings<Takes>;
      return Optimizer.create(model, loss, { ...common(settings, engine), updater: updater(own), lr: lr! });
    },
  };
}

/** NewtonSummary with some updater. */
function withSummaries(
  title: string,
  takes: OptimizerTakes,
  updater: (settings: OptimizerSettings) => Updater,
): OptimizerEntry {
  return {
    title,
    takes,
    because: ", which finds its own learning rates",
    create: (settings, parts) => createNewton(settings, updater(settings), parts),
  };
}

async function createNewton(
  settings: OptimizerSettings,
  updater: Updater,
  { model, loss, engine, train, batchSize }: Parts,
): Promise<TrainingOptimizer> {
  const name = settings.partition!;
  const { seed, "mom-lrs": momLrs, "damping-int": dampingInt, "summary-batch-size": asked } = settings;
  const options: NewtonSummaryOptions = {
    ...common(settings, engine),
    partition: forOption("partition", name, () => partition.byName(model, name)),
    updater,
    damping: settings.damping!,
    periodHg: settings.period!,
    periodOrder3: settings["period-order3"]!,
    ...(momLrs !== undefined && { momLrs }),
    ...(dampingInt !== undefined && { nesterov: { dampingInt } }),
  };
  const batch = async () => await shuffled(train, batchSize, seed).draw();
  const samples = asked === "auto" ? summaryBatchSize(model, loss, await batch(), options) : asked!;
  return await NewtonSummary.create(model, loss, { ...options, hgLoader: shuffled(train, samples, seed + 1) });
}
