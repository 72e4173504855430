/**
 * Checks every golden file of a folder: `npm run golden -- DIR`. Prints a line for each file, with the worst relative error
 * of each engine, and ends with the totals; the exit code is 1 if something failed. A file that could be checked only in
 * part is counted twice: as passed or failed, and as skipped.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { checkFile, type Outcome } from "./check.ts";

/** Failures of one file that are printed. */
const SHOWN = 8;

const [folder, ...rest] = process.argv.slice(2);
process.exitCode =
  folder === undefined || rest.length > 0 ? refuse("usage: npm run golden -- DIR") : await checkFolder(folder);

function refuse(problem: string): number {
  console.error(problem);
  return 1;
}

/** Checks the files of a folder in order. Returns the exit code. */
async function checkFolder(path: string): Promise<number> {
  const names = await readdir(path).catch((error: Error) => error);
  if (names instanceof Error) return refuse(`golden: cannot read the folder: ${names.message}`);
  const files = names.filter((name) => name.endsWith(".json")).sort();
  if (files.length === 0) return refuse(`golden: ${path} holds no .json files`);
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const file of files) {
    const outcome = await checkFile(join(path, file));
    print(outcome);
    counts[outcome.status]++;
    if (outcome.status !== "skipped" && outcome.report.skips.length > 0) counts.skipped++;
  }
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return counts.failed > 0 ? 1 : 0;
}

/** One line, then a line for each failure, and one for what was left out of a file that is checked in part. */
function print({ name, status, report: { worst, failures, skips } }: Outcome): void {
  const errors = [...worst].map(([engine, error]) => `${engine} ${error.toExponential(1)}`).join(", ");
  const missing = `missing: ${skips.join("; ")}`;
  printLine(status, name, status === "skipped" ? missing : errors);
  for (const failure of failures.slice(0, SHOWN)) printLine("", "", failure);
  if (failures.length > SHOWN) printLine("", "", `… and ${failures.length - SHOWN} more failures`);
  if (status !== "skipped" && skips.length > 0) printLine("skipped", `${name} in part`, missing);
}

function printLine(status: string, name: string, text: string): void {
  console.log(`${status.padEnd(8)}${name.padEnd(32)}${text}`.trimEnd());
}
