import { expect, test } from "vitest";
import { runProgram } from "../../bench/processes.ts";

const run = (script: string, patience?: number) => runProgram(process.execPath, ["-e", script], { work: 1 }, patience);

test("a program answers with its last line, and is given the request", async () => {
  await expect(run('console.log("hello"); console.log(process.argv.at(-1))')).resolves.toEqual({ work: 1 });
});

test("one that fails says why", async () => {
  await expect(run('console.error("trace"); console.error("no torch"); process.exitCode = 1')).rejects.toThrow(
    /^no torch$/,
  );
  await expect(run("")).rejects.toThrow("JSON");
  await expect(run('process.kill(process.pid, "SIGKILL")')).rejects.toThrow("ended by SIGKILL");
  await expect(run("setInterval(() => {}, 1000)", 0.01)).rejects.toThrow("not done in 0.01 minutes");
  await expect(runProgram("/nonexistent", [], {})).rejects.toThrow("ENOENT");
});
