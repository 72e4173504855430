import { samplesOf, specOf } from "../engine/index.ts";
import type { Loss, Module } from "../nn/index.ts";
import { productFlops } from "../ops/index.ts";
import { summarySource } from "../summary/index.ts";
import { OptionError } from "../util/errors.ts";
import type { Batch } from "../util/ndarray.ts";
import { watchedBatches } from "./auto-damping.ts";
import { type NewtonSettings, type NewtonSummaryOptions, newtonSettings } from "./newton-options.ts";
import { PartedBatch } from "./parted-batch.ts";
import { lossSource, type StepParts, stepSource } from "./step-graph.ts";
import { resolveTarget } from "./target.ts";

/** Summaries cost as much as the steps between them at most, reckoned by the products of the compiled graphs. */
const SHARE = 1;

/** The shortest period that is chosen. */
const LEAST_PERIOD = 10;

/** The largest summary batch that is chosen, unless a step's is larger. */
const MOST_SAMPLES = 1000;

/** What a summary is taken of. */
export interface Taken {
  /** The first of its batches; none for a model without inputs. */
  readonly batch?: Batch;
  readonly samples: number;
  /** How many of its batches are watched. */
  readonly watched: number;
}

type Settings = Pick<NewtonSettings, "auto" | "periodOrder3" | "summaryMode">;

/** FLOPs of the products of one step. */
function stepCost(parts: StepParts, batch: Batch | undefined): number {
  const { graph } = stepSource(parts, { kind: "batch", spec: specOf(batch) });
  return productFlops(graph, batch ? samplesOf(batch) : 1);
}

/**
 * FLOPs of the products for each sample of a summary, in the mean over those with and without third derivatives, and for each that
 * is watched.
 */
function sampleCosts(
  step: StepParts,
  { auto, periodOrder3, summaryMode: mode }: Settings,
  batch: Batch | undefined,
): { readonly summary: number; readonly loss: number } {
  const samples = batch ? samplesOf(batch) : 1;
  const parts = batch instanceof PartedBatch ? batch.parts : undefined;
  const summary = (order3: boolean): number => {
    const { graph, plan } = summarySource(step.objective, step.groups, batch, { mode, order3, parts });
    return [graph, ...plan.rest.map((pass) => pass.graph)].reduce((sum, each) => sum + productFlops(each, samples), 0);
  };
  const thirds = 1 / periodOrder3;
  const mean = thirds * summary(true) + (thirds < 1 ? (1 - thirds) * summary(false) : 0);
  const loss = auto ? productFlops(lossSource(step, specOf(batch), { mode, inParts: false }).graph, samples) : 0;
  return { summary: mean / samples, loss: loss / samples };
}

/**
 * FLOPs of the products of a summary of so many samples. With `damping: "auto"` the loss of its watched batches, each of `size` samples, is
 * taken again after the step, and that of all watched ones after the period.
 */
function summaryCost(
  { summary, loss }: ReturnType<typeof sampleCosts>,
  { samples, size, watched }: { readonly samples: number; readonly size: number; readonly watched: number },
  period: number,
): number {
  return samples * summary + size * (watched + watchedBatches(size, period, watched)) * loss;
}

/**
 * `periodHg: "auto"`: the shortest period, 10 or more, in which summaries cost no more than the steps do.
 * @param step the batch of a step.
 */
export function periodOf(
  parts: StepParts,
  settings: Settings,
  step: Batch | undefined,
  { batch, samples, watched }: Taken,
): number {
  const costs = sampleCosts(parts, settings, batch);
  const steps = SHARE * stepCost(parts, step);
  // A step may have no products at all.
  if (steps === 0) return LEAST_PERIOD;
  const size = batch ? samplesOf(batch) : 1;
  // Without inputs one loss is watched, as of a batch that is always the same.
  const costOf = (period: number): number => summaryCost(costs, { samples, size, watched }, batch ? period : 1);
  let period = LEAST_PERIOD;
  while (costOf(period) > period * steps) period = Math.ceil(costOf(period) / steps);
  return period;
}

/**
 * Whether a step has a summary, with a period that was chosen. The first period is halved, and halved again as long as 10 steps
 * remain: a model changes most at the beginning.
 */
export function isDue(step: number, period: number): boolean {
  let early = period;
  while (early > step && Math.ceil(early / 2) >= LEAST_PERIOD) early = Math.ceil(early / 2);
  return step % period === 0 || step === early;
}

/**
 * How many samples suit the summaries of a {@link NewtonSummary}, so that these cost no more than the steps do: 1000, or fewer where
 * a summary of 1000 every `periodHg` steps would cost more. With "auto" these would be 10 steps, and what is too much is saved by
 * samples and by a longer period alike: with a ratio of costs of 4, half the samples. But never fewer than a step has. Costs are those
 * of the products in the graphs, so that the same is found on every machine.
 * @param batch of a step.
 * @throws OptionError, PartitionError
 */
export function summaryBatchSize(model: Module, loss: Loss, batch: Batch, options: NewtonSummaryOptions = {}): number {
  if (options.gradientData)
    throw new OptionError(
      "summaryBatchSize: gradientData has no step's batch to weigh a summary against, and is the summaries' batches too",
    );
  const settings = newtonSettings(options, false);
  const { updater, periodHg } = settings;
  const parts = { ...resolveTarget(model, loss, options.partition), updater, clipGradNorm: options.clipGradNorm };
  const costs = sampleCosts(parts, settings, batch);
  const period = periodHg === "auto" ? LEAST_PERIOD : periodHg;
  const most = SHARE * period * stepCost(parts, batch);
  const costOf = (samples: number): number => summaryCost(costs, { samples, size: samples, watched: 1 }, period);
  const least = samplesOf(batch);
  let samples = MOST_SAMPLES;
  if (periodHg === "auto") samples *= Math.sqrt(Math.min(1, most / costOf(samples)) || 1);
  else while (samples > least && costOf(samples) > most) samples--;
  return Math.max(least, Math.floor(samples));
}
