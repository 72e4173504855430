import type { Summary } from "../summary/index.ts";
import { type AverageState, type Moments, nextAverage } from "./averages.ts";
import { type ClipHistory, clipRates, median } from "./clipping.ts";
import type { NewtonSettings } from "./newton-options.ts";
import { type RateProblem, recoverRates, solveRates } from "./rates.ts";
import type { UpdateRecord } from "./result.ts";

/** Learning rates and the averages that they come from, as they pass from one summary to the next. */
export interface RateState {
  /** Smoothed rates, before damping; with `maintainTrueLrs` negative ones are still there. Undefined before the first. */
  readonly smoothed?: Float64Array;
  /** How many summaries there were. */
  readonly summaries: number;
  /** Of H̄, ḡ and order3. */
  readonly average?: AverageState;
  /** The running average of D. */
  readonly D?: Float64Array;
  /** With `periodOrder3`: the last third derivatives that were taken, for directions of norm 1. */
  readonly order3?: Float64Array;
  /** With `medianLrs`: the last rates as they were solved and clipped, the latest at the end. */
  readonly solved?: readonly Float64Array[];
  /** What clipping remembers of earlier rates. */
  readonly clipped?: ClipHistory;
  /** With `normalizeDirs`: what each group's direction is multiplied by, until the next summary. */
  readonly scale?: Float64Array;
  /** How many summaries in a row gave no rates. */
  readonly misses: number;
}

/** The state before the first summary. */
export function firstRates(): RateState {
  return { summaries: 0, misses: 0 };
}

/** Whether the next summary takes third derivatives. */
export function takesOrder3({ summaries }: RateState, { periodOrder3 }: NewtonSettings): boolean {
  return summaries % periodOrder3 === 0;
}

/** The state after a summary, and its record. */
export function nextRates(
  last: RateState,
  summary: Summary,
  norms: Float64Array,
  settings: NewtonSettings,
): { rates: RateState; record: UpdateRecord } {
  const thirds = takesOrder3(last, settings) ? summary.order3 : times(last.order3!, norms, 1.5);
  const scale = settings.normalizeDirs ? norms.map((norm) => (norm > 0 ? 1 / Math.sqrt(norm) : 1)) : undefined;
  const { H, g, order3 } = scale ? scaled({ ...summary, order3: thirds }, scale) : { ...summary, order3: thirds };
  const { mean, state } = nextAverage(last.average, { H, g, order3 }, settings.averaging);
  const D = average(
    last.D,
    mean.order3.map((value) => Math.cbrt(Math.abs(value))),
    settings.momOrder3,
  );
  const problem = { H: mean.H, g: mean.g, D, noEffect: summary.noEffect };
  const { raw, ...outcome } = rawRates(last, problem, settings);
  const kept = last.smoothed ?? new Float64Array(g.length);
  const waits = last.summaries < settings.warmup;
  const held = raw && !waits ? clip(last, raw, D, settings) : undefined;
  const solved =
    settings.medianLrs > 1
      ? [...(last.solved ?? []), ...(held ? [held.rates] : [])].slice(-settings.medianLrs)
      : undefined;
  const smoothed = held ? smooth(last.smoothed, solved ? medians(solved) : held.rates, settings) : kept;
  const clipped = held?.clipped ?? last.clipped;
  const rates: RateState = {
    summaries: last.summaries + 1,
    average: state,
    D,
    ...(settings.periodOrder3 > 1 && { order3: times(thirds, norms, -1.5) }),
    ...(solved && { solved }),
    ...(clipped && { clipped }),
    smoothed,
    misses: outcome.found || waits ? 0 : last.misses + 1,
    ...(scale ? { scale } : {}),
  };
  const record = {
    loss: summary.loss,
    ...mean,
    D,
    noEffect: summary.noEffect,
    ...outcome,
    rates: smoothed.slice(),
  };
  return { rates, record: raw ? { ...record, rawRates: raw } : record };
}

/** Third derivatives along directions u as they are for u times Σ u² to a power; 0 where that is infinite, along those that are next to 0. */
function times(order3: Float64Array, norms: Float64Array, power: number): Float64Array {
  return order3.map((value, s) => {
    const factor = norms[s]! ** power;
    return Number.isFinite(factor) ? value * factor : 0;
  });
}

/** The summary along directions that are each multiplied by a number. */
function scaled({ H, g, order3 }: Summary, scale: Float64Array): Moments {
  const size = scale.length;
  return {
    H: H.map((value, i) => value * scale[Math.floor(i / size)]! * scale[i % size]!),
    g: g.map((value, s) => value * scale[s]!),
    order3: order3.map((value, s) => value * scale[s]! ** 3),
  };
}

function average(last: Float64Array | undefined, value: Float64Array, keep: number): Float64Array {
  return last && keep > 0 ? value.map((each, i) => keep * last[i]! + (1 - keep) * each) : value;
}

type Outcome = Pick<UpdateRecord, "found" | "reason" | "r" | "hard"> & { readonly raw: Float64Array | undefined };

/** η*, or what stands for it where there is none. */
function rawRates(last: RateState, problem: RateProblem, { solve, notFound }: NewtonSettings): Outcome {
  const solution = solveRates(problem, solve);
  if (solution.found) {
    const { lrs, r, hard } = solution;
    return { found: true, raw: lrs, ...(r === undefined ? {} : { r }), ...(hard === undefined ? {} : { hard }) };
  }
  const miss = { found: false, reason: solution.reason };
  if (notFound === "compatible") return { ...miss, raw: new Float64Array(problem.g.length) };
  if (last.smoothed && last.misses === 0) return { ...miss, raw: undefined };
  const recovered = recoverRates(problem);
  return { ...miss, raw: recovered.found ? recovered.lrs : undefined };
}

/** Rates within their bounds, if they have some. */
function clip(
  last: RateState,
  raw: Float64Array,
  D: Float64Array,
  { clipping }: NewtonSettings,
): { readonly rates: Float64Array; readonly clipped?: ClipHistory } {
  if (!clipping) return { rates: raw };
  const { rates, history } = clipRates(last.clipped ?? [], raw, D, clipping);
  return { rates, clipped: history };
}

function medians(history: readonly Float64Array[]): Float64Array {
  return history[0]!.map((_, s) => median(history.map((rates) => rates[s]!)));
}

/** Smoothing over summaries; negative rates are removed before it unless true rates are maintained. */
function smooth(
  last: Float64Array | undefined,
  raw: Float64Array,
  { momLrs, removeNegative, maintainTrueLrs }: NewtonSettings,
): Float64Array {
  const value = removeNegative && !maintainTrueLrs ? raw.map((rate) => Math.max(rate, 0)) : raw;
  return average(last, value, momLrs);
}
