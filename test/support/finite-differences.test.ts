import { describe, expect, test } from "vitest";
import { assertClose } from "./close.ts";
import { derivativesAtZero } from "./finite-differences.ts";

const known: Readonly<Record<string, [(x: number) => number, [number, number, number]]>> = {
  "a polynomial of degree 10": [(x) => 2 - 3 * x + 0.5 * x ** 2 + 4 * x ** 3 + x ** 10, [-3, 1, 24]],
  exp: [(x) => Math.exp(2 * x), [2, 4, 8]],
  sin: [(x) => Math.sin(1 + 3 * x), [3 * Math.cos(1), -9 * Math.sin(1), -27 * Math.cos(1)]],
  "a pole at distance 0.65": [(x) => 1 / (0.65 - x), [0.65 ** -2, 2 * 0.65 ** -3, 6 * 0.65 ** -4]],
  "a constant": [() => 7, [0, 0, 0]],
};

describe("finite differences", () => {
  // A tenth of what checkGrads allows.
  test.each(Object.entries(known))("of %s", async (name, [f, expected]) => {
    const { derivatives, size } = await derivativesAtZero(f);
    for (const [i, tolerance] of [1e-12, 1e-10, 1e-8].entries())
      assertClose(
        [derivatives[i]!],
        [expected[i]!],
        { relative: tolerance, absolute: tolerance * size },
        `${name}, order ${i + 1}`,
      );
  });
});

describe("assertClose", () => {
  test("shows index, values and ratio of what differs", () => {
    expect(() => assertClose([1, 2, 6], [1, 2, 3], { relative: 1e-3 }, "H")).toThrow(
      "H: 1 of 3 entries off by more than 3.00e-3\n  [2] found 6, expected 3, off by 3.00e+0, ratio 2.0000000",
    );
  });

  test("takes NaN and infinities as they are", () => {
    expect(() => assertClose([Number.NaN, Infinity], [Number.NaN, Infinity], {}, "z")).not.toThrow();
    expect(() => assertClose([1, Number.NaN], [Number.NaN, 1], { absolute: 9 }, "z")).toThrow("2 of 2");
    expect(() => assertClose([1], [Infinity], { relative: 1 }, "z")).toThrow("1 of 1");
    expect(() => assertClose([1], [1, 2], {}, "z")).toThrow("expected 2 entries, found 1");
  });
});
