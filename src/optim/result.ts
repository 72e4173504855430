import type { GroupIndex } from "../derive/index.ts";
import type { Direction, NamedGroup } from "../summary/index.ts";
import type { Batch } from "../util/ndarray.ts";

/** A summary and the rates that came of it. */
export interface UpdateRecord {
  /** The loss on the summary's batch. */
  readonly loss: number;
  /** H̄, ḡ and order3 as the rates were computed from them: averaged and estimated as the options say, scaled with `normalizeDirs`. */
  readonly H: Float64Array;
  readonly g: Float64Array;
  readonly order3: Float64Array;
  readonly D: Float64Array;
  /** Groups along which the loss does not change; their rates are 0. */
  readonly noEffect: readonly GroupIndex[];
  /** Whether the regularised system has a solution, and why not. */
  readonly found: boolean;
  readonly reason?: string;
  /** ‖Dη‖ at the solution, with cubic regularisation. */
  readonly r?: number;
  /** Whether it is the hard case of the cubic model. */
  readonly hard?: boolean;
  /** η* as solved, before `clipRates`; undefined where the last rates were kept. */
  readonly rawRates?: Float64Array;
  /** The rates after smoothing and removal, before damping. */
  readonly rates: Float64Array;
}

/** What one step did. */
export interface StepResult {
  /** The number of the step, from 0. */
  readonly step: number;
  /** The loss before the step; NaN where the caller gave the gradient. */
  readonly loss: number;
  /** The rate of each group that was applied, damping included. */
  readonly learningRates: Float64Array;
  /** Where a summary was taken before the step. */
  readonly update?: UpdateRecord;
  /** Why the step was left out, where it was. */
  readonly skipped?: string;
}

/** A batch to step on, or one in parts whose gradients are added up. */
export type StepBatch = Batch | readonly Batch[];

/** Such batches, one after the other. */
export type StepBatches = Iterable<StepBatch> | AsyncIterable<StepBatch>;

/** What a step is taken on: a batch, or a gradient by parameter name. */
export type StepArgument = StepBatch | { readonly gradient: Direction };

/** How a step is taken. */
export interface StepOptions {
  /** Stops it before it begins, or between its parts. */
  readonly signal?: AbortSignal;
}

/** What a training loop needs of an optimiser. */
export interface TrainingOptimizer {
  readonly groups: readonly NamedGroup[];
  step(input?: StepArgument, options?: StepOptions): Promise<StepResult>;
  /** Takes a step on each batch, in order; it may fetch them ahead. */
  steps(batches: StepBatches, options?: StepOptions): AsyncGenerator<StepResult>;
  /** The whole state beside the parameters, plain enough to save. */
  state(): Promise<unknown>;
  /** Continues from a saved state. @throws StateError */
  restore(state: unknown): Promise<void>;
  /** Runs a task while the model holds the weights to use, where these are others than those that are trained. */
  withEvaluationWeights?<T>(task: () => Promise<T>): Promise<T>;
  dispose(): Promise<void>;
}
