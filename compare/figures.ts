import * as Plot from "@observablehq/plot";
import { median } from "../bench/measure.ts";
import {
  arranged,
  axes,
  draw,
  type EndLabel,
  endLabels,
  formatTick,
  heading,
  labelMargin,
  type Size,
} from "../src/report/draw.ts";
import { logTicks } from "../src/report/scale.ts";
import { printTheme as theme } from "../src/report/theme.ts";
import { ENTRIES, type EntryName, entryOf } from "./entries.ts";
import { meanCurve, type Sensitivity, type Trial } from "./summary.ts";

const PANEL: Size = { width: 560, height: 400 };
const MARGIN = { marginTop: 34, marginLeft: 58, marginBottom: 40 };
const COLOURS = [
  "#2f6bd8",
  "#d4581c",
  "#16936a",
  "#9a45bd",
  "#b5830c",
  "#cf3a77",
  "#1b93a8",
  "#7d6b58",
  "#6f7f1f",
  "#8a1f2d",
  "#5b6fae",
  "#2b2f38",
];
/** What takes more than this times the middle of all times leaves the figure. */
const LONGEST = 2.5;

interface LinePoint {
  readonly x: number;
  readonly y: number;
}

/** A line with its name beside its end. */
interface Line {
  readonly entry: EntryName;
  readonly points: readonly LinePoint[];
}

/** The training losses of trials against epochs or seconds, each the mean over its seeds. */
function lossPanel(title: string, trials: readonly Trial[], along: "epoch" | "seconds"): string {
  const lines = trials.map(({ entry, results, timing }): Line => {
    const points = meanCurve(results).map(({ epoch, step, trainLoss }) => ({
      x: along === "epoch" ? epoch : step * timing!.secondsPerStep,
      y: trainLoss,
    }));
    return { entry, points };
  });
  const ends = lines.map(({ points }) => points.at(-1)!.x);
  const most = Math.min(Math.max(...ends), LONGEST * median(ends));
  const start = Math.max(...lines.map(({ points }) => points[0]!.y));
  return panel(
    title,
    lines.map((line) => ({ ...line, points: upTo(most, line.points) })),
    {
      x: { domain: [0, most] },
      highest: start * 1.1,
      axes: (y) => axes(theme, y, most, along),
    },
  );
}

/** The part of a line up to some x, its end on the straight line between its neighbours. */
function upTo(most: number, points: readonly LinePoint[]): LinePoint[] {
  const beyond = points.findIndex(({ x }) => x > most);
  if (beyond < 0) return [...points];
  const [from, to] = [points[beyond - 1]!, points[beyond]!];
  const share = (most - from.x) / (to.x - from.x);
  return [...points.slice(0, beyond), { x: most, y: from.y + share * (to.y - from.y) }];
}

/** What sets one figure of losses apart from the other. */
interface Frame {
  readonly x: Plot.ScaleOptions;
  /** Losses above this are drawn at it. */
  readonly highest: number;
  readonly axes: (y: {
    readonly ticks?: readonly number[];
    readonly tickFormat: (value: number) => string;
  }) => Plot.Markish[];
  readonly dots?: boolean;
}

function panel(title: string, lines: readonly Line[], { x, highest, axes: axesOf, dots = false }: Frame): string {
  const drawn = lines.map(({ entry, points }) => ({
    entry,
    colour: COLOURS[Object.keys(ENTRIES).indexOf(entry) % COLOURS.length]!,
    points: points.map((point) => ({ ...point, y: Math.min(point.y, highest) })),
  }));
  const least = Math.min(...drawn.flatMap(({ points }) => points.map(({ y }) => y)));
  const log = least > 0 && highest / least > 8;
  const domain: [number, number] = [log ? least / 1.1 : least - 0.05 * (highest - least), highest];
  const labels = drawn.map(({ entry, colour, points }): EndLabel => {
    return { text: entryOf(entry).title, colour, ...points.at(-1)! };
  });
  return draw(
    {
      ...PANEL,
      ...MARGIN,
      marginRight: labelMargin(labels),
      x,
      y: { type: log ? "log" : "linear", domain },
      marks: [
        ...axesOf({ ...(log && { ticks: logTicks(domain) }), tickFormat: formatTick }),
        ...drawn.flatMap(({ entry, colour, points }) => [
          Plot.line(points, {
            x: "x",
            y: "y",
            stroke: colour,
            // What the comparison is about stands out.
            strokeWidth: entryOf(entry).optimizer === "newton" ? 3.2 : 1.6,
          }),
          ...(dots ? [Plot.dot(points, { x: "x", y: "y", fill: colour, r: 3 })] : []),
        ]),
        endLabels(labels, theme),
        heading(title, theme),
      ],
    },
    title,
  );
}

/** What a figure of losses is drawn from. */
export interface Standing {
  readonly title: string;
  readonly usual: readonly Trial[];
  readonly best: readonly Trial[];
}

/** Losses against epochs and, where steps are timed, against seconds, with the usual settings above and the best ones below, as an SVG file. */
export function lossFigure({ title, usual, best }: Standing): string {
  const rows = [
    ["usual settings", usual],
    ["best settings", best],
  ] as const;
  const panels = rows.flatMap(([settings, trials]) => {
    const columns = [
      ["epoch", trials],
      ["seconds", trials.filter(({ timing }) => timing)],
    ] as const;
    return columns
      .filter(([, shown]) => shown.length > 0)
      .map(([along, shown]) => lossPanel(`${title}: training loss, ${settings}`, shown, along));
  });
  return arranged(panels, theme, 2);
}

/** The final training loss against the main setting over its usual value, as an SVG file with a plot for each subject. */
export function sensitivityFigure(
  subjects: readonly { readonly title: string; readonly start: number; readonly all: readonly Sensitivity[] }[],
): string {
  const panels = subjects.map(({ title, start, all }) => {
    const lines = all.map(({ entry, points }): Line => {
      return { entry, points: points.map(({ factor, loss }) => ({ x: factor, y: loss })) };
    });
    const factors = lines.flatMap(({ points }) => points.map(({ x }) => x));
    return panel(`${title}: final training loss`, lines, {
      x: { type: "log", domain: [Math.min(...factors), Math.max(...factors)] },
      highest: start * 1.1,
      axes: (y) => factorAxes(y),
      dots: true,
    });
  });
  return arranged(panels, theme, 2);
}

function factorAxes({ ticks, tickFormat }: Parameters<Frame["axes"]>[0]): Plot.Markish[] {
  const style = { label: null, color: theme.muted, fontSize: 12 };
  return [
    Plot.gridY({ ...(ticks && { ticks: [...ticks] }), stroke: theme.grid, strokeOpacity: 1 }),
    Plot.axisY({ ...(ticks && { ticks: [...ticks] }), tickFormat, tickSize: 0, ...style }),
    Plot.axisX({
      ...style,
      ticks: [0.1, 0.3, 1, 3, 10],
      tickFormat: String,
      tickSize: 4,
      label: "main setting, times its usual value",
      labelAnchor: "center",
      labelOffset: 34,
      labelArrow: "none",
    }),
  ];
}
