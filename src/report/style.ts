import { seriesVariables } from "./theme.ts";

/** The style sheet of a report. @param series how many series its figures have, each of them. */
export function styleSheet(series: readonly number[]): string {
  return `
:root {
  --paper: #f6f7f9; --card: #ffffff; --ink: #1c2430; --muted: #5c6675; --grid: #e6e9ee; --line: #e2e6eb;
  --good: #16805c; --warn: #a86400; --bad: #bf2f3f;
  ${seriesVariables("light", series)};
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #12161c; --card: #1a2028; --ink: #e8ecf2; --muted: #9aa5b4; --grid: #2a323d; --line: #2a323d;
    --good: #5ed6a6; --warn: #ecc45c; --bad: #ff8c95;
    ${seriesVariables("dark", series)};
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; font-variant-numeric: tabular-nums;
}
main { max-width: 1120px; margin: 0 auto; padding: clamp(20px, 4vw, 48px) clamp(14px, 3vw, 32px) 64px; }
h1 { font-size: clamp(1.6rem, 4vw, 2.3rem); line-height: 1.15; letter-spacing: -0.02em; margin: 0.3rem 0 0.5rem; font-weight: 680; }
h2 { font-size: 1rem; margin: 0 0 0.75rem; font-weight: 650; }
.facts { color: var(--muted); margin: 0; }
.status { display: inline-flex; align-items: center; gap: 0.5em; margin: 0; color: var(--muted); font-size: 0.875rem; font-weight: 600; }
.status::before { content: ""; width: 0.6em; height: 0.6em; border-radius: 50%; background: currentColor; }
.status.done { color: var(--good); } .status.aborted { color: var(--warn); } .status.error { color: var(--bad); }
.card, .tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
.card { padding: 18px 20px; margin-top: 16px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 12px; margin: 28px 0 0; }
.tile { padding: 12px 16px; }
.tile dt { color: var(--muted); font-size: 0.8125rem; }
.tile dd { margin: 0; font-size: 1.375rem; font-weight: 620; letter-spacing: -0.01em; white-space: nowrap; }
.tile.main dd { color: var(--good); }
.notices { margin: 16px 0 0; padding: 12px 16px 12px 34px; border-radius: 12px; border: 1px solid var(--line); background: var(--card); color: var(--warn); }
.notices strong { color: var(--bad); } .notices small { color: var(--muted); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 16px; margin-top: 16px; }
.figures .card { margin: 0; padding: 14px 12px 8px; }
.figures svg { display: block; width: 100%; height: auto; }
.legend { color: var(--muted); font-size: 0.8125rem; margin: 8px 4px 0; }
.empty { color: var(--muted); padding: 48px 0; text-align: center; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.9375rem; }
th, td { padding: 6px 12px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child { text-align: left; padding-left: 0; } th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--muted); font-weight: 500; font-size: 0.8125rem; }
tbody th { font-weight: 500; }
tbody tr:last-child > * { border-bottom: 0; }
summary { cursor: pointer; font-weight: 650; }
.settings { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: 4px 28px; margin: 14px 0 0; font-size: 0.9rem; }
.settings > div { display: flex; justify-content: space-between; gap: 12px; border-bottom: 1px solid var(--line); padding: 3px 0; }
.settings dt { color: var(--muted); } .settings dd { margin: 0; text-align: right; overflow-wrap: anywhere; }
@media print { body { background: none; } .card, .tile { break-inside: avoid; } }
`;
}
