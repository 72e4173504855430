import { type Dataset, transforms } from "../datasets/index.ts";
import type { Tuning } from "../engine/index.ts";
import { OrtNodeEngine } from "../engine/ort-node.ts";
import type { Loss, Module } from "../nn/index.ts";
import { formatCount } from "../report/index.ts";
import { partition } from "../summary/index.ts";
import type { TrainOptions } from "../train/index.ts";
import { type TuneOptions, tune, tuningKey } from "../tune/index.ts";
import { OptionError } from "../util/errors.ts";
import { type Batch, sizeOf } from "../util/ndarray.ts";
import { datasetEntry, type LoadedData } from "./datasets.ts";
import { type BuiltModel, checkSide, type DataFacts, lossOf, modelEntry } from "./models.ts";
import { optimizerEntry, shuffled } from "./optimizers.ts";
import { forOption } from "./options.ts";
import type { TrainSettings } from "./train-options.ts";
import type { Tunable, TuningChoice } from "./tuning.ts";

/** Samples of an evaluation's batch, and real numbers in its inputs, at most. */
const EVALUATION_BATCH = { samples: 1000, numbers: 2 ** 20 };

/** Samples in a summary whose size is still to be chosen. */
const MOST_IN_SUMMARY = 1000;

/** A run put together, ready for `train`. */
export interface Session {
  readonly options: Pick<
    TrainOptions,
    "model" | "loss" | "optimizer" | "trainLoader" | "evaluations" | "epochs" | "steps" | "config" | "engine"
  >;
  dispose(): Promise<void>;
}

/** What a run's first event says of it. */
export interface RunConfig {
  readonly method: string;
  readonly dataset: string;
  readonly model: string;
  readonly "test samples": number;
  /** Of the training and of the test data, so that a run does not go on with other ones. */
  readonly data: string;
  /** Where not all samples of both sets are. */
  readonly evaluated?: string;
  /** By which it computes, also when it goes on. */
  readonly tuning?: Tuning;
  readonly settings: TrainSettings;
}

/**
 * Puts a run together: the model, the data and the optimiser.
 * @param given the names of the options that the user chose; only these are held against the size of the data.
 * @throws OptionError, DataError
 */
export async function openSession(
  settings: TrainSettings,
  given: ReadonlySet<string>,
  tuned: TuningChoice = async () => undefined,
): Promise<Session> {
  const { seed, threads, steps, "batch-size": batchSize } = settings;
  const { train, test, outputs } = await dataOf(settings);
  let engine: OrtNodeEngine | undefined;
  try {
    checkSizes(settings, given, train.length);
    checkSide(settings.model, settings.dataset, train.inputShape);
    const { kind } = datasetEntry(settings.dataset);
    const { model, text } = buildModel(settings, { kind, input: train.inputShape, outputs });
    const loss = lossOf(settings.model, kind);
    const chosen = await tuned(() => tunableOf(settings, given, { model, loss, train }));
    const tuning = chosen && given.has("threads") ? { ...chosen, threads } : chosen;
    engine = new OrtNodeEngine(tuning ? { tuning } : { threads });
    const optimizer = await optimizerEntry(settings.optimizer).create(settings, {
      model,
      loss,
      engine,
      train,
      batchSize,
    });
    const trainLoader = shuffled(train, batchSize, seed);
    const evaluated = [train, test].map((part) => sample(part, settings["eval-samples"])) as [Dataset, Dataset];
    return {
      options: {
        model,
        loss,
        optimizer,
        engine,
        trainLoader,
        evaluations: { train: evaluationLoader(evaluated[0]), test: evaluationLoader(evaluated[1]) },
        epochs: settings.epochs ?? Math.ceil(steps! / trainLoader.length),
        ...(steps !== undefined && { steps }),
        config: await configOf(settings, { train, test, evaluated, text, tuning }),
      },
      dispose: async () => {
        await optimizer.dispose();
        await release(train, engine);
      },
    };
  } catch (error) {
    await release(train, engine);
    throw error;
  }
}

/** @throws OptionError */
function buildModel(settings: TrainSettings, data: DataFacts): BuiltModel {
  const build = (): BuiltModel => modelEntry(settings.model).build(settings, data);
  return settings.layers === undefined ? build() : forOption("layers", settings.layers, build);
}

