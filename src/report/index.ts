import type { TrainEvent } from "../train/index.ts";
import { arranged } from "./draw.ts";
import { comparisonFigure, rateFigures } from "./figures.ts";
import { page } from "./page.ts";
import { printTheme } from "./theme.ts";
import { viewOf } from "./view.ts";

export { formatClock, formatCount, formatLoss, formatNumber, formatPercent, formatSeconds } from "./format.ts";
export { type GroupGrid, type GroupLabel, gridOf, KIND_TITLES, labelGroups } from "./groups.ts";
export { divergenceOf } from "./view.ts";

/** The report of a run, finished or not: an HTML page that needs nothing beside itself. */
export function renderReport(events: readonly TrainEvent[]): string {
  return page(viewOf(events));
}

/** The figure of the learning rates alone, as an SVG file on white; undefined where no step was taken. */
export function renderRates(events: readonly TrainEvent[]): string | undefined {
  const panels = rateFigures(viewOf(events), printTheme);
  return panels.length === 0 ? undefined : arranged(panels, printTheme);
}

/** Some runs, and what they have in common. */
export interface Comparison {
  readonly title: string;
  readonly runs: readonly (readonly TrainEvent[])[];
}

/** The training losses of runs beside each other, two plots in a row, as an SVG file on white; undefined where a run has no step. */
export function renderLosses(comparisons: readonly Comparison[]): string | undefined {
  const panels = comparisons.map(({ title, runs }) => comparisonFigure(title, runs.map(viewOf), printTheme));
  return panels.includes(undefined) ? undefined : arranged(panels as string[], printTheme, 2);
}
