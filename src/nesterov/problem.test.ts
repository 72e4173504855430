import { describe, expect, test } from "vitest";
import { NonFiniteError, OptionError, ShapeError } from "../util/errors.ts";
import { type CubicProblem, nesterovLrs, newtonLrs } from "./index.ts";

const good: CubicProblem = {
  H: Float64Array.of(2, 1, 1, 2),
  g: Float64Array.of(1, 1),
  D: Float64Array.of(1, 1),
  dampingInt: 1,
};

describe("a problem is checked", () => {
  test.each([
    [{ H: Float64Array.of(1, 2, 3) }, ShapeError, "H must be [2, 2] to go with g of 2 entries, found 3 entries"],
    [{ D: Float64Array.of(1) }, ShapeError, "D must have 2 entries to go with g, found 1"],
    [{ H: Float64Array.of(2, 1, Number.NaN, 2) }, NonFiniteError, "H[1, 0] is NaN"],
    [{ g: Float64Array.of(1, Number.POSITIVE_INFINITY) }, NonFiniteError, "g[1] is Infinity"],
    [{ D: Float64Array.of(Number.NaN, 1) }, NonFiniteError, "D[0] is NaN"],
    [{ g: [1, 1] }, OptionError, "g must be a Float64Array; found an array"],
    [{ H: [2, 1, 1, 2] }, OptionError, "H must be a Float64Array; found an array"],
    [{ D: undefined }, OptionError, "D must be a Float64Array; found undefined"],
    [{ dampingInt: Number.NaN }, NonFiniteError, "dampingInt is NaN"],
    [{ dampingInt: -1 }, OptionError, "dampingInt must be at least 0, found -1"],
    [{ D: Float64Array.of(1, -2) }, OptionError, "D[1] must be at least 0, found -2"],
    [{ H: Float64Array.of(2, 1, 0, 2) }, OptionError, "H must be symmetric, found H[1, 0] = 0 but H[0, 1] = 1"],
  ])("%o", (change, type, message) => {
    const call = (): unknown => nesterovLrs({ ...good, ...change } as CubicProblem);
    expect(call).toThrow(type);
    expect(call).toThrow(message);
  });

  test("a negative ridge", () => {
    expect(() => newtonLrs({ ...good, ridge: -1 })).toThrow("ridge must be at least 0, found -1");
  });

  test("asymmetry by rounding is averaged, and the input is left as it was", () => {
    const H = Float64Array.of(2, 1 + 1e-8, 1, 2);
    expect(nesterovLrs({ ...good, H })).toEqual(nesterovLrs({ ...good, H: Float64Array.of(2, 1 + 5e-9, 1 + 5e-9, 2) }));
    expect(H[1]).toBe(1 + 1e-8);
  });
});
