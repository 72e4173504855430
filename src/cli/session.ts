import { type Dataset, transforms } from "../datasets/index.ts";
import { OrtNodeEngine } from "../engine/ort-node.ts";
import { formatCount } from "../report/index.ts";
import type { TrainOptions } from "../train/index.ts";
import { OptionError } from "../util/errors.ts";
import { sizeOf } from "../util/ndarray.ts";
import { datasetEntry, type LoadedData } from "./datasets.ts";
import { type BuiltModel, checkSide, type DataFacts, lossOf, modelEntry } from "./models.ts";
import { optimizerEntry, shuffled } from "./optimizers.ts";
import { forOption } from "./options.ts";
import type { TrainSettings } from "./train-options.ts";

/** Samples of an evaluation's batch, and real numbers in its inputs, at most. */
const EVALUATION_BATCH = { samples: 1000, numbers: 2 ** 20 };

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
  readonly settings: TrainSettings;
}

/**
 * Puts a run together: the model, the data and the optimiser.
 * @param given the names of the options that the user chose; only these are held against the size of the data.
 * @throws OptionError, DataError
 */
export async function openSession(settings: TrainSettings, given: ReadonlySet<string>): Promise<Session> {
  const { seed, threads, steps, "batch-size": batchSize } = settings;
  const { train, test, outputs } = await dataOf(settings);
  const engine = new OrtNodeEngine({ threads });
  try {
    checkSizes(settings, given, train.length);
    checkSide(settings.model, settings.dataset, train.inputShape);
    const { kind } = datasetEntry(settings.dataset);
    const { model, text } = buildModel(settings, { kind, input: train.inputShape, outputs });
    const loss = lossOf(settings.model, kind);
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
        config: await configOf(settings, { train, test, evaluated, text }),
      },
      dispose: async () => {
        await optimizer.dispose();
        await release(engine, train);
      },
    };
  } catch (error) {
    await release(engine, train);
    throw error;
  }
}

/** @throws OptionError */
function buildModel(settings: TrainSettings, data: DataFacts): BuiltModel {
  const build = (): BuiltModel => modelEntry(settings.model).build(settings, data);
  return settings.layers === undefined ? build() : forOption("layers", settings.layers, build);
}

async function release(engine: OrtNodeEngine, train: Dataset): Promise<void> {
  await train.dispose();
  await engine.dispose();
}

interface Described {
  readonly train: Dataset;
  readonly test: Dataset;
  readonly evaluated: readonly [Dataset, Dataset];
  readonly text: string;
}

async function configOf(
  settings: TrainSettings,
  { train, test, evaluated, text }: Described,
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
