import type { EndEvent, EpochEvent } from "../train/index.ts";
import { accuracyFigure, lossFigure, rateFigures } from "./figures.ts";
import { formatCount, formatLoss, formatNumber, formatPercent, formatSeconds } from "./format.ts";
import { labelGroups } from "./groups.ts";
import { styleSheet } from "./style.ts";
import { pageTheme } from "./theme.ts";
import type { RunView } from "./view.ts";

/** Epochs that the table of learning rates has columns for; of more, these are the last. */
const RATE_COLUMNS = 10;

/** A table with more rows is opened by a click. */
const OPEN_ROWS = 40;

/** The page of a run. */
export function page(view: RunView): string {
  const title = titleOf(view);
  const layers = new Set(labelGroups(view.groups).map(({ layer }) => layer)).size;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escaped(title)} – grnewt</title>
<style>${styleSheet([layers, view.groups.length])}</style>
</head>
<body>
<main>
${header(view, title)}
${tiles(view)}
${notices(view)}
${figures(view)}
${epochTable(view)}
${rateTable(view)}
${settings(view)}
</main>
</body>
</html>
`;
}

function titleOf({ start }: RunView): string {
  const { method, dataset } = start?.config ?? {};
  return typeof method === "string" && typeof dataset === "string" ? `${method} on ${dataset}` : "A training run";
}

const STATUS: Readonly<Record<EndEvent["how"] | "running", string>> = {
  done: "finished",
  aborted: "stopped early",
  error: "ended by an error",
  running: "unfinished",
};

function header({ start, end, groups }: RunView, title: string): string {
  const how = end?.how ?? "running";
  const { model } = start?.config ?? {};
  const facts = [
    ...(typeof model === "string" ? [escaped(model)] : []),
    ...(start ? [`${formatCount(start.samples)} samples in batches of ${formatCount(start.batchSize)}`] : []),
    ...(groups.length > 0 ? [`${groups.length} ${groups.length === 1 ? "group" : "groups"} of parameters`] : []),
    ...(start
      ? [`<time datetime="${escaped(start.date)}">${escaped(start.date.slice(0, 16).replace("T", " "))} UTC</time>`]
      : []),
  ];
  return `<header>
<p class="status ${how}">${STATUS[how]}</p>
<h1>${escaped(title)}</h1>
<p class="facts">${facts.join(" · ")}</p>
</header>`;
}

function tiles(view: RunView): string {
  const { epochs, steps, epochsWanted, stepsWanted, stepsPerEpoch } = view;
  const whole = Math.floor(steps.length / stepsPerEpoch);
  const last = epochs.at(-1);
  const seconds = steps.at(-1)?.time ?? 0;
  const samples = steps.reduce((sum, step) => sum + step.samples, 0);
  const all: [string, string, string?][] = [
    ...(last?.testAccuracy === undefined
      ? []
      : [["test accuracy", formatPercent(last.testAccuracy), "main"] as [string, string, string]]),
    ...(last?.trainAccuracy === undefined
      ? []
      : [["train accuracy", formatPercent(last.trainAccuracy)] as [string, string]]),
    ...(last?.testLoss === undefined ? [] : [["test loss", formatLoss(last.testLoss)] as [string, string]]),
    ...(last?.trainLoss === undefined ? [] : [["train loss", formatLoss(last.trainLoss)] as [string, string]]),
    stepsWanted === undefined
      ? ["epochs", whole < epochsWanted ? `${whole} of ${epochsWanted}` : String(whole)]
      : [
          "steps",
          steps.length < stepsWanted
            ? `${formatCount(steps.length)} of ${formatCount(stepsWanted)}`
            : formatCount(steps.length),
        ],
    ["training time", formatSeconds(seconds)],
    ["samples / s", seconds > 0 ? formatCount(samples / seconds) : "–"],
  ];
  const tile = ([name, value, kind = ""]: [string, string, string?]): string =>
    `<div class="tile ${kind}"><dt>${name}</dt><dd>${value}</dd></div>`;
  return `<dl class="tiles">${all.map(tile).join("")}</dl>`;
}

function notices({ end, warnings }: RunView): string {
  const lines = [
    ...(end?.message === undefined ? [] : [`<strong>Error:</strong> ${escaped(end.message)}`]),
    ...[...warnings].map(
      ([text, times]) => `${escaped(text)}${times > 1 ? ` <small>(${formatCount(times)} times)</small>` : ""}`,
    ),
  ];
  return lines.length === 0 ? "" : `<ul class="notices">${lines.map((line) => `<li>${line}</li>`).join("")}</ul>`;
}

function figures(view: RunView): string {
  const rates = rateFigures(view, pageTheme);
  const results = [lossFigure(view, pageTheme), accuracyFigure(view, pageTheme)].filter((svg) => svg !== undefined);
  if (rates.length + results.length === 0) return `<p class="empty">No step has been taken yet.</p>`;
  const row = (all: readonly string[]): string => all.map((svg) => `<div class="card figure">${svg}</div>`).join("\n");
  return `<section class="figures" aria-label="Figures">
