import { formatNumber, type GroupLabel, gridOf, KIND_TITLES, labelGroups } from "../report/index.ts";
import type { EpochEvent, RunFacts } from "../train/index.ts";
import { type Cell, heading, TextTable } from "./table.ts";
import type { Terminal } from "./terminal.ts";

/** Rates on more lines than this are summed up; the report has all of them. */
const MOST_LINES = 24;

/**
 * The learning rate of each group: layers by kinds where the names allow it, else one group on each line. Very many are
 * summed up by kind, and rates that are all the same are one line.
 */
export function rateTable(
  rates: EpochEvent["learningRates"],
  groups: RunFacts["groups"],
  terminal: Terminal,
): TextTable {
  const labels = labelGroups(groups);
  if (rates.length > 1 && rates.every((rate) => rate === rates[0]))
    return table(["learning rates", ""], [["all groups", formatNumber(rates[0])]], terminal);
  const grid = gridOf(labels);
  if ((grid?.layers ?? labels).length > MOST_LINES) return kindTable(rates, labels, terminal);
  if (!grid) {
    const lines = labels.map(({ name }, i) => [name, formatNumber(rates[i])]);
    return table(["learning rates", ""], lines, terminal);
  }
  const cell = (group: number): string => (group < 0 ? "" : formatNumber(rates[group]));
  const rows = grid.layers.map((layer) => [layer, ...grid.kinds.map((kind) => cell(grid.at(layer, kind)))]);
  return table(["learning rates", ...grid.kinds.map((kind) => KIND_TITLES[kind])], rows, terminal);
}

/** Of each kind of groups, how many there are, and the least, middle and greatest of their rates. */
function kindTable(rates: EpochEvent["learningRates"], labels: readonly GroupLabel[], terminal: Terminal): TextTable {
  const kinds = [...new Set(labels.map(({ kind }) => kind))];
  const rows = kinds.map((kind) => {
    const own = rates
      .filter((rate, i): rate is number => labels[i]!.kind === kind && rate !== null)
      .sort((a, b) => a - b);
    const at = [0, Math.floor(own.length / 2), own.length - 1];
    const count = labels.filter((label) => label.kind === kind).length;
    return [KIND_TITLES[kind], String(count), ...at.map((i) => formatNumber(own[i]))];
  });
  return table(["learning rates", "groups", "least", "median", "greatest"], rows, terminal);
}

function table(head: readonly string[], rows: readonly (readonly string[])[], terminal: Terminal): TextTable {
  const cells = rows.map((row) => row.map((text): Cell => ({ text })));
  return new TextTable([head.map((text) => heading(text, terminal)), ...cells]);
}
