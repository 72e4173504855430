import * as Plot from "@observablehq/plot";
import { axes, draw, type EndLabel, endLabels, formatTick, heading, labelMargin, type Size } from "./draw.ts";
import { type GroupLabel, KIND_TITLES, labelGroups } from "./groups.ts";
import { logTicks, type RateScale, rateScale } from "./scale.ts";
import { batchLosses, coincide, type Point, rateSeries, smoothed, smoothedRates, thinned } from "./series.ts";
import type { Theme } from "./theme.ts";
import type { RunView } from "./view.ts";

const MARGIN = { marginTop: 34, marginLeft: 52, marginBottom: 38 };
const PANEL: Size = { width: 500, height: 318 };
/** Names longer than this are cut. */
const LONGEST_LABEL = 18;
/** Of more lines than this, some are named; their colours run from the first to the last. */
const MOST_LABELS = 20;
const SOME_LABELS = 10;

/** A line of a figure that has a point for each epoch. */
interface EpochLine {
  readonly text: string;
  readonly colour: string;
  readonly points: { readonly x: number; readonly y: number }[];
}

/** The loss: of each batch, faint; smoothed; and on the data sets after each epoch. */
export function lossFigure(view: RunView, theme: Theme): string | undefined {
  const raw = batchLosses(view);
  const smooth = smoothed(raw);
  const lines = epochLines(view, theme, "Loss");
  const shown = [...smooth, ...lines.flatMap(({ points }) => points)].map(({ y }) => y!);
  if (shown.length === 0) return undefined;
  const [least, most] = [Math.min(...shown), Math.max(...shown)];
  const log = spansDecades(shown);
  const domain: [number, number] = log ? [least / 1.4, most * 1.2] : [Math.min(0, least), most * 1.08];
  const last = smooth.at(-1);
  const labels: EndLabel[] = [
    ...(last ? [{ text: "batches", colour: theme.muted, x: last.x, y: last.y! }] : []),
    ...lines.map(endLabelOf),
  ];
  return draw(
    {
      ...PANEL,
      ...MARGIN,
      marginRight: labelMargin(labels),
      x: { domain: [0, extent(view)] },
      y: { type: log ? "log" : "linear", domain },
      clip: false,
      marks: [
        ...axes(theme, { ...(log && { ticks: logTicks(domain) }), tickFormat: formatTick }, extent(view)),
        Plot.line(thinned(raw), {
          x: "x",
          y: "y",
          stroke: theme.muted,
          strokeOpacity: 0.28,
          strokeWidth: 1,
          clip: true,
        }),
        Plot.line(thinned(smooth), { x: "x", y: "y", stroke: theme.muted, strokeWidth: 1.8 }),
        ...lines.flatMap((line) => epochMarks(line, theme)),
        endLabels(labels, theme),
        heading("Loss", theme),
      ],
    },
    `Loss over ${view.epochs.length} epochs`,
  );
}

/** Whether losses are better seen on a logarithmic axis. */
function spansDecades(losses: readonly number[]): boolean {
  const least = Math.min(...losses);
  return least > 0 && Math.max(...losses) / least > 8;
}

/** The loss of each batch, smoothed, of some runs; undefined where one has none. */
export function comparisonFigure(title: string, views: readonly RunView[], theme: Theme): string | undefined {
  const lines = views.map((view, i) => ({
    text: String(view.start?.config.method ?? ""),
    colour: theme.series(i, views.length),
    points: smoothed(batchLosses({ ...view, stepsPerEpoch: 1 })),
  }));
  if (lines.some(({ points }) => points.length === 0)) return undefined;
  const values = lines.flatMap(({ points }) => points.map(({ y }) => y!));
  const log = spansDecades(values);
  const domain: [number, number] = [Math.min(...values) * 0.95, Math.max(...values) * 1.02];
  const labels = lines.map(({ points, ...line }): EndLabel => ({ ...line, x: points.at(-1)!.x, y: points.at(-1)!.y! }));
  const steps = Math.max(...views.map((view) => view.steps.length));
  return draw(
    {
      ...PANEL,
      ...MARGIN,
      marginRight: labelMargin(labels),
      x: { domain: [0, steps] },
      y: { type: log ? "log" : "linear", domain },
      marks: [
        ...axes(theme, { ...(log && { ticks: logTicks(domain) }), tickFormat: formatTick }, steps, "step"),
        ...lines.map(({ points, colour }) => Plot.line(points, { x: "x", y: "y", stroke: colour, strokeWidth: 2 })),
        endLabels(labels, theme),
        heading(title, theme),
      ],
    },
    `Training loss of ${title}`,
  );
}

