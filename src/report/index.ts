import type { TrainEvent } from "../train/index.ts";
import { sideBySide } from "./draw.ts";
import { rateFigures } from "./figures.ts";
import { page } from "./page.ts";
import { printTheme } from "./theme.ts";
import { viewOf } from "./view.ts";

export { formatClock, formatCount, formatLoss, formatNumber, formatPercent, formatSeconds } from "./format.ts";
export { type GroupGrid, type GroupLabel, gridOf, KIND_TITLES, labelGroups } from "./groups.ts";

/** The report of a run, finished or not: an HTML page that needs nothing beside itself. */
export function renderReport(events: readonly TrainEvent[]): string {
  return page(viewOf(events));
}

/** The figure of the learning rates alone, as an SVG file on white; undefined where no step was taken. */
export function renderRates(events: readonly TrainEvent[]): string | undefined {
  const panels = rateFigures(viewOf(events), printTheme);
  return panels.length === 0 ? undefined : sideBySide(panels, printTheme);
}
