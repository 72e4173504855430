import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatNumber, formatSeconds } from "./format.ts";
import { gridOf, labelGroups } from "./groups.ts";
import { dodge, logTicks, rateScale } from "./scale.ts";
import { smoothed, thinned } from "./series.ts";

describe("the scale of learning rates", () => {
  test("is linear from zero within a decade, else logarithmic", () => {
    expect(rateScale([0.1, 0.3])).toMatchObject({ type: "linear", domain: [0, 0.315] });
    expect(rateScale([1e-4, 1])).toMatchObject({ type: "log" });
    expect(rateScale([])).toMatchObject({ type: "linear" });
  });

  test("has a strip for zeros and a linear middle for negative rates", () => {
    const { type, domain, zeroBelow } = rateScale([0, 1e-4, 1]);
    expect(type).toBe("log");
    expect(domain[0]).toBeGreaterThan(0);
    expect(zeroBelow).toBeGreaterThan(domain[0]);
    expect(zeroBelow).toBeLessThan(1e-4);
    expect(rateScale([-0.1, 1e-3, 1])).toMatchObject({
      type: "symlog",
      constant: 1e-3,
      ticks: [-0.1, -0.01, -0.001, 0, 0.001, 0.01, 0.1, 1],
    });
  });

  test("has readable ticks", () => {
    expect(logTicks([0.0005, 20])).toEqual([1e-3, 1e-2, 0.1, 1, 10]);
    expect(logTicks([0.03, 0.6])).toEqual([0.05, 0.1, 0.2, 0.5]);
  });
});

test("labels keep their order and their distance, and stay where there is room", () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 100, noNaN: true }), { maxLength: 8 }), (wanted) => {
      const placed = dodge(wanted, 10, 0, 100);
      const order = wanted.map((_, i) => i).sort((a, b) => placed[a]! - placed[b]!);
      for (const [at, i] of order.entries()) {
        expect(placed[i]).toBeGreaterThanOrEqual(0);
        expect(placed[i]).toBeLessThanOrEqual(100 + 1e-9);
        if (at > 0) expect(placed[i]! - placed[order[at - 1]!]!).toBeGreaterThanOrEqual(10 - 1e-9);
        if (at > 0) expect(wanted[i]).toBeGreaterThanOrEqual(wanted[order[at - 1]!]!);
      }
    }),
  );
  expect(dodge([20, 60], 10, 0, 100)).toEqual([20, 60]);
});

test("thinning keeps the extremes, smoothing the mean", () => {
  const points = Array.from({ length: 10_000 }, (_, x) => ({ x, y: x === 5000 ? 100 : Math.sin(x) }));
  const few = thinned(points);
  expect(few.length).toBeLessThanOrEqual(1600);
  expect(few).toContainEqual({ x: 5000, y: 100 });
  expect(few.every((point, i) => i === 0 || point.x > few[i - 1]!.x)).toBe(true);
  expect(smoothed(Array.from({ length: 200 }, (_, x) => ({ x, y: 3 }))).every(({ y }) => y === 3)).toBe(true);
});

test("groups are told apart by layer and kind", () => {
  const groups = ["a.weight", "a.bias", "b.weight"].map((name) => ({ name, members: [name] }));
  const labels = labelGroups([...groups, { name: "all", members: ["c.weight", "c.bias"] }]);
  expect(labels.map(({ layer, kind }) => `${layer} ${kind}`)).toEqual(["a weight", "a bias", "b weight", "all other"]);
  const grid = gridOf(labelGroups(groups))!;
  expect([grid.layers, grid.kinds, grid.at("a", "bias"), grid.at("b", "bias")]).toEqual([
    ["a", "b"],
    ["weight", "bias"],
    1,
    -1,
  ]);
  expect(gridOf(labelGroups([groups[0]!]))).toBeUndefined();
});

test("numbers are written shortly", () => {
  expect([0, 1234.5, 25.81, 0.064_52, -0.5, 1.234e-7, 5e9, null, Number.NaN].map(formatNumber)).toEqual(
    ["0", "1235", "25.8", "0.0645", "−0.500", "1.23e−7", "5.00e9", "–", "–"], // 1234.5 rounds half to even or up
  );
  expect([0.1234, 12.34, 59.99, 125, 3725].map(formatSeconds)).toEqual(["0.12 s", "12.3 s", "1:00", "2:05", "1:02:05"]);
});
