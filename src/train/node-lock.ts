import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { DataError, StateError } from "../util/errors.ts";

/** The locks of this process. */
const held = new Set<string>();

/**
 * Keeps other processes away for as long as the file is there, which holds the number of the process. One that was left behind
 * by a process that is gone is taken over.
 * @returns how to release it.
 * @throws StateError where another process has it, DataError where no file can be made.
 */
export function takeLock(path: string): () => void {
  while (!created(path)) {
    const holder = ifThere(() => readFileSync(path, "utf8"));
    if (holder === undefined) continue;
    if (held.has(path) || isAlive(Number(holder)))
      throw new StateError(`${path}: process ${holder} is at work here; if that is no such run, remove this file`);
    ifThere(() => takeAway(path, holder));
  }
  held.add(path);
  return () => {
    held.delete(path);
    rmSync(path, { force: true });
  };
}

function created(path: string): boolean {
  try {
    writeFileSync(path, String(process.pid), { flag: "wx" });
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw new DataError(`${path} cannot be written: ${(cause as Error).message}`, { cause });
  }
}

/** What a task gives, or undefined where the file has gone in the meantime. */
function ifThere<T>(task: () => T): T | undefined {
  try {
    return task();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Of another process: a number that is this one's own was that of one before it, as in containers that were started anew. */
function isAlive(pid: number): boolean {
  if (pid === process.pid) return false;
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

/** Removes the lock of a process that is gone, unless another has taken it over meanwhile. */
function takeAway(path: string, holder: string): void {
  const aside = `${path}.${process.pid}`;
  renameSync(path, aside);
  if (readFileSync(aside, "utf8") === holder) rmSync(aside);
  else renameSync(aside, path);
}