async function release(train: Dataset, engine: OrtNodeEngine | undefined): Promise<void> {
  await train.dispose();
  await engine?.dispose();
}

/** What there is to be measured: steps, and summaries where the optimiser takes some. */
async function tunableOf(
  settings: TrainSettings,
  given: ReadonlySet<string>,
  { model, loss, train }: { readonly model: Module; readonly loss: Loss; readonly train: Dataset },
): Promise<Tunable> {
  const { seed, threads, "batch-size": batchSize, "summary-batch-size": asked, partition: name } = settings;
  const draw = (samples: number): Promise<Batch> => shuffled(train, Math.min(samples, train.length), seed).draw();
  const batch = await draw(batchSize);
  const options: TuneOptions = {
    ...(given.has("threads") && { threads }),
    hgBatch: asked === undefined ? null : await draw(asked === "auto" ? MOST_IN_SUMMARY : asked),
    ...(name !== undefined && { partition: forOption("partition", name, () => partition.byName(model, name)) }),
  };
  return { key: tuningKey(model, loss, batch, options), measure: () => tune(model, loss, batch, options) };
}

interface Described {
  readonly train: Dataset;
  readonly test: Dataset;
  readonly evaluated: readonly [Dataset, Dataset];
  readonly text: string;
  readonly tuning: Tuning | undefined;
}

async function configOf(
  settings: TrainSettings,
  { train, test, evaluated, text, tuning }: Described,
): Promise<Record<string, unknown>> {
  const all = evaluated[0].length === train.length && evaluated[1].length === test.length;
  return {
    method: optimizerEntry(settings.optimizer).title,
    dataset: datasetEntry(settings.dataset).title(settings.data ?? ""),
    model: text,
    "test samples": test.length,
    data: `${await train.fingerprint()} ${await test.fingerprint()}`,
    ...(!all && {
      evaluated: `${formatCount(evaluated[0].length)} training samples, ${formatCount(evaluated[1].length)} test samples`,
    }),
    ...(tuning && { tuning }),
    settings,
  } satisfies RunConfig;
}

/** The data, prepared as the model wants them. @throws OptionError, DataError */
async function dataOf(settings: TrainSettings): Promise<LoadedData> {
  const entry = datasetEntry(settings.dataset);
  const loaded = await entry.load(settings);
  const { limit } = settings;
  if (limit !== undefined && limit > loaded.train.length)
    throw new OptionError(`--limit ${limit} is more than the ${loaded.train.length} training samples there are`);
  const train = sample(loaded.train, limit);
  const test = sample(loaded.test, limit && Math.ceil(limit / 6));
  if (entry.kind !== "images") return { ...loaded, train, test };
  const { reconstructs = false } = modelEntry(settings.model);
  const apply = { train: [], test: [], ...entry.transforms?.(settings) };
  const channels = train.inputShape[0]!;
  const bytes = [transforms.normalize(new Array(channels).fill(0), new Array(channels).fill(1))];
  const prepared = (part: Dataset, each: readonly transforms.Transform[]): Dataset =>
    reconstructs ? part.transform([...each, ...bytes]).autoencoding() : part.transform(each);
  return { ...loaded, train: prepared(train, apply.train), test: prepared(test, apply.test) };
}

/** Samples chosen at random, always the same ones; all where there are no more. */
function sample(dataset: Dataset, count: number = dataset.length): Dataset {
  return count >= dataset.length ? dataset : dataset.split([count, dataset.length - count])[0];
}

function evaluationLoader(dataset: Dataset) {
  const { samples, numbers } = EVALUATION_BATCH;
  const room = Math.floor(numbers / sizeOf(dataset.inputShape));
  return dataset.loader({ batchSize: Math.max(1, Math.min(samples, room)) });
}

/** @throws OptionError */
function checkSizes(settings: TrainSettings, given: ReadonlySet<string>, samples: number): void {
  for (const name of ["batch-size", "summary-batch-size"] as const)
    if (given.has(name) && Number(settings[name]) > samples)
      throw new OptionError(`--${name} ${settings[name]} is more than the ${samples} training samples`);
}
