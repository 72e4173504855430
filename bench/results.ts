import { mean, median } from "./measure.ts";
import { PRODUCT_FLOPS } from "./product.ts";
import type { Block, Measurement } from "./request.ts";
import type { Bar, Row } from "./rows.ts";

/** A row's measurements, one for each round. */
export interface Measured {
  readonly row: Row;
  readonly measurements: readonly Measurement[];
}

/**
 * What a row's measurements come to. Other work on the machine only adds time, so that times and speeds are those of
 * the fastest block: of several runs, so that what they leave behind to clean up is part of it.
 */
export interface Result {
  readonly name: string;
  /** None where the measurement failed, or where a peer's results are not ours. */
  readonly figures?: Figures;
  readonly notes: readonly string[];
  readonly verdicts: readonly Verdict[];
}

/** What was measured. */
export interface Figures {
  /** The median run, in ms. */
  readonly median: number;
  /** The mean run of the fastest block, in ms. */
  readonly least: number;
  /** Times the measured forward pass on the same batch. */
  readonly forwards?: number;
  /** FLOPs of the products in forward passes: what `forwards` would be if products were all, as fast as those of a forward pass. */
  readonly count?: number;
  /** GFLOP/s of its own products, and of the 1024³ product at its fastest. */
  readonly speed?: number;
  readonly product?: number;
  /** Its speed over that of the product beside it, in per cent; both see the same other work. */
  readonly share?: number;
  /** Resident bytes before there was a model, and at most, of the largest round. */
  readonly start?: number;
  readonly peak?: number;
  readonly part?: number;
}

/** Whether a bar is met. */
export interface Verdict {
  readonly text: string;
  readonly met: boolean;
}

/** Sums up all rows. */
export function resultsOf(all: readonly Measured[]): Result[] {
  const figures = new Map(all.map(({ row, measurements }) => [row.name, figuresOf(row, measurements)]));
  return all.map(({ row, measurements }) => {
    const { name } = row;
    const own = figures.get(name);
    const notes = notesOf(measurements);
    if (!own) return { name, notes, verdicts: [] };
    const forward = row.forward === undefined ? undefined : figures.get(row.forward);
    return {
      name,
      figures: { ...own, ...(forward && { forwards: own.least / forward.least }) },
      notes,
      verdicts: row.bars.flatMap((bar) => verdict(bar, own, forward, figures)),
    };
  });
}

/** The speed of the work over that of the product beside it, in per cent: the median of all blocks. */
function shareOf(blocks: readonly Block[], flops: number): number {
  return median(blocks.map(({ times, product }) => (100 * flops * mean(product)) / (mean(times) * PRODUCT_FLOPS)));
}

function figuresOf({ times: factor = 1 }: Row, measurements: readonly Measurement[]): Figures | undefined {
  if (measurements.some(isUseless)) return undefined;
  const blocks = measurements.flatMap((measurement) => measurement.blocks);
  const least = factor * Math.min(...blocks.map(({ times }) => mean(times)));
  const { flops, forwardFlops, part } = measurements[0]!;
  const products = blocks.flatMap(({ product }) => product);
  const largest = measurements.toSorted((a, b) => (b.residentPeak ?? 0) - (a.residentPeak ?? 0))[0]!;
  return {
    median: factor * median(blocks.flatMap(({ times }) => times)),
    least,
    ...(products.length === 0 ? {} : { product: PRODUCT_FLOPS / Math.min(...products) / 1e6 }),
    ...(flops === undefined ? {} : { speed: flops / least / 1e6, share: shareOf(blocks, flops) }),
    ...(flops === undefined || forwardFlops === undefined ? {} : { count: flops / forwardFlops }),
    ...(largest.residentBefore === undefined ? {} : { start: largest.residentBefore }),
    ...(largest.residentPeak === undefined ? {} : { peak: largest.residentPeak }),
    ...(part === undefined ? {} : { part }),
  };
}

/** Whether it failed, or measured something else than we compute. */
export function isUseless({ failure, differences = [] }: Measurement): boolean {
  return failure !== undefined || differences.some(({ found, most }) => !(found <= most));
}

