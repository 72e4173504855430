import { describe, expect, test } from "vitest";
import { ENTRIES, type EntryName, entryOf } from "../../compare/entries.ts";
import { bestValue, planOf, Results, secondsFor, timedRuns, usualValue } from "../../compare/plan.ts";
import { trainRequest } from "../../src/cli/train-options.ts";
import { CHOICE, resultOf } from "./results.ts";

const NAMES = Object.keys(ENTRIES) as EntryName[];

test.each(NAMES)("the usual setting of %s is among those of its grid, which goes up", (name) => {
  const { grid } = entryOf(name);
  expect(grid).toContain(usualValue(name));
  expect(grid).toEqual([...grid].sort((a, b) => a - b));
});

describe("the plan", () => {
  const values = (results: Results): string[] =>
    planOf(CHOICE, results).runs.map(({ entry, value, seed }) => `${entry} ${value} ${seed}`);

  test("begins with the usual settings, then goes through the grids", () => {
    expect(values(new Results())).toEqual([
      "adam 0.001 0",
      "lbfgs 1000 0",
      ...[1e-4, 3e-4, 3e-3, 1e-2].map((value) => `adam ${value} 0`),
      "lbfgs 300 0",
      "lbfgs 3000 0",
      "adam 0.001 1",
      "lbfgs 1000 1",
    ]);
    expect(planOf(CHOICE, new Results()).later).toHaveLength(2);
  });

  test("ends with the other seeds of the best setting, which nothing that diverged is", () => {
    const losses = [1.9, 1.8, 1.7, 1.6, 0.1];
    const grid = entryOf("adam").grid.map((value, i) => resultOf("adam", value, 0, losses[i]!));
    const { diverged: _, ...last } = grid.at(-1)!;
    const results = new Results([...grid, { ...last, diverged: "step 3: the loss is NaN" }]);
    expect(bestValue(CHOICE, "lenet", "adam", results)).toBe(3e-3);
    expect(values(results).slice(-2)).toEqual(["lbfgs 1000 1", "adam 0.003 1"]);
    expect(planOf(CHOICE, results).later).toHaveLength(1);
  });

  test("holds no run that is done, and counts no best one that is the usual one twice", () => {
    const grid = entryOf("adam").grid.map((value) => resultOf("adam", value, 0, value === 1e-3 ? 1 : 2));
    const done = new Results([...grid, resultOf("adam", 1e-3, 1, 1)]);
    expect(values(done).filter((name) => name.startsWith("adam"))).toEqual([]);
  });

  test("is of command lines that begin runs", () => {
    for (const { args } of planOf({ ...CHOICE, subjects: ["perceptron", "lenet"], entries: NAMES }, new Results()).runs)
      expect(trainRequest(args).kind).toBe("new");
  });
});

test("steps are timed of the usual and of the best runs, once where they are the same", () => {
  const timed = (results: Results): string[] =>
    timedRuns(CHOICE, results).map(({ entry, value, seed }) => `${entry} ${value} ${seed}`);
  expect(timed(new Results())).toEqual(["adam 0.001 0", "lbfgs 1000 0"]);
  const grid = entryOf("adam").grid.map((value) => resultOf("adam", value, 0, value));
  expect(timed(new Results(grid))).toEqual(["adam 0.001 0", "adam 0.0001 0", "lbfgs 1000 0"]);
});

test("the time that is left comes from runs that are alike", () => {
  const { runs } = planOf(CHOICE, new Results());
  expect(secondsFor(runs, new Results())).toBeUndefined();
  const done = [resultOf("adam", 1e-3, 0, 1), { ...resultOf("lbfgs", 1000, 0, 1), wall: 20 }];
  expect(secondsFor(runs, new Results(done))).toBe(6 * 12 + 4 * 20);
  expect(secondsFor(runs, new Results(done.slice(0, 1)))).toBe(10 * 12);
});
