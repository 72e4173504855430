import { execFile, fork } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const BENCH = fileURLToPath(new URL(".", import.meta.url));
const CACHE = join(BENCH, "../node_modules/.cache");

/**
 * Translates a folder's `case.ts` to JavaScript, so that no translator is part of what is measured. Returns the file.
 */
export async function buildCase(folder: string): Promise<string> {
  const cache = join(CACHE, `grnewt-${basename(folder)}`);
  await mkdir(cache, { recursive: true });
  await writeFile(join(cache, "package.json"), '{ "type": "module" }\n');
  await build({
    // The engine looks for its thread's file beside its own.
    entryPoints: { case: join(folder, "case.ts"), "ort-worker": join(BENCH, "../src/engine/ort-node/ort-worker.ts") },
    outdir: cache,
    bundle: true,
    packages: "external",
    platform: "node",
    format: "esm",
    target: "node20",
    logLevel: "warning",
  });
  return join(cache, "case.js");
}

/** Asks a process of its own for one measurement. @throws where that ends without an answer */
export function runCase<Answer>(file: string, request: object): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const child = fork(file, { execArgv: [] });
    let answer: Answer | undefined;
    child.once("message", (message) => {
      answer = message as Answer;
    });
    child.once("error", reject);
    child.once("exit", (code, signal) => {
      if (answer) resolve(answer);
      else reject(new Error(`${JSON.stringify(request)}: the process ended with ${signal ?? code}`));
    });
    child.send(request);
  });
}

/** Runs `bench/peers/pytorch.py` and reads its answer. @throws with what the script wrote where it fails */
export function runPython<T>(python: string, request: object): Promise<T> {
  return new Promise((resolve, reject) => {
    const args = [join(BENCH, "peers/pytorch.py"), JSON.stringify(request)];
    execFile(python, args, (error, stdout, stderr) => {
      if (error) reject(new Error(stderr.trim().split("\n").at(-1) || error.message));
      else resolve(JSON.parse(stdout) as T);
    });
  });
}
