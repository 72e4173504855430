import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { dampedLrs, diagonalLrs, diagonalPart, newtonLrs } from "./index.ts";

const f64 = (...values: number[]): Float64Array => Float64Array.from(values);

describe("newtonLrs", () => {
  test("solves a positive definite, an indefinite and a zero-diagonal system", () => {
    expect(newtonLrs({ H: f64(2, 1, 1, 3), g: f64(3, 4) })).toEqual({ found: true, lrs: f64(1, 1) });
    expect(newtonLrs({ H: f64(1, 2, 2, 1), g: f64(3, 3) })).toEqual({ found: true, lrs: f64(1, 1) });
    expect(newtonLrs({ H: f64(0, 2, 2, 0), g: f64(4, 6) })).toEqual({ found: true, lrs: f64(3, 2) });
  });

  test("adds the ridge to the diagonal", () => {
    expect(newtonLrs({ H: f64(1, 0, 0, 3), g: f64(2, 2), ridge: 1 })).toEqual({ found: true, lrs: f64(1, 0.5) });
  });

  test("no groups", () => expect(newtonLrs({ H: f64(), g: f64() })).toEqual({ found: true, lrs: f64() }));

  test.each([
    ["exactly", f64(1, 1, 1, 1)],
    ["a row of zeros", f64(1, 0, 0, 0)],
    ["to rounding", f64(0.1, 0.3, 0.3, 0.9)],
    ["at widely different scales", f64(1e-20, 1e-8, 1e-8, 1e4)],
  ])("singular: %s", (_, H) => {
    expect(newtonLrs({ H, g: f64(1, 2) })).toEqual({ found: false, reason: expect.stringMatching(/singular/) });
  });

  test("follows the scale of each group's direction", () => {
    const exponent = fc.integer({ min: -60, max: 60 });
    fc.assert(
      fc.property(exponent, exponent, (a, b) => {
        const [x, y] = [2 ** a, 2 ** b];
        const solution = newtonLrs({ H: f64(2 * x * x, x * y, x * y, -3 * y * y), g: f64(3 * x, -2 * y) });
        if (!solution.found) throw new Error(solution.reason);
        expect(solution.lrs[0]! * x).toBeCloseTo(1, 12);
        expect(solution.lrs[1]! * y).toBeCloseTo(1, 12);
      }),
    );
  });
});

describe("diagonalLrs", () => {
  test("is the Newton step of the diagonal part", () => {
    const problem = { H: f64(2, 9, 9, -4), g: f64(1, 2), ridge: 0.5 };
    expect(diagonalLrs(problem)).toEqual({ found: true, lrs: f64(1 / 2.5, 2 / -3.5) });
    expect(diagonalLrs(problem)).toEqual(newtonLrs({ ...problem, H: diagonalPart(problem.H, 2) }));
  });

  test("names a group without curvature", () => {
    expect(diagonalLrs({ H: f64(1, 0, 0, 0), g: f64(1, 1) })).toEqual({ found: false, reason: "H[1, 1] + ridge is 0" });
  });
});

describe("dampedLrs", () => {
  test("takes no damping where none is needed", () => {
    expect(dampedLrs({ H: f64(2, 0, 0, 4), g: f64(2, 2) })).toEqual({ found: true, lrs: f64(1, 0.5), mu: 0 });
  });

  test("takes the smallest on the grid", () => {
    // Scaled to unit diagonal, [[1, 3], [3, 1]] + μ is positive definite from μ > 2.
    const solution = dampedLrs({ H: f64(1, 3, 3, 1), g: f64(8, 8) });
    expect(solution).toMatchObject({ found: true, mu: 4 });
    if (solution.found) expect(solution.lrs[0]).toBeCloseTo(1, 12);
    expect(dampedLrs({ H: f64(-1, 0, 0, 1), g: f64(1, 3) })).toMatchObject({ mu: 2, lrs: f64(1, 1) });
  });

  test("follows the scale of each group's direction", () => {
    const plain = dampedLrs({ H: f64(1, 3, 3, -2), g: f64(1, 2) });
    const scaled = dampedLrs({
      H: f64(2 ** 40, 3 * 2 ** 10, 3 * 2 ** 10, -2 * 2 ** -20),
      g: f64(2 ** 20, 2 * 2 ** -10),
    });
    if (!plain.found || !scaled.found) throw new Error("not found");
    expect(scaled.mu).toBe(plain.mu);
    expect(scaled.lrs[0]! * 2 ** 20).toBeCloseTo(plain.lrs[0]!, 12);
    expect(scaled.lrs[1]! * 2 ** -10).toBeCloseTo(plain.lrs[1]!, 12);
  });

  test("leaves a group without curvature where it is", () => {
    expect(dampedLrs({ H: f64(2, 1, 1, 0), g: f64(2, 5) })).toEqual({ found: true, lrs: f64(1, 0), mu: 0 });
    expect(dampedLrs({ H: f64(0), g: f64(1) })).toEqual({ found: false, reason: "the diagonal of H is 0" });
  });
});
