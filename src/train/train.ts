import { Loader, type LoaderState } from "../datasets/index.ts";
import type { Engine } from "../engine/index.ts";
import { type Evaluation, evaluate, type Loss, type Module, type StateDict } from "../nn/index.ts";
import type { StepResult, TrainingOptimizer, UpdateRecord } from "../optim/index.ts";
import { OptionError, StateError } from "../util/errors.ts";
import type { Batch, Batches } from "../util/ndarray.ts";
import { checkWhole, refuseUnknown } from "../util/options.ts";
import { anything, type Check, dictionary, must, real, record, vector, whole } from "../util/schema.ts";
import {
  type EndEvent,
  metricNumber,
  metricNumbers,
  type RunFacts,
  type TrainEvent,
  type UpdateEvent,
} from "./metrics.ts";

/** How far a run has come. */
export interface Progress {
  /** The epoch under way, from 0. */
  readonly epoch: number;
  /** Its steps so far. */
  readonly batches: number;
  /** Steps of all epochs so far. */
  readonly step: number;
  /** Of the epoch's batches so far: Σ loss · samples, Σ samples. */
  readonly lossSum: number;
  readonly sampleSum: number;
  /** Of training so far, in all and in this epoch. */
  readonly seconds: number;
  readonly epochSeconds: number;
  /** Whether the model was evaluated after the last step. */
  readonly evaluated: boolean;
  /** Of the last step, one for each group; none before the first. */
  readonly learningRates: Float64Array;
}

/** All that a run needs to go on as if it had not stopped: numbers, strings and typed arrays. */
export interface RunState {
  readonly progress: Progress;
  readonly loader: LoaderState;
  readonly model: StateDict;
  readonly optimizer: unknown;
}

/** That a run's state has its parts. What is in them is checked by what they are given back to. */
export const runParts: Check = record({
  progress: dictionary(anything),
  loader: anything,
  model: dictionary(anything),
  optimizer: anything,
});

/** What `train` is told. */
export interface TrainOptions {
  readonly model: Module;
  readonly loss: Loss;
  /** It steps the model's parameters. */
  readonly optimizer: TrainingOptimizer;
  readonly trainLoader: Loader;
  /** What to evaluate on after each epoch, in evaluation mode; nothing by default. These must be other loaders than the training's. */
  readonly evaluations?: { readonly train?: Batches; readonly test?: Batches };
  /** In all, those before `resume` included. */
  readonly epochs: number;
  /**
   * The run ends after so many steps, those before `resume` included, where that is before the end of its last epoch. It is
   * then evaluated as after an epoch, and can go on from there.
   */
  readonly steps?: number;
  /** Written into the first event as it is. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** For the evaluations; the default engine if none is named. */
  readonly engine?: Engine;
  /** Stops the run after the step under way. */
  readonly signal?: AbortSignal;
  /** Hears all that happens, in order; the run waits for it. */
  readonly on?: (event: TrainEvent) => void | Promise<void>;
  /** Gets the state after each epoch, and where the run was stopped or failed after a step. It is read only if this is given. */
  readonly checkpoint?: (state: RunState) => void | Promise<void>;
  /** A state from `checkpoint`, to go on from. */
  readonly resume?: RunState;
}

const OPTIONS = [
  "model",
  "loss",
  "optimizer",
  "trainLoader",
  "evaluations",
  "epochs",
  "steps",
  "config",
  "engine",
  "signal",
  "on",
  "checkpoint",
  "resume",
];

/** How a run ended. */
export interface TrainResult {
  readonly how: "done" | "aborted";
  /** Whole epochs so far. */
  readonly epochs: number;
  readonly steps: number;
}

/**
 * Trains a model for some epochs or steps and tells by events what happens. The last event says how the run ended, also where
 * it ends by an error, which is then thrown.
 * @throws OptionError; StateError where `resume` is of another run or damaged; and whatever a step, an evaluation or a listener throws.
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  refuseUnknown("train", options, OPTIONS);
  checkWhole("train: epochs", options.epochs, 1);
  const { trainLoader, evaluations = {}, resume, epochs, steps } = options;
  if (steps !== undefined) checkWhole("train: steps", steps, 1);
  if (!(trainLoader instanceof Loader)) throw new OptionError("train: trainLoader must be a loader");
  if (Object.values(evaluations).includes(trainLoader))
    throw new OptionError("train: an evaluation needs a loader of its own, found trainLoader");
  if (resume) runParts("", resume);
  const done = resume && doneAlready(resume.progress, options);
  if (done) throw new StateError(`train: ${done} are done already, found epochs ${epochs}, steps ${steps}`);
  if (resume) await restore(options, resume);
  return await new Run(options).run();
}

/** What of a run's length is reached, in words; undefined where it has to go on. */
export function doneAlready(
  { epoch, step, evaluated }: Progress,
  { epochs, steps }: Pick<TrainOptions, "epochs" | "steps">,
): string | undefined {
  if (epoch >= epochs) return `${epoch} epochs`;
  return steps !== undefined && step >= steps && evaluated ? `${step} steps` : undefined;
}

