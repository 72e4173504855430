import { OptionError } from "../util/errors.ts";
import { checkBoolean, checkOneOf, checkPositive, checkShare, checkWhole, refuseUnknown } from "../util/options.ts";

/** Bounds on rates, relative to those of earlier summaries. */
export interface ClipRatesOptions {
  /**
   * What a bound is a multiple of: each rate's running average ("average") or its median over the last summaries ("median"),
   * both of magnitudes; or the median of ‖Dη‖ ("r"), by which all rates are scaled down together.
   */
  readonly by: "average" | "median" | "r";
  /** How many times that the bound is; above 0, 2 by default. */
  readonly factor?: number;
  /** How much of the running average is kept, in [0, 1); 0.9 by default. With "average" only. */
  readonly keep?: number;
  /** Over how many summaries medians are taken, 1 or more; 10 by default. Not with "average". */
  readonly window?: number;
  /** Scale all rates down by one factor until each keeps to its bound, so that their ratios stay; false by default. Not with "r". */
  readonly global?: boolean;
  /** Remember the rates as clipped, so that the bounds grow step by step at most, instead of as solved; false by default. */
  readonly incremental?: boolean;
}

/** How rates are clipped. */
export type Clipping = Required<ClipRatesOptions>;

/** What clipping remembers: the running average alone, or the last values, the latest at the end. */
export type ClipHistory = readonly Float64Array[];

/** @throws OptionError naming an option that is out of range, or that would be ignored beside `by` */
export function clippingOf(options: ClipRatesOptions | undefined): Clipping | undefined {
  if (options === undefined) return undefined;
  refuseUnknown("clipRates", options, ["by", "factor", "keep", "window", "global", "incremental"]);
  const { by, factor = 2, keep = 0.9, window = 10, global = false, incremental = false } = options;
  checkOneOf("clipRates.by", by, ["average", "median", "r"]);
  const ignored = { average: ["window"], median: ["keep"], r: ["keep", "global"] } as const;
  for (const name of ignored[by])
    if (options[name] !== undefined)
      throw new OptionError(`clipRates.${name} would be ignored with clipRates.by "${by}"`);
  checkPositive("clipRates.factor", factor);
  checkShare("clipRates.keep", keep);
  checkWhole("clipRates.window", window, 1);
  checkBoolean("clipRates.global", global);
  checkBoolean("clipRates.incremental", incremental);
  return { by, factor, keep, window, global, incremental };
}

/** Rates within their bounds, of which there are none at the first summary, and what is remembered for the next. */
export function clipRates(
  history: ClipHistory,
  rates: Float64Array,
  D: Float64Array,
  clipping: Clipping,
): { readonly rates: Float64Array; readonly history: ClipHistory } {
  const measure = (values: Float64Array): Float64Array =>
    clipping.by === "r"
      ? Float64Array.of(Math.hypot(...values.map((value, s) => D[s]! * value)))
      : values.map(Math.abs);
  const clipped = history.length === 0 ? rates : bounded(rates, measure(rates), boundsOf(history, clipping), clipping);
  return { rates: clipped, history: remember(history, measure(clipping.incremental ? clipped : rates), clipping) };
}

/**
 * What rates of these sizes become; where one size stands for all, or `global` is set, all are scaled alike. A rate that has
 * been 0 has no bound.
 */
function bounded(
  rates: Float64Array,
  sizes: Float64Array,
  bounds: Float64Array,
  { by, global }: Clipping,
): Float64Array {
  const shares = sizes.map((size, i) => (bounds[i]! > 0 && size > bounds[i]! ? bounds[i]! / size : 1));
  const least = Math.min(...shares);
  return rates.map((rate, s) => rate * (global || by === "r" ? least : shares[s]!));
}

function boundsOf(history: ClipHistory, { by, factor }: Clipping): Float64Array {
  const [latest] = history;
  return latest!.map((value, i) => factor * (by === "average" ? value : median(history.map((each) => each[i]!))));
}

function remember(history: ClipHistory, sizes: Float64Array, { by, keep, window }: Clipping): ClipHistory {
  if (by !== "average") return [...history, sizes].slice(-window);
  const [last] = history;
  return [last ? sizes.map((size, i) => keep * last[i]! + (1 - keep) * size) : sizes];
}

/** The middle one, or the mean of the two. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((x, y) => x - y);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
