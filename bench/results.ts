import { median, PRODUCT_FLOPS } from "./measure.ts";
import type { Block, Measurement } from "./request.ts";
import type { Bar, Row } from "./suites.ts";

/** A row's measurements, one for each round. */
export interface Measured {
  readonly row: Row;
  readonly measurements: readonly Measurement[];
}

/** What a row's measurements come to. */
export interface Result {
  readonly name: string;
  /** In ms. */
  readonly median: number;
  readonly least: number;
  /** Times the measured forward pass on the same batch. */
  readonly forwards?: number;
  /** FLOPs of the matrix products in forward passes: what `forwards` would be if products were all. */
  readonly count?: number;
  /** GFLOP/s of its own products, and of the 1024³ product beside it. */
  readonly speed?: number;
  readonly product: number;
  /** The one over the other in per cent, each block held against its own neighbours: the median of all. */
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

/** The median times of each row, by its name: one for each round. */
type Rounds = ReadonlyMap<string, readonly number[]>;

/** Sums up all rows. */
export function resultsOf(all: readonly Measured[]): Result[] {
  const rounds = new Map(
    all.map(({ row, measurements }) => [row.name, measurements.map((each) => median(timesOf([each])))]),
  );
  return all.map(({ row, measurements }) => resultOf(row, measurements, rounds));
}

function timesOf(measurements: readonly Measurement[]): number[] {
  return measurements.flatMap(({ blocks }) => blocks.flatMap(({ times }) => times));
}

/** A row's time over another's, each round's against the same round's: the median of all. */
function ratioOf(name: string, other: string, rounds: Rounds): number | undefined {
  const [times, units] = [rounds.get(name)!, rounds.get(other)];
  return units && median(times.map((time, round) => time / units[round]!));
}

function resultOf(row: Row, measurements: readonly Measurement[], rounds: Rounds): Result {
  const blocks = measurements.flatMap((each) => each.blocks);
  const time = median(timesOf(measurements));
  const { flops, forwardFlops, part } = measurements[0]!;
  const forwards = row.forward === undefined ? undefined : ratioOf(row.name, row.forward, rounds);
  const peaks = measurements.flatMap(({ residentPeak }) => residentPeak ?? []);
  const figures = {
    name: row.name,
    median: time,
    least: Math.min(...timesOf(measurements)),
    product: PRODUCT_FLOPS / median(blocks.map(productTime)) / 1e6,
    ...(forwards === undefined ? {} : { forwards }),
    ...(flops === undefined ? {} : { speed: flops / time / 1e6, share: shareOf(blocks, flops) }),
    ...(flops === undefined || forwardFlops === undefined ? {} : { count: flops / forwardFlops }),
    ...(peaks.length === 0 ? {} : { peak: Math.max(...peaks) }),
    ...(part === undefined ? {} : { part }),
  };
  return { ...figures, verdicts: row.bars.flatMap((bar) => verdict(bar, figures, rounds)) };
}

function productTime({ product: [before, after] }: Block): number {
  return (before + after) / 2;
}

function shareOf(blocks: readonly Block[], flops: number): number {
  return median(blocks.map((block) => (100 * flops * productTime(block)) / (median(block.times) * PRODUCT_FLOPS)));
}

function verdict(bar: Bar, figures: Omit<Result, "verdicts">, rounds: Rounds): Verdict[] {
  if (bar.of === "share") return [{ text: `≥ ${bar.least} %`, met: figures.share! >= bar.least }];
  if (bar.of === "peak") return [{ text: `< ${bar.most / 1e6} MB`, met: figures.peak! < bar.most }];
  const ratio = ratioOf(figures.name, bar.to, rounds);
  if (ratio === undefined) return [];
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