/** The accuracy after each epoch, where the run has one. */
export function accuracyFigure(view: RunView, theme: Theme): string | undefined {
  const lines = epochLines(view, theme, "Accuracy");
  const shown = lines.flatMap(({ points }) => points.map(({ y }) => y));
  if (shown.length === 0) return undefined;
  const [least, most] = [Math.min(...shown), Math.max(...shown)];
  const room = Math.max(0.25 * (most - least), 0.01);
  const labels = lines.map(endLabelOf);
  return draw(
    {
      ...PANEL,
      ...MARGIN,
      marginRight: labelMargin(labels),
      x: { domain: [0, extent(view)] },
      y: { domain: [Math.max(0, least - room), Math.min(1, most + room)] },
      marks: [
        ...axes(theme, { tickFormat: (share) => `${Number((100 * share).toFixed(2))} %` }, extent(view)),
        ...lines.flatMap((line) => epochMarks(line, theme)),
        endLabels(labels, theme),
        heading("Accuracy", theme),
      ],
    },
    `Accuracy over ${view.epochs.length} epochs`,
  );
}

/** The learning rates over time, one line for each group: a panel for the weights and one for the biases, or one for all. */
export function rateFigures(view: RunView, theme: Theme): string[] {
  const all = rateSeries(view);
  const one = all.length > 1 && coincide(all);
  const series = one ? all.slice(0, 1) : all;
  const values = series.flatMap((points) => points.flatMap(({ y }) => (y === null ? [] : [y])));
  if (values.length === 0) return [];
  const labels = labelGroups(one ? [{ name: "all groups", members: [] }] : view.groups);
  const layers = [...new Set(labels.map(({ layer }) => layer))];
  const kinds = [...new Set(labels.map(({ kind }) => kind))];
  const split = kinds.length > 1 && layers.length > 1;
  const scale = rateScale(values);
  const lines = labels.map((label, i): RateLine => {
    const colour = split ? theme.series(layers.indexOf(label.layer), layers.length) : theme.series(i, labels.length);
    const trend = smoothedRates(series[i]!, scale.type === "log");
    return { ...label, text: short(split ? label.layer : label.name), colour, points: series[i]!, trend };
  });
  const panels = split ? kinds.map((kind) => lines.filter((line) => line.kind === kind)) : [lines];
  return panels.map((panel, i) => ratePanel(view, theme, scale, panel, split ? KIND_TITLES[kinds[i]!] : undefined));
}

interface RateLine extends GroupLabel {
  readonly text: string;
  readonly colour: string;
  /** As applied. */
  readonly points: readonly Point[];
  readonly trend: readonly Point[];
}

function ratePanel(
  view: RunView,
  theme: Theme,
  scale: RateScale,
  lines: readonly RateLine[],
  kind: string | undefined,
): string {
  const title = kind ? `Learning rates of ${kind}` : "Learning rates";
  const named = lines.length > MOST_LABELS ? spread(lines, SOME_LABELS) : lines;
  const labels = named.flatMap(({ text, colour, points, trend }): EndLabel[] => {
    const last = [...points, ...trend].findLast(({ y }) => y !== null);
    return last ? [{ text, colour, x: last.x, y: onScale(scale, last.y!) }] : [];
  });
  const { type, domain, constant, zeroBelow } = scale;
  const ticks = scale.ticks ?? (type === "log" ? logTicks([zeroBelow ?? domain[0], domain[1]]) : undefined);
  return draw(
    {
      width: PANEL.width,
      height: Math.max(PANEL.height, 16 * named.length + 72),
      ...MARGIN,
      marginLeft: 62,
      marginRight: labelMargin(labels),
      x: { domain: [0, extent(view)] },
      y: { type, domain: [...domain], ...(constant === undefined ? {} : { constant }) },
      marks: [
        ...axes(theme, { ...(ticks && { ticks }), tickFormat: formatTick }, extent(view)),
        ...(domain[0] < 0 ? [Plot.ruleY([0], { stroke: theme.muted, strokeDasharray: "3 3" })] : []),
        ...lines.flatMap((line, i) => rateMarks(line, scale, i, lines.length)),
        ...(zeroBelow === undefined ? [] : zeroStrip(scale, theme)),
        endLabels(labels, theme),
        heading(title, theme),
      ],
    },
    `${title} of ${lines.length} groups over time`,
  );
}