function notesOf(measurements: readonly Measurement[]): string[] {
  const { failure, differences = [], operators } = measurements.find(isUseless) ?? measurements[0]!;
  const notes = failure === undefined ? [] : [`FAILED: ${failure}`];
  if (differences.length > 0) {
    const list = differences.map(({ of, found }) => `${of} ${found.toExponential(0)}`).join(", ");
    notes.push(differences.every(({ found, most }) => found <= most) ? `differs by: ${list}` : `DISAGREES by: ${list}`);
  }
  if (operators) notes.push(sharesOf(operators, mean(measurements[0]!.blocks[0]!.times)));
  return notes;
}

/** In per cent of a time in ms; what is small is not named. */
function sharesOf(operators: Readonly<Record<string, number>>, time: number): string {
  const shares = Object.entries(operators).map(([name, ms]): [string, number] => [name, (100 * ms) / time]);
  const named = shares.filter(([, share]) => share >= 1);
  const outside = 100 - shares.reduce((sum, [, share]) => sum + share, 0);
  const small = shares.reduce((sum, [, share]) => sum + (share < 1 ? share : 0), 0);
  return [...named, ["others", small] as const, ["between operators", outside] as const]
    .map(([name, share]) => `${name} ${share.toFixed(0)} %`)
    .join(", ");
}

/** @param forward of the forward pass on the same batch, if it was measured. */
function verdict(
  bar: Bar,
  own: Figures,
  forward: Figures | undefined,
  all: ReadonlyMap<string, Figures | undefined>,
): Verdict[] {
  if (bar.of === "share") return [{ text: `≥ ${bar.least} %`, met: own.share! >= bar.least }];
  if (bar.of === "peak") return [{ text: `< ${bar.most / 1e6} MB`, met: own.peak! < bar.most }];
  if (bar.of === "lead") return leadOver(bar.among, bar.least, own, all);
  const other = bar.of === "ratio" ? all.get(bar.to) : forward;
  if (other === undefined) return [];
  const ratio = bar.of === "ratio" ? own.least / other.least : other.share! / own.share!;
  const what = bar.of === "ratio" ? bar.to : `the ${number(own.least / ratio)} ms that the count predicts`;
  return [{ text: `${ratio.toFixed(2)} × ${what} (≤ ${bar.most})`, met: ratio <= bar.most }];
}

/** Against the fastest of those that were measured. */
function leadOver(
  among: readonly string[],
  least: number,
  own: Figures,
  all: ReadonlyMap<string, Figures | undefined>,
): Verdict[] {
  const times = among.flatMap((name): [string, number][] => {
    const other = all.get(name);
    return other ? [[name, other.least]] : [];
  });
  const [fastest] = times.sort(([, a], [, b]) => a - b);
  if (!fastest) return [];
  const ratio = fastest[1] / own.least;
  return [{ text: `${ratio.toFixed(2)} × as fast as ${fastest[0]} (≥ ${least})`, met: ratio >= least }];
}

const HEAD = ["", "ms", "least", "forwards", "count", "GF/s", "1024³", "share", "start MB", "peak MB", "part", "notes"];

/** The results as rows of text, with their heads. */
export function tableOf(results: readonly Result[]): string[][] {
  return [HEAD, ...results.map((result) => [result.name, ...cellsOf(result.figures), wordsOf(result).join("; ")])];
}

function cellsOf(figures: Figures | undefined): string[] {
  const { median: middle, least, forwards, count, speed, product, share, start, peak, part } = figures ?? {};
  const megabytes = (bytes: number | undefined): string => (bytes === undefined ? "" : (bytes / 1e6).toFixed(0));
  return [
    ...[middle, least, forwards, count, speed, product].map(number),
    share === undefined ? "" : `${share.toFixed(0)} %`,
    megabytes(start),
    megabytes(peak),
    part === undefined ? "" : String(part),
  ];
}

function wordsOf({ notes, verdicts }: Result): string[] {
  return [...notes, ...verdicts.map(({ text, met }) => `${met ? "met" : "MISSED"}: ${text}`)];
}

/** Three digits, or all before the point. */
function number(value: number | undefined): string {
  if (value === undefined) return "";
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