${row(results)}
${row(rates)}
</section>
<p class="legend">Faint lines show what each step met and used, bold lines their moving mean.</p>`;
}

/** The number of epochs that are done, with two decimals where the last is not whole. */
function epochName({ step }: EpochEvent, stepsPerEpoch: number): string {
  return step % stepsPerEpoch === 0 ? String(step / stepsPerEpoch) : (step / stepsPerEpoch).toFixed(2);
}

function epochTable({ epochs, stepsPerEpoch }: RunView): string {
  if (epochs.length === 0) return "";
  const columns: [string, (event: EpochEvent) => string][] = [
    ["epoch", (event) => epochName(event, stepsPerEpoch)],
    ["train loss", ({ trainLoss, batchLoss }) => formatLoss(trainLoss ?? batchLoss)],
    ["train accuracy", ({ trainAccuracy }) => formatPercent(trainAccuracy)],
    ["test loss", ({ testLoss }) => formatLoss(testLoss)],
    ["test accuracy", ({ testAccuracy }) => formatPercent(testAccuracy)],
    ["time", ({ seconds }) => formatSeconds(seconds)],
  ];
  const labelled = epochs.some(({ trainAccuracy, testAccuracy }) => (trainAccuracy ?? testAccuracy) !== undefined);
  const shown = columns.filter(([name]) => labelled || !name.endsWith("accuracy"));
  const rows = epochs.map((event) => shown.map(([, of]) => of(event)));
  return table(
    "Results after each epoch",
    shown.map(([name]) => name),
    rows,
  );
}

function rateTable({ epochs, groups, stepsPerEpoch }: RunView): string {
  const shown = epochs.slice(-RATE_COLUMNS);
  if (shown.length === 0 || groups.length === 0) return "";
  const rows = groups.map(({ name }, i) => [
    escaped(name),
    ...shown.map((event) => formatNumber(event.learningRates[i])),
  ]);
  const head = ["group", ...shown.map((event) => `epoch ${epochName(event, stepsPerEpoch)}`)];
  return table("Learning rates after each epoch", head, rows);
}

function table(title: string, head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (tag: string, all: readonly string[]): string =>
    `<tr>${all.map((cell, i) => (i === 0 && tag === "td" ? `<th scope="row">${cell}</th>` : `<${tag}>${cell}</${tag}>`)).join("")}</tr>`;
  const content = `<div class="scroll"><table>
<thead>${cells("th", head)}</thead>
<tbody>${rows.map((row) => cells("td", row)).join("\n")}</tbody>
</table></div>`;
  return rows.length > OPEN_ROWS
    ? `<details class="card"><summary>${title}</summary>${content}</details>`
    : `<section class="card"><h2>${title}</h2>${content}</section>`;
}

function settings({ start }: RunView): string {
  if (!start) return "";
  // What lies deeper, as the command's own settings, is shown like the rest.
  const { settings, ...facts } = start.config;
  const own = typeof settings === "object" ? settings : {};
  const rows = Object.entries({ ...facts, ...own, ...start.versions }).map(
    ([name, value]) =>
      `<div><dt>${escaped(name)}</dt><dd>${escaped(typeof value === "string" ? value : JSON.stringify(value))}</dd></div>`,
  );
  return rows.length === 0
    ? ""
    : `<details class="card"><summary>Settings and versions</summary><dl class="settings">${rows.join("")}</dl></details>`;
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);
}