async function restore({ model, optimizer, trainLoader }: TrainOptions, state: RunState): Promise<void> {
  trainLoader.state = state.loader;
  progressCheck(trainLoader, optimizer, state.progress)("progress", state.progress);
  model.loadStateDict(state.model);
  await optimizer.restore(state.optimizer);
}

/** What the progress must be of a run whose loader has its place again, where not all of it is damaged. */
function progressCheck(
  { length, state: { position } }: Loader,
  { groups }: TrainingOptimizer,
  { epoch, batches, step }: Progress,
): Check {
  // Between two epochs the loader may stand at the end of one or at the beginning of the next.
  const given = position % length === 0 ? [0, length] : [position];
  const steps = epoch * length + batches;
  return record({
    epoch: whole(0),
    batches: must(`${given.join(" or ")}, as many as its loader gave`, (value) => given.includes(value as number)),
    step: whole(steps, steps),
    lossSum: must("a number", (value) => typeof value === "number"),
    sampleSum: whole(0),
    seconds: real("nonNegative"),
    epochSeconds: real("nonNegative"),
    evaluated: must("true or false", (value) => typeof value === "boolean"),
    learningRates: vector(step === 0 ? 0 : groups.length),
  });
}

const EPOCH_START = { batches: 0, lossSum: 0, sampleSum: 0, epochSeconds: 0 };
const RUN_START: Progress = {
  ...EPOCH_START,
  epoch: 0,
  step: 0,
  seconds: 0,
  learningRates: new Float64Array(),
  evaluated: false,
};

/** A batch that the loader was asked for. */
interface Drawn {
  /** Where it stood then. */
  readonly before: LoaderState;
  /** In the batch, once it has come. */
  samples?: number;
}

/** One call of `train`. */
class Run {
  readonly #options: TrainOptions;
  #at: Progress;
  /** The step of the last checkpoint. */
  #saved: number;
  /** The batches on which no step has been taken yet. */
  readonly #drawn: Drawn[] = [];

  constructor(options: TrainOptions) {
    this.#options = options;
    this.#at = options.resume?.progress ?? RUN_START;
    this.#saved = this.#at.step;
  }

