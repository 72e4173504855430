import type { Batch } from "../util/ndarray.ts";
import type { RandomState } from "../util/random.ts";
import type { UpdateRecord } from "./result.ts";

/** A batch of a summary with its loss. */
export interface Seen {
  /** Undefined for a model without inputs. */
  readonly batch?: Batch;
  /** Samples in each run over it. */
  readonly parts: readonly number[];
  /** Where the random masks stood when the loss was taken. */
  readonly random: RandomState;
  /** The loss on it at the last summary. */
  readonly loss: number;
}

/** With `damping: "auto"`: what is kept of a summary, to judge by it the steps after it. */
export interface Watch extends Seen {
  /** By how much the summary's model could lower the loss: ½ ḡᵀη*. */
  readonly decrement: number;
}

/** What automatic damping remembers. */
export interface AutoState {
  /** How many periods in a row lowered the loss. */
  readonly successes: number;
  /** The loss of the first summary. */
  readonly first?: number;
  /** Batches of the last summaries, the latest at the end. */
  readonly watches: readonly Watch[];
}

/** The steps of a period are judged by so many samples at least, where a summary has fewer by those of the last summaries together. */
const WATCHED = 1000;

/** Never more batches than that are watched: of these or of every second one there are fewer, or they have as many samples. */
export const MOST_WATCHES: number = 2 * WATCHED;

/** And of a summary of several batches by so many of these at least: they may be unlike, as where data are sorted. */
const SPREAD = 5;

/**
 * By how many batches of so many samples the steps of a period are judged: by those of the last summary, and others of earlier ones, but
 * no more than there are steps, so that they cost less than these.
 * @param latest how many the last summary has.
 */
export function watchedBatches(samples: number, period: number, latest = 1): number {
  return Math.max(latest, Math.min(Math.ceil(WATCHED / samples), period));
}

/**
 * The batches to watch of a summary, from the first on at even distances. How many it has may show only when it ends: every k-th is
 * kept, and k doubled when half of those kept are enough.
 */
export class Spread {
  kept: Seen[] = [];
  #every = 1;
  #passed = 0;

  add(seen: Seen): void {
    if (this.#passed++ % this.#every > 0) return;
    this.kept.push(seen);
    const half = this.kept.filter((_, i) => i % 2 === 0);
    if (half.length < SPREAD || samplesIn(half) < WATCHED) return;
    this.kept = half;
    this.#every *= 2;
  }
}

/** λ₁ at the beginning. */
export const START = 0.3;

/** λ_int, where none is given: with 1, rates of groups with a small D grow further than the steps between two summaries bear. */
export const AUTO_DAMPING_INT = 10;

/** Rates are medians over so many summaries, where nothing else is asked for. */
export const AUTO_MEDIAN = 9;

/** And the averages of H̄, ḡ and order3 that they come from, where no others are asked for: {@link AveragingOptions}. */
export const AUTO_POLY_AVG = 5;

/** How often a step is tried with less damping before it is taken as it is. */
export const TRIES = 30;

/** What damping is multiplied by where a step, or the steps of a period, spoiled the loss. */
export const SPOILED = 0.25;

/**
 * Damping rises and falls with the share of periods that lower the loss; it stays where 64 % do. Below its start it stays where half
 * of them do: noise hides the progress of small steps, and as many fail by chance, however small they are.
 */
const [SUCCESS, FAILURE] = [1.2, 0.72];
const SMALL_FAILURE = 1 / SUCCESS;

/** After so many successes in a row damping is far too small, and rises faster. */
const [RUN, RISE] = [8, 2];

/** Losses that differ by so little of themselves may be the same in float32, computed by different programs. */
const ROUNDING = 1e-6;

/** By how much the model of a summary could lower the loss. */
export function decrementOf({ g, rates, rawRates = rates }: Pick<UpdateRecord, "g" | "rates" | "rawRates">): number {
  return Math.max(0, g.reduce((sum, slope, s) => sum + slope * rawRates[s]!, 0) / 2);
}

/**
 * Whether a loss is so much higher that what led to it was no bad luck: by a multiple of what the summary's model could lower it,
 * and by a share of what the run has lowered it so far. NaN is.
 */
export function spoils(
  { loss, decrement }: Pick<Watch, "loss" | "decrement">,
  after: number,
  first: number = loss,
): boolean {
  return !(after - loss <= Math.max(3 * decrement, 0.1 * (first - loss), ROUNDING * Math.abs(loss)));
}

/**
 * What damping is multiplied by after the steps of a period, from what they did to the losses of the watched batches. In the
 * manner of the success rule of evolution strategies (I. Rechenberg, 1973): about the largest damping that makes progress, a
 * fixed share of the periods succeeds.
 * @param later the watched batches with their losses after the steps.
 */
export function judge(
  { successes, watches, first }: AutoState,
  later: readonly Watch[],
  damping: Float64Array,
): { factor: number; successes: number } {
  const latest = watches.at(-1);
  if (!latest) return { factor: 1, successes };
  const [before, after] = [meanLoss(watches), meanLoss(later)];
  if (Math.abs(after - before) <= ROUNDING * Math.abs(before)) return { factor: 1, successes };
  if (after < before) return { factor: successes + 1 >= RUN ? RISE : SUCCESS, successes: successes + 1 };
  if (spoils({ decrement: latest.decrement, loss: before }, after, first)) return { factor: SPOILED, successes: 0 };
  return { factor: Math.max(...damping) < START ? SMALL_FAILURE : FAILURE, successes: 0 };
}

/** Over all samples of some batches. */
export function meanLoss(batches: readonly Seen[]): number {
  const all = samplesIn(batches);
  return batches.reduce((sum, seen) => sum + (samplesIn([seen]) / all) * seen.loss, 0);
}

function samplesIn(batches: readonly Seen[]): number {
  return batches.reduce((sum, { parts }) => parts.reduce((all, part) => all + part, sum), 0);
}

/**
 * What is watched from a summary on. A batch that comes again is watched once, one whose loss is NaN or infinite no more.
 * @param latest of this summary.
 */
export function nextWatches(past: readonly Watch[], latest: readonly Watch[], period: number): readonly Watch[] {
  const others = past.filter(
    ({ batch, loss }) => Number.isFinite(loss) && !latest.some((watch) => isSame(batch, watch.batch)),
  );
  const count = watchedBatches(samplesIn(latest) / latest.length, period, latest.length);
  return [...others, ...latest].slice(-count);
}

/** Whether two batches hold the same samples, as those of full-batch training do; models without inputs have always the same. */
function isSame(a: Batch | undefined, b: Batch | undefined): boolean {
  if (!a || !b) return a === b;
  return [a.x, a.y].every(({ data }, i) => {
    const other = [b.x, b.y][i]!.data;
    return data.length === other.length && data.every((value, j) => value === other[j]);
  });
}

/**
 * Beyond twice the minimum of the quadratic model along its own step, the model itself foresees a rise; below this share of it,
 * nothing moves that could be judged.
 */
const [LEAST, MOST] = [1e-6, 2];

/** Damping times a factor. */
export function damped(damping: Float64Array, factor: number): Float64Array {
  return damping.map((value) => Math.min(MOST, Math.max(LEAST, value * factor)));
}

/** A copy of a batch that its owner may write to. */
export function copied({ x, y }: Batch): Batch {
  return { x: { ...x, data: x.data.slice() }, y: { ...y, data: y.data.slice() } } as Batch;
}
