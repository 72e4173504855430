import { appendFileSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Folder } from "../../compare/folder.ts";
import { keyOf } from "../../compare/runs.ts";
import { resultOf } from "./results.ts";

test("a folder keeps results and times, takes lines from elsewhere and loses only one that was cut off", async () => {
  const folder = new Folder(mkdtempSync(join(tmpdir(), "compare-")));
  const [here, there, cut, last] = [1, 2, 3, 4].map((value) => resultOf("adam", value, 0, 1));
  const known = (): string[] => folder.known().all.map(keyOf);
  await folder.mend();
  expect(known()).toEqual([]);
  folder.add(here!);
  appendFileSync(folder.results, `${JSON.stringify(there)}\n${JSON.stringify(cut).slice(0, 20)}`);
  expect(known()).toEqual([here, there].map((each) => keyOf(each!)));
  await folder.mend();
  folder.add(last!);
  expect(known()).toEqual([here, there, last].map((each) => keyOf(each!)));
  expect(folder.knownTimes()).toBeUndefined();
  await folder.saveTimes({
    machine: {},
    timings: [{ args: here!.args, rounds: [{ secondsPerStep: 2, compilation: 1 }] }],
  });
  expect(folder.known().timingOf(here!)).toEqual({ secondsPerStep: 2, compilation: 1 });
  expect(folder.known().timingOf(there!)).toBeUndefined();
});

test("a folder's files are there whole or not at all", async () => {
  const folder = new Folder(mkdtempSync(join(tmpdir(), "compare-")));
  const file = await folder.save("tables.md", "first");
  const saving = folder.save("tables.md", "x".repeat(1e7));
  expect(readFileSync(file, "utf8")).toBe("first");
  await saving;
  expect(readFileSync(file, "utf8")).toHaveLength(1e7);

  const timings = [{ args: ["--optimizer", "adam"], rounds: [] }];
  await folder.saveTimes({ machine: {}, timings });
  const replacing = folder.saveTimes({ machine: {}, timings: Array.from({ length: 1e5 }, () => timings[0]!) });
  expect(folder.knownTimes()!.timings).toHaveLength(1);
  await replacing;
  expect(folder.knownTimes()!.timings).toHaveLength(1e5);
});

test("a run is the same wherever its data lie", () => {
  const run = resultOf("adam", 1, 0, 1);
  const [here, there] = ["/here", "/there"].map((data) => ({
    ...run,
    args: [...run.args, "--data", data, "--epochs", "1"],
  }));
  expect(keyOf(here!)).toBe(keyOf(there!));
  expect(keyOf(here!)).not.toBe(keyOf(run));
});
