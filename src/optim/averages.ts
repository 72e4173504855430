import type { Summary } from "../summary/index.ts";
import { OptionError } from "../util/errors.ts";
import { checkBoolean, checkNonNegative, checkShare, checkWhole, refuseUnknown } from "../util/options.ts";

/** Options that say how summaries are averaged before the rates are computed; not at all by default. */
export interface AveragingOptions {
  /** How much of the running averages of H̄, ḡ and order3 is kept, in [0, 1); 0 by default. The first summary starts them. */
  readonly movavg?: number;
  /** With `movavg`: start from 0 and divide by 1 − movavg^n after n summaries, as Adam does; false by default. */
  readonly movavgBiasCorrection?: boolean;
  /** Instead: the mean of the summaries since the beginning of the previous period. */
  readonly uniformAvg?: UniformAvgOptions;
  /**
   * Instead: polynomial-decay averages (O. Shamir and T. Zhang, ICML 2013), which hold about the last 1/(`polyAvg` + 1) of all
   * summaries, the n-th being added with weight (`polyAvg` + 1)/(n + `polyAvg`); a number of at least 0. 5 by default with automatic
   * damping, unless there is another average.
   */
  readonly polyAvg?: number;
}

/** Averages over periods: of all summaries in the first one, then of those of the last period and the one under way. */
export interface UniformAvgOptions {
  /** Summaries in a period, 1 or more. */
  readonly period: number;
  /**
   * The rates stay 0 for so many summaries at the start, so that parameters do not move, and the steps between these change
   * nothing, as in the reference; 0 by default.
   */
  readonly warmup?: number;
}

/** How summaries are averaged. */
export type Averaging =
  | { readonly kind: "exponential"; readonly keep: number; readonly corrected: boolean }
  | { readonly kind: "uniform"; readonly period: number }
  | { readonly kind: "polynomial"; readonly power: number };

/** What is averaged. */
export type Moments = Pick<Summary, "H" | "g" | "order3">;

/** What an average keeps of earlier summaries. */
export interface AverageState {
  /** The running average before its correction, or the sum over the period under way. */
  readonly current: Moments;
  /** How many summaries it holds. */
  readonly count: number;
  /** The sum over the period before. */
  readonly previous?: Moments;
}

/**
 * @param usual the `polyAvg` of where no average is asked for; undefined for none.
 * @throws OptionError naming an option that is out of range, or that would be ignored beside another
 */
export function averagingOf(
  { movavg, movavgBiasCorrection, uniformAvg, polyAvg }: AveragingOptions,
  usual: number | undefined,
): {
  readonly averaging: Averaging;
  readonly warmup: number;
} {
  if (movavg !== undefined) checkShare("movavg", movavg);
  if (movavgBiasCorrection !== undefined) checkBoolean("movavgBiasCorrection", movavgBiasCorrection);
  const instead = uniformAvg ? "uniformAvg" : polyAvg === undefined ? undefined : "polyAvg";
  if (movavgBiasCorrection && instead)
    throw new OptionError(`movavgBiasCorrection would be ignored beside ${instead}: it is for movavg`);
  if (movavgBiasCorrection && !movavg) throw new OptionError("movavgBiasCorrection would be ignored without movavg");
  if (polyAvg !== undefined) {
    checkNonNegative("polyAvg", polyAvg);
    const other = uniformAvg ? "uniformAvg" : movavg ? "movavg" : undefined;
    if (other) throw new OptionError(`polyAvg and ${other} are two averages of the same: give one of them`);
  }
  const power = polyAvg ?? (movavg === undefined && uniformAvg === undefined ? usual : undefined);
  if (power !== undefined) return { averaging: { kind: "polynomial", power }, warmup: 0 };
  if (uniformAvg === undefined) {
    const averaging = { kind: "exponential", keep: movavg ?? 0, corrected: movavgBiasCorrection ?? false } as const;
    return { averaging, warmup: 0 };
  }
  if (movavg) throw new OptionError("movavg and uniformAvg are two averages of the same: give one of them");
  refuseUnknown("uniformAvg", uniformAvg, ["period", "warmup"]);
  const { period, warmup = 0 } = uniformAvg;
  checkWhole("uniformAvg.period", period, 1);
  checkWhole("uniformAvg.warmup", warmup, 0);
  return { averaging: { kind: "uniform", period }, warmup };
}

/** What an average must have in common with another to go on as it. */
export function averageOf(averaging: Averaging): object {
  if (averaging.kind !== "exponential") return averaging;
  return { kind: averaging.kind, ...(averaging.corrected && { keep: averaging.keep }) };
}

/** The average after one more summary, and what is kept for the next. */
export function nextAverage(
  last: AverageState | undefined,
  summary: Moments,
  averaging: Averaging,
): { readonly mean: Moments; readonly state: AverageState } {
  const { mean, ...state } = averaged(last, summary, averaging);
  return { mean, state };
}

/** A mean, and the sums that it came from. */
type Averaged = AverageState & { readonly mean: Moments };

function averaged(last: AverageState | undefined, summary: Moments, averaging: Averaging): Averaged {
  const count = (last?.count ?? 0) + 1;
  switch (averaging.kind) {
    case "uniform":
      return nextUniform(last, summary, averaging.period);
    case "polynomial":
      return nextExponential(last, summary, (count - 1) / (count + averaging.power), false);
    case "exponential":
      return nextExponential(last, summary, averaging.keep, averaging.corrected);
  }
}

function nextUniform(last: AverageState | undefined, summary: Moments, period: number): Averaged {
  const full = last?.count === period;
  const [current, count] = full || !last ? [summary, 1] : [added(last.current, summary), last.count + 1];
  const previous = full ? last.current : last?.previous;
  const samples = count + (previous ? period : 0);
  const mean = mapped(previous ? added(previous, current) : current, (value) => value / samples);
  return { mean, current, count, ...(previous && { previous }) };
}

function nextExponential(last: AverageState | undefined, summary: Moments, keep: number, corrected: boolean): Averaged {
  const count = (last?.count ?? 0) + 1;
  const weighted = mapped(summary, (value) => (1 - keep) * value);
  const first = corrected ? weighted : summary;
  const current =
    last && keep > 0
      ? added(
          mapped(last.current, (value) => keep * value),
          weighted,
        )
      : first;
  const mean = corrected ? mapped(current, (value) => value / (1 - keep ** count)) : current;
  return { mean, current, count };
}

function mapped({ H, g, order3 }: Moments, f: (value: number) => number): Moments {
  return { H: H.map(f), g: g.map(f), order3: order3.map(f) };
}

function added(x: Moments, y: Moments): Moments {
  const sum = (a: Float64Array, b: Float64Array): Float64Array => a.map((value, i) => value + b[i]!);
  return { H: sum(x.H, y.H), g: sum(x.g, y.g), order3: sum(x.order3, y.order3) };
}
