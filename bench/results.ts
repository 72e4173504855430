import { median, PRODUCT_FLOPS } from "./measure.ts";
import type { Block, Measurement } from "./request.ts";
import type { Bar, Row } from "./suites.ts";

/** A row's measurements, one for each round. */
export interface Measured {
  readonly row: Row;
  readonly measurements: readonly Measurement[];
}

/**
 * What a row's measurements come to. Other work on the machine only adds time, so that everything but the median is taken
 * from the fastest block: of several runs, so that what they leave behind to clean up is part of it.
 */
export interface Result {
  readonly name: string;
  /** The median run, in ms. */
  readonly median: number;
  /** The mean run of the fastest block, in ms. */
  readonly least: number;
  /** Times the measured forward pass on the same batch. */
  readonly forwards?: number;
  /** FLOPs of the matrix products in forward passes: what `forwards` would be if products were all. */
  readonly count?: number;
  /** GFLOP/s of its own products, of the 1024³ product at its fastest, and the one over the other in per cent. */
  readonly speed?: number;
  readonly product: number;
  readonly share?: number;
  /** Resident bytes at most, of the largest round. */
  readonly peak?: number;
  readonly part?: number;
  readonly verdicts: readonly Verdict[];
}

/** Whether a bar is met. */
export interface Verdict {
  readonly text: string;
  readonly met: boolean;
}

/** The time of each row's fastest block, by the row's name. */
type Leasts = ReadonlyMap<string, number>;

/** Sums up all rows. */
export function resultsOf(all: readonly Measured[]): Result[] {
  const leasts = new Map(
    all.map(({ row, measurements }) => [row.name, Math.min(...blocksOf(measurements).map(({ times }) => mean(times)))]),
  );
  return all.map(({ row, measurements }) => resultOf(row, measurements, leasts));
}

function blocksOf(measurements: readonly Measurement[]): Block[] {
  return measurements.flatMap(({ blocks }) => blocks);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function resultOf(row: Row, measurements: readonly Measurement[], leasts: Leasts): Result {
  const blocks = blocksOf(measurements);
  const least = leasts.get(row.name)!;
  const { flops, forwardFlops, part } = measurements[0]!;
  const forward = row.forward === undefined ? undefined : leasts.get(row.forward);
  const peaks = measurements.flatMap(({ residentPeak }) => residentPeak ?? []);
  const product = PRODUCT_FLOPS / Math.min(...blocks.flatMap((block) => block.product)) / 1e6;
  const speed = flops === undefined ? undefined : flops / least / 1e6;
  const figures = {
    name: row.name,
    median: median(blocks.flatMap(({ times }) => times)),
    least,
    product,
    ...(forward === undefined ? {} : { forwards: least / forward }),
    ...(speed === undefined ? {} : { speed, share: (100 * speed) / product }),
    ...(flops === undefined || forwardFlops === undefined ? {} : { count: flops / forwardFlops }),
    ...(peaks.length === 0 ? {} : { peak: Math.max(...peaks) }),
    ...(part === undefined ? {} : { part }),
  };
  return { ...figures, verdicts: row.bars.flatMap((bar) => verdict(bar, figures, leasts)) };
}

function verdict(bar: Bar, figures: Omit<Result, "verdicts">, leasts: Leasts): Verdict[] {
  if (bar.of === "share") return [{ text: `≥ ${bar.least} %`, met: figures.share! >= bar.least }];
  if (bar.of === "peak") return [{ text: `< ${bar.most / 1e6} MB`, met: figures.peak! < bar.most }];
  const other = leasts.get(bar.to);
  if (other === undefined) return [];
  const ratio = figures.least / other;
  const text = `${ratio.toFixed(2)} × ${bar.to}`;
  return [{ text: Number.isFinite(bar.most) ? `${text} (≤ ${bar.most})` : text, met: ratio <= bar.most }];
}

const HEAD = ["", "ms", "least", "forwards", "count", "GF/s", "1024³", "share", "peak MB", "part"];

/** The results as rows of text, with their heads; the verdicts come last. */
export function tableOf(results: readonly Result[]): string[][] {
  const lines = results.map((result) => [
    result.name,
    number(result.median),
    number(result.least),
    number(result.forwards),
    number(result.count),
    number(result.speed),
    number(result.product),
    result.share === undefined ? "" : `${result.share.toFixed(0)} %`,
    result.peak === undefined ? "" : (result.peak / 1e6).toFixed(0),
    result.part === undefined ? "" : String(result.part),
    result.verdicts.map(({ text, met }) => `${met ? "met" : "MISSED"}: ${text}`).join("; "),
  ]);
  return [[...HEAD, "bars"], ...lines];
}

/** Three digits, or all before the point. */
function number(value: number | undefined): string {
  if (value === undefined) return "";
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
