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
    entryPoints: { case: join(folder, "case.ts"), "ort-worker": join(BENCH, "ort-worker.ts") },
    outdir: cache,
    bundle: true,
    // Modules that are there for what they do.
    ignoreAnnotations: true,
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

/**
 * Runs a program that is given a request as its last argument, and reads its answer from the last line that it prints.
 * @param patience minutes after which it is ended.
 * @throws with the last line of its complaints where it fails
 */
export function runProgram<T>(
  program: string,
  args: readonly string[],
  request: object,
  patience: number = Number.POSITIVE_INFINITY,
): Promise<T> {
  const output = new Promise<string>((resolve, reject) => {
    const timeout = Number.isFinite(patience) ? patience * 60_000 : 0;
    const options = { timeout, killSignal: "SIGKILL", maxBuffer: 2 ** 26 } as const;
    execFile(program, [...args, JSON.stringify(request)], options, (error, stdout, stderr) => {
      if (!error) resolve(lastLine(stdout));
      else if (error.killed) reject(new Error(`not done in ${patience} minutes`));
      else reject(new Error(error.signal ? `ended by ${error.signal}` : lastLine(stderr) || error.message));
    });
  });
  return output.then((line) => JSON.parse(line) as T);
}

function lastLine(text: string): string {
  return text.trimEnd().split("\n").at(-1)!;
}