/** The line of a group, and where its rate is 0 and the axis logarithmic, ticks in the strip below. */
function rateMarks(line: RateLine, scale: RateScale, row: number, rows: number): Plot.Markish[] {
  const { points, trend, colour, name } = line;
  const drawn = points.map(({ x, y }) => ({ x, y: y !== null && (scale.type !== "log" || y > 0) ? y : null }));
  const common = { x: "x", y: (point: Point) => point.y ?? Number.NaN, stroke: colour, title: () => name };
  const marks = [
    Plot.line(drawn, { ...common, strokeOpacity: 0.3, strokeWidth: 1, curve: "step-after" }),
    Plot.line(trend, { ...common, strokeWidth: 2, curve: trend.length > 2 ? "monotone-x" : "linear" }),
  ];
  if (scale.zeroBelow === undefined) return marks;
  const [low, high] = [scale.domain[0], scale.zeroBelow];
  const edge = (at: number): number => low * (high / low) ** (0.1 + (0.8 * at) / rows);
  const spans = points.flatMap(({ x, y }, i) => (y === 0 ? [{ from: x, to: points[i + 1]?.x ?? x }] : []));
  const strip = {
    x1: "from",
    x2: "to",
    y1: () => edge(rows - row - 1),
    y2: () => edge(rows - row),
    fill: colour,
    shapeRendering: "crispEdges",
  };
  return [...marks, Plot.rect(spans, strip)];
}

function zeroStrip({ domain, zeroBelow }: RateScale, theme: Theme): Plot.Markish[] {
  return [
    Plot.ruleY([zeroBelow!], { stroke: theme.muted, strokeOpacity: 0.5, strokeDasharray: "2 3" }),
    Plot.text(["0"], {
      frameAnchor: "left",
      y: Math.sqrt(domain[0] * zeroBelow!),
      dx: -8,
      textAnchor: "end",
      fill: theme.muted,
      fontSize: 12,
    }),
  ];
}

/** Where a rate's label wants to be. */
function onScale({ zeroBelow, domain }: RateScale, rate: number): number {
  return zeroBelow !== undefined && rate === 0 ? Math.sqrt(domain[0] * zeroBelow) : rate;
}

/** Epochs that the x axis shows: as many as the run has come to. */
function extent({ steps, epochs, stepsPerEpoch }: RunView): number {
  const reached = ((steps.at(-1)?.step ?? 0) + 1) / stepsPerEpoch;
  return Math.max(reached, (epochs.at(-1)?.step ?? 0) / stepsPerEpoch);
}

function epochLines({ epochs, stepsPerEpoch }: RunView, theme: Theme, what: "Loss" | "Accuracy"): EpochLine[] {
  return (["train", "test"] as const).flatMap((on, i) => {
    const points = epochs.flatMap((event) => {
      const y = event[`${on}${what}`];
      return y === undefined || y === null ? [] : [{ x: event.step / stepsPerEpoch, y }];
    });
    return points.length > 0 ? [{ text: on, colour: theme.series(i, 2), points }] : [];
  });
}

function epochMarks({ points, colour }: EpochLine, theme: Theme): Plot.Markish[] {
  return [
    Plot.line(points, { x: "x", y: "y", stroke: colour, strokeWidth: 2.2 }),
    Plot.dot(points, {
      x: "x",
      y: "y",
      r: points.length > 40 ? 2 : 4,
      fill: colour,
      stroke: theme.paper,
      strokeWidth: 1.2,
    }),
  ];
}

function endLabelOf({ text, colour, points }: EpochLine): EndLabel {
  return { text, colour, ...points.at(-1)! };
}

/** So many of a list, at even distances, the first and the last among them. */
function spread<T>(list: readonly T[], count: number): T[] {
  return Array.from({ length: count }, (_, i) => list[Math.round((i * (list.length - 1)) / (count - 1))]!);
}

/** Without its middle where it is long: names that begin alike differ at the end. */
function short(name: string): string {
  if (name.length <= LONGEST_LABEL) return name;
  const [head, tail] = [Math.floor((LONGEST_LABEL - 1) / 2), Math.ceil((LONGEST_LABEL - 1) / 2)];
  return `${name.slice(0, head)}…${name.slice(-tail)}`;
}
