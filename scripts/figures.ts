/**
 * Draws the figures of the docs from the metrics of runs:
 * `node --import tsx scripts/figures.ts rates runs/<run>` the README's, docs/learning-rates.svg;
 * `node --import tsx scripts/figures.ts losses NAME TITLE=runs/<run>,runs/<run> …` docs/NAME.svg, a plot for each title with
 * the training loss of each run, smoothed; a run is called by its optimiser, or as said behind a colon (runs/<run>:auto).
 */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { renderLosses, renderRates } from "../src/report/index.ts";
import { readMetrics } from "../src/train/file-store.ts";
import type { TrainEvent } from "../src/train/metrics.ts";

const [what, first, ...others] = process.argv.slice(2);
if (what === "rates" && first && others.length === 0) save("learning-rates.svg", renderRates(readMetrics(first)));
else if (what === "losses" && first && others.length > 0) save(`${first}.svg`, renderLosses(others.map(plotOf)));
else throw new Error("scripts/figures.ts needs rates and a run, or losses, a name and TITLE=run,run …");

function plotOf(argument: string) {
  const [title, paths] = argument.split("=");
  if (!title || !paths) throw new Error(`scripts/figures.ts: ${argument} is not TITLE=run,run`);
  return { title, runs: paths.split(",").map(eventsOf) };
}

function eventsOf(run: string): TrainEvent[] {
  const [path, name] = run.split(":");
  const events = readMetrics(path!);
  return events.map((event) =>
    event.type === "start" && name !== undefined ? { ...event, config: { ...event.config, method: name } } : event,
  );
}

function save(name: string, svg: string | undefined): void {
  if (svg === undefined) throw new Error("scripts/figures.ts: no step was taken");
  const path = fileURLToPath(new URL(`../docs/${name}`, import.meta.url));
  writeFileSync(path, svg);
  console.log(path);
}
