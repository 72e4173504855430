import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { checkTuning, type Tuning } from "../engine/index.ts";
import { thisMachine } from "../engine/ort-node/machine.ts";
import { makeFolder, writeWhole } from "../train/file-store.ts";
import { GrnewtError, OptionError } from "../util/errors.ts";
import type { Terminal } from "./terminal.ts";
import { VERSION } from "./versions.ts";

/** What can be tuned: a model and its batches. */
export interface Tunable {
  readonly key: string;
  readonly measure: () => Promise<Tuning>;
}

/** What `--tuning` says: what was measured before, or is measured now, or nothing. */
export type TuningChoice = (tunable: () => Promise<Tunable>) => Promise<Tuning | undefined>;

/** @throws OptionError where a file is no tuning, whatever measuring throws */
export function tuningChoice(wanted: string, terminal: Terminal, folder: () => string = cacheFolder): TuningChoice {
  if (wanted === "off") return async () => undefined;
  if (wanted === "auto") return async (tunable) => await measuredOnce(await tunable(), terminal, folder());
  const tuning = pinned(wanted);
  return async (tunable) => {
    if (tuning.key !== (await tunable()).key)
      warn(terminal, `${wanted} was measured for another model, other batches or --threads`);
    return tuning;
  };
}

/** Where what was measured is kept: XDG_CACHE_HOME, or ~/.cache. */
export function cacheFolder({ XDG_CACHE_HOME: home = "" }: NodeJS.ProcessEnv = process.env): string {
  // Relative ones are to be ignored: https://specifications.freedesktop.org/basedir-spec/
  return join(isAbsolute(home) ? home : join(homedir(), ".cache"), "grnewt");
}

function pinned(path: string): Tuning {
  try {
    return tuningIn(path);
  } catch (cause) {
    throw new OptionError(`--tuning ${path}: ${(cause as Error).message.replace(/^tuning: /, "")}`, { cause });
  }
}

/** @throws Error where it cannot be read, is no JSON, or no tuning */
function tuningIn(path: string): Tuning {
  const found: unknown = JSON.parse(readFileSync(path, "utf8"));
  checkTuning(found);
  return found;
}

async function measuredOnce({ key, measure }: Tunable, terminal: Terminal, folder: string): Promise<Tuning> {
  const name = createHash("sha256")
    .update(JSON.stringify([VERSION, thisMachine(), key]))
    .digest("hex");
  const path = join(folder, `tuning-${name.slice(0, 32)}.json`);
  if (existsSync(path)) {
    try {
      const known = tuningIn(path);
      terminal.print(terminal.paint("dim", `tuned before: ${gainsOf(known)} · ${path}`));
      return known;
    } catch (error) {
      warn(terminal, `${path} is damaged, so it is measured anew: ${(error as Error).message}`);
    }
  }
  const begun = performance.now();
  const tuning = await measure();
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  try {
    makeFolder(folder);
    await writeWhole(path, `${JSON.stringify(tuning, undefined, 2)}\n`);
    terminal.print(terminal.paint("dim", `tuned in ${seconds} s: ${gainsOf(tuning)} · ${path}`));
  } catch (error) {
    if (!(error instanceof GrnewtError)) throw error;
    terminal.print(terminal.paint("dim", `tuned in ${seconds} s: ${gainsOf(tuning)}`));
    warn(terminal, `it is measured anew next time: ${error.message}`);
  }
  return tuning;
}

function warn(terminal: Terminal, text: string): void {
  terminal.complain(`${terminal.paintError("yellow", "warning:")} ${text}`);
}

/** What was chosen, and the share of the time that it takes. */
function gainsOf({ threads, convolutions, microbatches, gains }: Tuning): string {
  const taking = (gain: number): string => (gain < 1 ? ` (${gain.toFixed(2)} of the time)` : " (as by rule)");
  const [microbatch] = Object.values(microbatches);
  return [
    `${threads} ${threads === 1 ? "thread" : "threads"}${taking(gains.threads)}`,
    ...(Object.keys(convolutions).length > 0 ? [`convolutions${taking(gains.convolutions)}`] : []),
    ...(microbatch === undefined ? [] : [`microbatch ${microbatch}${taking(gains.microbatch)}`]),
  ].join(", ");
}
