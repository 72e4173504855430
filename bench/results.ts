import { mean, median } from "./measure.ts";
import { PRODUCT_FLOPS } from "./product.ts";
import type { Block, Measurement } from "./request.ts";
import type { Bar, Row } from "./suites.ts";

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
  readonly product: number;
  /** Its speed over that of the product beside it, in per cent; both see the same other work. */
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

type Figures = Omit<Result, "forwards" | "verdicts">;

/** Sums up all rows. */
export function resultsOf(all: readonly Measured[]): Result[] {
  const figures = new Map(all.map(({ row, measurements }) => [row.name, figuresOf(row.name, measurements)]));
  return all.map(({ row }) => {
    const own = figures.get(row.name)!;
    const forward = row.forward === undefined ? undefined : figures.get(row.forward);
    return {
      ...own,
      ...(forward && { forwards: own.least / forward.least }),
      verdicts: row.bars.flatMap((bar) =>
        verdict(bar, own, figures.get(bar.of === "ratio" ? bar.to : (row.forward ?? ""))),
      ),
    };
  });
}

function blocksOf(measurements: readonly Measurement[]): Block[] {
  return measurements.flatMap(({ blocks }) => blocks);
}

/** The speed of the work over that of the product beside it, in per cent: the median of all blocks. */
function shareOf(blocks: readonly Block[], flops: number): number {
  return median(blocks.map(({ times, product }) => (100 * flops * mean(product)) / (mean(times) * PRODUCT_FLOPS)));
}

function figuresOf(name: string, measurements: readonly Measurement[]): Figures {
  const blocks = blocksOf(measurements);
  const least = Math.min(...blocks.map(({ times }) => mean(times)));
  const { flops, forwardFlops, part } = measurements[0]!;
  const peaks = measurements.flatMap(({ residentPeak }) => residentPeak ?? []);
  return {
    name,
    median: median(blocks.flatMap(({ times }) => times)),
    least,
    product: PRODUCT_FLOPS / Math.min(...blocks.flatMap((block) => block.product)) / 1e6,
    ...(flops === undefined ? {} : { speed: flops / least / 1e6, share: shareOf(blocks, flops) }),
    ...(flops === undefined || forwardFlops === undefined ? {} : { count: flops / forwardFlops }),
    ...(peaks.length === 0 ? {} : { peak: Math.max(...peaks) }),
    ...(part === undefined ? {} : { part }),
  };
}

/** @param other the row that it is held against, if it was measured. */
function verdict(bar: Bar, own: Figures, other: Figures | undefined): Verdict[] {
  if (bar.of === "share") return [{ text: `≥ ${bar.least} %`, met: own.share! >= bar.least }];
  if (bar.of === "peak") return [{ text: `< ${bar.most / 1e6} MB`, met: own.peak! < bar.most }];
  if (other === undefined) return [];
  const ratio = bar.of === "ratio" ? own.least / other.least : other.share! / own.share!;
  const what = bar.of === "ratio" ? bar.to : `the ${number(own.least / ratio)} ms that the count predicts`;
  const text = `${ratio.toFixed(2)} × ${what}`;
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
