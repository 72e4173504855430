/**
 * Draws the figures of the docs from the metrics of runs:
 * `node --import tsx scripts/figures.ts rates runs/<run>` the README's, docs/learning-rates.svg;
 * `node --import tsx scripts/figures.ts losses TITLE=runs/<run>,runs/<run> …` docs/training.svg, a plot for each title with
 * the training loss of each run, smoothed.
 */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { renderLosses, renderRates } from "../src/report/index.ts";
import { readMetrics } from "../src/train/file-store.ts";

const [what, ...runs] = process.argv.slice(2);
if (what === "rates" && runs.length === 1) save("learning-rates.svg", renderRates(readMetrics(runs[0]!)));
else if (what === "losses" && runs.length > 0) save("training.svg", renderLosses(runs.map(plotOf)));
else throw new Error("scripts/figures.ts needs rates and a run, or losses and TITLE=run,run …");

function plotOf(argument: string) {
  const [title, paths] = argument.split("=");
  if (!title || !paths) throw new Error(`scripts/figures.ts: ${argument} is not TITLE=run,run`);
  return { title, runs: paths.split(",").map(readMetrics) };
}

function save(name: string, svg: string | undefined): void {
  if (svg === undefined) throw new Error("scripts/figures.ts: no step was taken");
  const path = fileURLToPath(new URL(`../docs/${name}`, import.meta.url));
  writeFileSync(path, svg);
  console.log(path);
}
