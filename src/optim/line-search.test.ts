import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { type LinePoint, strongWolfe } from "./line-search.ts";

/** What scripts/optimizer-values.py wrote: where PyTorch's search looks along a line, and what it settles for. */
interface Search {
  readonly name: string;
  readonly first: number;
  readonly visited: readonly number[];
  readonly found: number;
}

const file = new URL("../../test/golden/optimizers.json", import.meta.url);
const { searches }: { readonly searches: readonly Search[] } = JSON.parse(readFileSync(file, "utf8"));

/** The functions of that script, with their derivatives. */
const lines: Readonly<Record<string, readonly [(t: number) => number, (t: number) => number]>> = {
  valley: [(t) => -t / (t ** 2 + 2), (t) => (t ** 2 - 2) / (t ** 2 + 2) ** 2],
  quintic: [(t) => (t + 0.004) ** 5 - 2 * (t + 0.004) ** 4, (t) => 5 * (t + 0.004) ** 4 - 8 * (t + 0.004) ** 3],
  waves: [(t) => 0.1 * Math.sin(7 * t) - t + 0.2 * t ** 2, (t) => 0.7 * Math.cos(7 * t) - 1 + 0.4 * t],
  wall: [(t) => t ** 8 / 8 - t, (t) => t ** 7 - 1],
  shelf: [
    (t) => -t * Math.exp(-50 * t) - 3e-5 * (1 - Math.exp(-50 * t)) * Math.exp(-t),
    (t) => (50 * t - 1) * Math.exp(-50 * t) - 3e-5 * (51 * Math.exp(-51 * t) - Math.exp(-t)),
  ],
  ripples: [(t) => 0.02 * Math.sin(49 * t) - t / (1 + t), (t) => 0.98 * Math.cos(49 * t) - 1 / (1 + t) ** 2],
  kink: [(t) => Math.sqrt((t - 0.3) ** 2 + 1e-4), (t) => (t - 0.3) / Math.sqrt((t - 0.3) ** 2 + 1e-4)],
};

test.each(searches)("$name from $first looks where PyTorch does", async ({ name, first, visited, found }) => {
  const [value, slope] = lines[name]!;
  const looked: number[] = [];
  const at = async (t: number): Promise<LinePoint> => {
    looked.push(t);
    return { t, value: value(t), slope: slope(t) };
  };
  const start = { t: 0, value: value(0), slope: slope(0) };
  const { point, evaluations } = await strongWolfe({ at, start, first, length: 1, tries: 15 });
  expect(looked).toHaveLength(visited.length);
  expect(evaluations).toBe(visited.length);
  // Rounding of a point is multiplied by the curvature of the cubics that later ones are the minimum of.
  for (const [i, t] of [...visited, found].entries())
    expect(Math.abs([...looked, point.t][i]! - t), `point ${i}`).toBeLessThanOrEqual(1e-9 * t);
});

test("a place where the function is infinite is too far", async () => {
  const at = async (t: number): Promise<LinePoint> =>
    t > 1 ? { t, value: Number.POSITIVE_INFINITY, slope: 0 } : { t, value: (t - 0.5) ** 2, slope: 2 * t - 1 };
  const { point } = await strongWolfe({ at, start: await at(0), first: 8, length: 1, tries: 25 });
  expect(point.t).toBeCloseTo(0.5, 1);
});
