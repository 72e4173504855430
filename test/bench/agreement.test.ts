import { expect, test } from "vitest";
import { compareSteps, compareSummaries } from "../../bench/agreement.ts";
import type { NDArray } from "../../src/index.ts";

function vector(...values: number[]): NDArray {
  return { shape: [values.length], data: Float64Array.from(values) };
}

test("steps are compared by their moves: a wrong rate shows, however small the step is beside the parameters", () => {
  const given = { "p:weight": vector(1, 2), x: vector(0) };
  const after = (move: number, loss = 2) => ({
    "p:weight": vector(1 + move, 2 - move),
    losses: vector(loss, loss, loss),
  });
  const agree = (theirs: ReturnType<typeof after>): boolean =>
    compareSteps(given, after(1e-2), theirs, 1e-3).every(({ found, most }) => found <= most);
  expect(agree(after(1e-2))).toBe(true);
  expect(agree(after(1e-2 + 1e-7))).toBe(true);
  expect(agree(after(1.1e-2))).toBe(false);
  expect(agree(after(1e-2, 2.001))).toBe(false);
});

test("summaries are compared group by group: a small one counts like a large one", () => {
  const summary = (third: number, mixed = 0.1) => ({
    g: vector(10, 1e-4),
    H: vector(100, mixed, mixed, 0.01),
    order3: vector(1000, third),
  });
  const found = (theirs: ReturnType<typeof summary>): number[] =>
    compareSummaries(summary(1e-3), theirs).map((difference) => difference.found);
  expect(found(summary(1e-3))).toEqual([0, 0, 0]);
  // The row of the second group, (0.1, 0.01), is 0.1005 long.
  expect(found(summary(2e-3))[2]).toBeCloseTo(1e-3 / 0.1005 ** 1.5, 4);
  expect(found(summary(1e-3, 0.2))[1]).toBeCloseTo(0.1 / Math.sqrt(100 * 0.1005), 4);
  expect(() => found({ ...summary(1e-3), g: vector(1) })).toThrow("1 numbers cannot be compared with 2");
});
