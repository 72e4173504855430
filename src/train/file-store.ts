import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { encodeSafetensors } from "../interop/index.ts";
import type { StateDict } from "../nn/index.ts";
import { DataError, OptionError } from "../util/errors.ts";
import { record, whole } from "../util/schema.ts";
import { decodeTree, encodeTree } from "./checkpoint.ts";
import { parseMetrics, type TrainEvent } from "./metrics.ts";
import { takeLock } from "./node-lock.ts";
import { type RunState, runParts } from "./train.ts";

const METRICS = "metrics.jsonl";
const CHECKPOINT = "checkpoint.safetensors";
const LOCK = "lock";

/** A run's state together with how many metrics had been written by then. */
interface Saved {
  readonly lines: number;
  readonly state: RunState;
}

/** That there is one, as far as it is used here. A run's first line is there before any checkpoint. */
const isSaved = record({ lines: whole(1), state: runParts });

/**
 * Makes a folder and those above it. Node's own recursive mkdir never returns below folders such as /proc, so each level is made
 * by itself.
 * @throws OptionError where it cannot be made
 */
export function makeFolder(path: string): void {
  if (existsSync(path)) return;
  makeFolder(dirname(path));
  try {
    mkdirSync(path);
  } catch (error) {
    throw new OptionError(`no folder can be made at ${path}: ${(error as Error).message}`);
  }
}

/**
 * The folder of a run: `metrics.jsonl`, which grows by one line for each event and can be read meanwhile; the
 * checkpoint, the weights and the report, each of which is there whole or not at all.
 */
export class RunDirectory {
  readonly path: string;
  #metrics: number | undefined;
  #lines: number;

  private constructor(path: string, lines: number) {
    this.path = path;
    this.#lines = lines;
  }

  /** A new folder. @throws OptionError where there is something at the path already, or none can be made there */
  static create(path: string): RunDirectory {
    const why = obstacle(path);
    if (why !== undefined) throw new OptionError(`${path} ${why}`);
    makeFolder(path);
    return new RunDirectory(path, 0);
  }

  /** The folder of an earlier run. @throws DataError where it has no metrics */
  static open(path: string): RunDirectory {
    return new RunDirectory(path, readMetrics(path).length);
  }

  /** Keeps other processes from writing here until it is released. @returns how. @throws StateError where another one does */
  lock(): () => void {
    return takeLock(join(this.path, LOCK));
  }

  /** Appends an event to the metrics. @throws DataError where it cannot be written */
  append(event: TrainEvent): void {
    const path = join(this.path, METRICS);
    try {
      this.#metrics ??= openSync(path, "a");
      writeSync(this.#metrics, `${JSON.stringify(event)}\n`);
    } catch (cause) {
      throw unwritable(path, cause);
    }
    this.#lines++;
  }

  /** All events so far. */
  metrics(): TrainEvent[] {
    return readMetrics(this.path);
  }

  async saveWeights(state: StateDict): Promise<void> {
    await this.write("weights.safetensors", encodeSafetensors(state));
  }

  async saveCheckpoint(state: RunState): Promise<void> {
    await this.write(CHECKPOINT, encodeTree({ lines: this.#lines, state } satisfies Saved));
  }

  /**
   * Goes back to the last checkpoint: the metrics lose what was written after it.
   * @throws DataError where there is no checkpoint, or the metrics are shorter than it says.
   */
  async rewind(): Promise<RunState> {
    const { lines, state } = this.#checkpoint();
    const kept = this.metrics().slice(0, lines);
    if (kept.length < lines)
      throw new DataError(`${join(this.path, METRICS)}: expected at least ${lines} lines, found ${kept.length}`);
    this.close();
    await this.write(METRICS, kept.map((event) => `${JSON.stringify(event)}\n`).join(""));
    this.#lines = lines;
    return state;
  }

  /** Whether there is a checkpoint. */
  get resumable(): boolean {
    return existsSync(join(this.path, CHECKPOINT));
  }

  /** The state at the last checkpoint. @throws DataError where there is none */
  checkpoint(): RunState {
    return this.#checkpoint().state;
  }

  /** Writes a file whole or not at all. @throws DataError where it cannot be written */
  async write(name: string, content: string | Uint8Array): Promise<void> {
    await writeWhole(join(this.path, name), content);
  }

  /** Closes the metrics; the next event opens them again. */
  close(): void {
    if (this.#metrics !== undefined) closeSync(this.#metrics);
    this.#metrics = undefined;
  }

  #checkpoint(): Saved {
    const bytes = contents(this.path, CHECKPOINT);
    if (!bytes) throw new DataError(`${this.path} has no ${CHECKPOINT}: the run ended before its first epoch did`);
    try {
      const saved = decodeTree(bytes);
      isSaved("", saved);
      return saved as Saved;
    } catch (cause) {
      throw new DataError(`${join(this.path, CHECKPOINT)} is damaged: ${(cause as Error).message}`, { cause });
    }
  }
}

/** Writes a file beside its place and moves it there, so that nobody ever sees a part of it. @throws DataError where it cannot be */
export async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  const beside = `${path}.${process.pid}.tmp`;
  try {
    await writeFile(beside, content, { flush: true });
    renameSync(beside, path);
  } catch (cause) {
    throw unwritable(path, cause);
  } finally {
    if (existsSync(beside)) rmSync(beside);
  }
}

/** The events of a run, finished or not. @throws DataError where the folder is not that of a run */
export function readMetrics(path: string): TrainEvent[] {
  const bytes = contents(path, METRICS);
  if (!bytes) throw new DataError(`${path} is not the folder of a run: it has no ${METRICS}`);
  return parseMetrics(bytes.toString("utf8"), join(path, METRICS));
}

/** Why a run's folder cannot be made at this path, to be read after it; undefined where it may be. */
export function obstacle(path: string): string | undefined {
  try {
    return readdirSync(path).length === 0 ? undefined : "exists already and is not an empty folder";
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    if (code !== "ENOTDIR") return `cannot be used: ${message}`;
    return existsSync(path) ? "exists already and is a file" : `lies in ${fileAbove(path)}, which is a file`;
  }
}

/** The part of a path that is no folder. */
function fileAbove(path: string): string {
  const above = dirname(path);
  return existsSync(above) ? above : fileAbove(above);
}

function unwritable(path: string, cause: unknown): DataError {
  return new DataError(`${path} cannot be written: ${(cause as Error).message}`, { cause });
}

function contents(path: string, name: string): Buffer | undefined {
  try {
    return readFileSync(join(path, name));
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
}
