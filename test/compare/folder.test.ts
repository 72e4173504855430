import { appendFileSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Folder } from "../../compare/folder.ts";
import { keyOf } from "../../compare/runs.ts";
import { resultOf } from "./results.ts";

test("a folder keeps results and times, takes lines from elsewhere and loses only one that was cut off", () => {
  const folder = new Folder(mkdtempSync(join(tmpdir(), "compare-")));
  const [here, there, cut, last] = [1, 2, 3, 4].map((value) => resultOf("adam", value, 0, 1));
  const known = (): string[] => folder.known().all.map(keyOf);
  folder.mend();
  expect(known()).toEqual([]);
  folder.add(here!);
  appendFileSync(folder.results, `${JSON.stringify(there)}\n${JSON.stringify(cut).slice(0, 20)}`);
  expect(known()).toEqual([here, there].map((each) => keyOf(each!)));
  folder.mend();
  folder.add(last!);
  expect(known()).toEqual([here, there, last].map((each) => keyOf(each!)));
  folder.saveTimes({
    machine: {},
    timings: [{ args: here!.args, rounds: [{ secondsPerStep: 2, compilation: 1 }] }],
  });
  expect(folder.known().timingOf(here!)).toEqual({ secondsPerStep: 2, compilation: 1 });
  expect(folder.known().timingOf(there!)).toBeUndefined();
});