  async run(): Promise<TrainResult> {
    try {
      await this.#emit({ type: this.#options.resume ? "resume" : "start", ...this.#facts() });
      while (!this.#done && (await this.#epoch())) await this.#checkpoint();
      const how = this.#done ? "done" : "aborted";
      if (how === "aborted") await this.#checkpoint();
      await this.#emit(this.#end(how));
      return { how, epochs: this.#at.epoch, steps: this.#at.step };
    } catch (error) {
      // The first error is the one to be told.
      if (this.#at.step > this.#saved) await this.#checkpoint().catch(() => undefined);
      await this.#emit({ ...this.#end("error"), message: error instanceof Error ? error.message : String(error) });
      throw error;
    }
  }

  get #done(): boolean {
    return doneAlready(this.#at, this.#options) !== undefined;
  }

  /** Trains for an epoch, or the rest of it, or until the run's last step, and evaluates. Tells whether it came so far. */
  async #epoch(): Promise<boolean> {
    if (!(await this.#steps())) return false;
    const begun = performance.now();
    const measured = await this.#evaluations();
    if (!measured) return false;
    const { epoch, step, lossSum, sampleSum, epochSeconds, learningRates } = this.#at;
    await this.#emit({
      type: "epoch",
      epoch,
      step,
      batchLoss: metricNumber(lossSum / sampleSum),
      ...measured,
      learningRates: metricNumbers(learningRates),
      seconds: epochSeconds,
      evaluationSeconds: secondsSince(begun),
    });
    this.#at = { ...this.#at, ...(this.#atEpochEnd && { ...EPOCH_START, epoch: epoch + 1 }), evaluated: true };
    return true;
  }

  /** The epoch's steps, as many as the run still has. Tells whether all were taken. */
  async #steps(): Promise<boolean> {
    const { trainLoader, optimizer } = this.#options;
    // A run that was stopped in its evaluations has no steps left, and its loader may stand at the next epoch already.
    if (this.#atEpochEnd || this.#atLastStep) return !this.#aborted;
    const batches = trainLoader[Symbol.asyncIterator]();
    const results = optimizer.steps(this.#draw(batches));
    try {
      while (!this.#aborted) {
        const begun = performance.now();
        const { done, value: result } = await results.next();
        if (done) break;
        await this.#count(result, this.#drawn.shift()!.samples!, secondsSince(begun));
      }
      if (this.#atEpochEnd) await batches.next();
      return !this.#aborted;
    } finally {
      await results.return(undefined);
      await batches.return();
    }
  }

  /** The epoch's batches, as many as the run still has steps. */
  async *#draw(batches: AsyncIterator<Batch>): AsyncGenerator<Batch> {
    const { trainLoader, steps = Number.POSITIVE_INFINITY } = this.#options;
    // Asked before each draw, never after it: a batch that was handed out counts as used.
    while (!this.#aborted && this.#at.step + this.#drawn.length < steps) {
      const drawn: Drawn = { before: trainLoader.state };
      this.#drawn.push(drawn);
      const { done, value: batch } = await batches.next();
      if (done) {
        this.#drawn.pop();
        return;
      }
      drawn.samples = batch.x.shape[0]!;
      yield batch;
    }
  }

  async #count(result: StepResult, samples: number, seconds: number): Promise<void> {
    const { epoch, step } = this.#at;
    const counts = Number.isFinite(result.loss);
    this.#at = {
      ...this.#at,
      step: step + 1,
      batches: this.#at.batches + 1,
      lossSum: this.#at.lossSum + (counts ? result.loss * samples : 0),
      sampleSum: this.#at.sampleSum + (counts ? samples : 0),
      seconds: this.#at.seconds + seconds,
      epochSeconds: this.#at.epochSeconds + seconds,
      learningRates: result.learningRates,
      evaluated: false,
    };
    if (result.update) await this.#emit(updateEvent(result.update, epoch, step));
    await this.#emit({
      type: "step",
      epoch,
      step,
      loss: metricNumber(result.loss),
      learningRates: metricNumbers(result.learningRates),
      samples,
      time: this.#at.seconds,
      ...(result.skipped === undefined ? {} : { skipped: result.skipped }),
    });
  }

  /** Undefined where the run was stopped meanwhile. */
  async #evaluations(): Promise<Measured | undefined> {
    const { train, test } = this.#options.evaluations ?? {};
    try {
      return await this.#used(async () => {
        const onTrain = train && (await this.#evaluate(train));
        const onTest = test && (await this.#evaluate(test));
        return { ...measured("train", onTrain), ...measured("test", onTest) };
      });
    } catch (error) {
      if (this.#aborted) return undefined;
      throw error;
    }
  }

  /** Runs a task on the weights to use. */
  #used<T>(task: () => Promise<T>): Promise<T> {
    const { optimizer } = this.#options;
    return optimizer.withEvaluationWeights?.(task) ?? task();
  }

  #evaluate(batches: Batches): Promise<Evaluation> {
    const { model, loss, engine, signal } = this.#options;
    return evaluate(model, loss, batches, { mode: "eval", ...(engine && { engine }), ...(signal && { signal }) });
  }

  get #atEpochEnd(): boolean {
    return this.#at.batches === this.#options.trainLoader.length;
  }

  get #atLastStep(): boolean {
    return this.#at.step >= (this.#options.steps ?? Number.POSITIVE_INFINITY);
  }

  get #aborted(): boolean {
    return this.#options.signal?.aborted ?? false;
  }

  async #checkpoint(): Promise<void> {
    const { checkpoint, trainLoader, model, optimizer } = this.#options;
    if (!checkpoint) return;
    await checkpoint({
      progress: this.#at,
      loader: this.#drawn[0]?.before ?? trainLoader.state,
      model: await model.stateDict(),
      optimizer: await optimizer.state(),
    });
    this.#saved = this.#at.step;
  }

  async #emit(event: TrainEvent): Promise<void> {
    await this.#options.on?.(event);
  }

  #facts(): RunFacts {
    const { config = {}, optimizer, epochs, steps, trainLoader } = this.#options;
    const { epoch, step, seconds } = this.#at;
    return {
      config,
      groups: optimizer.groups.map(({ name, members }) => ({ name, members: [...members] })),
      epochs,
      ...(steps !== undefined && { steps }),
      stepsPerEpoch: trainLoader.length,
      samples: trainLoader.dataset.length,
      batchSize: trainLoader.batchSize,
      epoch,
      step,
      seconds,
      date: new Date().toISOString(),
    };
  }

  #end(how: EndEvent["how"]): EndEvent {
    const { epoch, step, seconds } = this.#at;
    return { type: "end", how, epochs: epoch, steps: step, seconds, date: new Date().toISOString() };
  }
}

interface Measured {
  readonly trainLoss?: number;
  readonly trainAccuracy?: number;
  readonly testLoss?: number;
  readonly testAccuracy?: number;
}

function measured(on: "train" | "test", evaluation: Evaluation | undefined): Measured {
  if (!evaluation) return {};
  const { loss, accuracy } = evaluation;
  return { [`${on}Loss`]: loss, ...(accuracy === undefined ? {} : { [`${on}Accuracy`]: accuracy }) };
}

function updateEvent(update: UpdateRecord, epoch: number, step: number): UpdateEvent {
  const { loss, g, H, order3, rates, rawRates, found, hard, r, reason, noEffect } = update;
  return {
    type: "update",
    epoch,
    step,
    loss: metricNumber(loss),
    g: metricNumbers(g),
    H: metricNumbers(H),
    order3: metricNumbers(order3),
    rates: metricNumbers(rates),
    ...(rawRates === undefined ? {} : { rawRates: metricNumbers(rawRates) }),
    found,
    ...(hard === undefined ? {} : { hard }),
    ...(r === undefined ? {} : { r: metricNumber(r) }),
    ...(reason === undefined ? {} : { reason }),
    noEffect: [...noEffect],
  };
}

function secondsSince(begun: number): number {
  return (performance.now() - begun) / 1000;
}
