import { describe, expect, test } from "vitest";
import { encodeSafetensors } from "../interop/index.ts";
import { decodeTree, encodeTree } from "./checkpoint.ts";

describe("a checkpoint's tree", () => {
  test("comes back as it was", () => {
    const tree = {
      step: 3,
      odd: [Number.NaN, Number.NEGATIVE_INFINITY, -0, 1 / 3],
      nothing: null,
      text: "ḡ",
      flags: [true, false],
      empty: {},
      rates: Float64Array.of(0.1, Number.NaN),
      tensors: { "layers.0.weight": { shape: [2, 1], data: Float32Array.of(1, 2) } },
      counts: [Int32Array.of(4), new Float64Array()],
    };
    const back = decodeTree(encodeTree(tree)) as typeof tree;
    expect(back).toEqual(tree);
    expect(Object.is(back.odd[2], -0)).toBe(true);
  });

  test("refuses what it could not bring back", () => {
    expect(() => encodeTree({ a: { b: new Map() } })).toThrow("internal: checkpoint: a.b is no plain object");
    expect(() => encodeTree({ f: () => 1 })).toThrow("internal: checkpoint: f is a function");
    expect(() => decodeTree(encodeSafetensors({}))).toThrow("this safetensors file is not a checkpoint");
  });
});
