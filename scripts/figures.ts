/**
 * Draws the README's figure of learning rates, docs/learning-rates.svg, from the metrics of a run:
 * `node --import tsx scripts/figures.ts runs/<run>`.
 */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { renderRates } from "../src/report/index.ts";
import { readMetrics } from "../src/train/file-store.ts";

const [run] = process.argv.slice(2);
if (run === undefined) throw new Error("scripts/figures.ts needs the folder of a run");
const svg = renderRates(readMetrics(run));
if (svg === undefined) throw new Error(`${run}: no step was taken`);
const path = fileURLToPath(new URL("../docs/learning-rates.svg", import.meta.url));
writeFileSync(path, svg);
console.log(path);
