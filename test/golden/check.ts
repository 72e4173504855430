import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { checkDampingPlateau } from "./damping-plateau.ts";
import { checkDerivatives } from "./derivatives.ts";
import { checkDiffN } from "./diff-n.ts";
import { checkFullbatch } from "./fullbatch.ts";
import { FormatError, Item, MissingFeature } from "./json.ts";
import { checkNesterov } from "./nesterov.ts";
import { checkPartitions } from "./partitions.ts";
import { Report } from "./report.ts";
import { checkTrajectory } from "./trajectory.ts";
import { checkUniformAvg } from "./uniform-avg.ts";
import { checkUpdaters } from "./updaters.ts";

/** Checks a file of one kind; what it finds goes into the report. */
type Checker = (file: Item, report: Report) => Promise<void>;

/** How each kind of golden file is checked. */
const checkers: Readonly<Record<string, Checker>> = {
  derivatives: checkDerivatives,
  fullbatch: checkFullbatch,
  partitions: checkPartitions,
  nesterov: checkNesterov,
  updaters: checkUpdaters,
  trajectory: checkTrajectory,
  uniform_avg: checkUniformAvg,
  damping_plateau: checkDampingPlateau,
  diff_n: checkDiffN,
};

/** What came of one file. It is skipped if nothing of it could be checked. */
export interface Outcome {
  readonly name: string;
  readonly status: "passed" | "failed" | "skipped";
  readonly report: Report;
}

/** Checks one golden file; whatever is wrong with it or with us is in the outcome. */
export async function checkFile(path: string): Promise<Outcome> {
  const name = basename(path, ".json");
  const report = new Report();
  try {
    const file = await readGolden(path);
    await checkers[file.get("kind").text()]!(file, report);
  } catch (error) {
    if (!(error instanceof MissingFeature)) report.failures.push(describe(error));
    else {
      report.skips.push(error.message);
      if (report.failures.length === 0) return { name, status: "skipped", report };
    }
  }
  return { name, status: report.failures.length > 0 ? "failed" : "passed", report };
}

function describe(error: unknown): string {
  if (error instanceof FormatError) return `cannot be read: ${error.message}`;
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

/** @throws FormatError where there is no golden file of a known kind */
async function readGolden(path: string): Promise<Item> {
  const file = new Item(parse(await textOf(path)), "");
  const format = file.find("format");
  if (format?.value !== "grnewt-golden-1") return file.fail(`is not in the format grnewt-golden-1`);
  const kind = file.get("kind").text();
  if (!Object.hasOwn(checkers, kind)) return file.fail(`is of the unknown kind "${kind}"`);
  return file;
}

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new FormatError((error as Error).message);
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new FormatError(`it is not JSON: ${(error as Error).message}`);
  }
}
