import { expect, test } from "vitest";
import { checkFinite } from "../../src/engine/index.ts";

const lengths = Array.from({ length: 10 }, (_, length) => length);

test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])("%d is found wherever it is", (value) => {
  for (const length of lengths)
    for (let at = 0; at < length; at++)
      for (const data of [new Float32Array(length), new Float64Array(length)]) {
        data[at] = value;
        expect(() => checkFinite("x", { shape: [length], data })).toThrow(`x: entry ${at} is ${value} in sample ${at}`);
      }
});

test("what is large or small is finite", () => {
  for (const length of lengths) {
    const data = Float64Array.from({ length }, (_, i) => (i % 2 ? Number.MAX_VALUE : -Number.MIN_VALUE));
    expect(() => checkFinite("x", { shape: [length], data })).not.toThrow();
  }
});
