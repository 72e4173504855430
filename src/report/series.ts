import type { RunView } from "./view.ts";

/** A point of a figure; where `y` is null the line has a gap. */
export interface Point {
  /** In epochs. */
  readonly x: number;
  readonly y: number | null;
}

/** A figure's raw lines are thinned to about this many points: more cannot be seen. */
const MOST_POINTS = 1500;
/** Learning rates with fewer points than this are not smoothed. */
const FEW_POINTS = 60;

/** The loss of each step's batch. */
export function batchLosses({ steps, stepsPerEpoch }: RunView): Point[] {
  return steps.map(({ step, loss }) => ({ x: (step + 1) / stepsPerEpoch, y: loss }));
}

/** The mean over a window around each point, a fortieth of the line wide. Points without a number do not count. */
export function smoothed(points: readonly Point[]): Point[] {
  return movingMean(
    points.filter(({ y }) => y !== null),
    1 / 40,
  );
}

/**
 * The same for learning rates, over a wider window, with a gap where most of it holds no number. Short lines stay as
 * they are.
 * @param logarithmic whether to take the geometric mean of the positive ones, as befits a logarithmic axis.
 */
export function smoothedRates(points: readonly Point[], logarithmic: boolean): Point[] {
  const share = points.length < FEW_POINTS ? 0 : 1 / 15;
  if (!logarithmic) return movingMean(points, share);
  const logs = points.map(({ x, y }) => ({ x, y: y !== null && y > 0 ? Math.log(y) : null }));
  return movingMean(logs, share).map(({ x, y }) => ({ x, y: y === null ? null : Math.exp(y) }));
}

function movingMean(points: readonly Point[], share: number): Point[] {
  const half = Math.min(100, Math.round((share * points.length) / 2));
  const [sums, counts] = [[0], [0]];
  for (const { y } of points) {
    sums.push(sums.at(-1)! + (y ?? 0));
    counts.push(counts.at(-1)! + Number(y !== null));
  }
  return points.map(({ x }, i) => {
    const [from, to] = [Math.max(0, i - half), Math.min(points.length, i + half + 1)];
    const count = counts[to]! - counts[from]!;
    return { x, y: 2 * count < to - from ? null : (sums[to]! - sums[from]!) / count };
  });
}

/** Fewer points with the same outline: of each run of points the least and the greatest. */
export function thinned(points: readonly Point[]): Point[] {
  if (points.length <= MOST_POINTS) return [...points];
  const size = Math.ceil((2 * points.length) / MOST_POINTS);
  return Array.from({ length: Math.ceil(points.length / size) }, (_, i) => {
    const bucket = points.slice(i * size, (i + 1) * size);
    const sorted = bucket.toSorted((a, b) => (a.y ?? 0) - (b.y ?? 0));
    return [sorted[0]!, sorted.at(-1)!].toSorted((a, b) => a.x - b.x);
  }).flat();
}

/**
 * The learning rate of each group: a point wherever one of them changes, and one at the end. Between two points the
 * rates stay as they were.
 */
export function rateSeries({ steps, groups, stepsPerEpoch }: RunView): Point[][] {
  const rates = steps.map((event) => event.learningRates);
  const changes = steps.filter((_, i) => i === 0 || rates[i]!.some((rate, group) => rate !== rates[i - 1]![group]));
  const stride = Math.ceil(changes.length / MOST_POINTS);
  const shown = changes.filter((_, i) => i % stride === 0);
  const last = steps.at(-1);
  return groups.map((_, group) => {
    const points = shown.map(({ step, learningRates }) => ({
      x: step / stepsPerEpoch,
      y: learningRates[group] ?? null,
    }));
    return last ? [...points, { x: (last.step + 1) / stepsPerEpoch, y: last.learningRates[group] ?? null }] : points;
  });
}

/** Whether all lines are one and the same, as learning rates are that somebody has set. */
export function coincide(lines: readonly (readonly Point[])[]): boolean {
  return lines.every((points) => points.every(({ y }, i) => y === lines[0]![i]!.y));
}
