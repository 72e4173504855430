import { expect, test } from "vitest";
import { GraphBuilder } from "../../src/graph/index.ts";
import * as o from "../../src/ops/index.ts";
import { evaluate, numbers, real } from "../support/run.ts";

test.each([
  ["neighbours, in order", [0, 4], [2, 1], [1, 2, 3, 4, 5, 0]],
  ["neighbours, within zeros", [3, 1], [0, 3], [3, 4, 5, 1, 2, 0]],
  ["apart", [0, 4], [3, 0], [1, 2, 0, 3, 4, 5]],
  ["overlapping", [0, 4], [1, 2], [1, 5, 4, 5, 0, 0]],
] as const)("a sum of padded rows, %s", async (_, [beforeX, afterX], [beforeY, afterY], expected) => {
  const b = new GraphBuilder();
  const x = o.pad(b, o.input(b, "x", [2]), 0, beforeX, afterX);
  const y = o.pad(b, o.input(b, "y", [3]), 0, beforeY, afterY);
  const { z } = await evaluate({ z: o.add(b, x, y) }, { x: real([1, 2]), y: real([3, 4, 5]) });
  expect(numbers(z)).toEqual(expected);
});

test("padded along different axes", async () => {
  const b = new GraphBuilder();
  const x = o.pad(b, o.input(b, "x", [2, 1]), 1, 0, 1);
  const y = o.pad(b, o.input(b, "y", [1, 2]), 0, 1, 0);
  const feeds = { x: real([1, 2], [2, 1]), y: real([3, 4], [1, 2]) };
  expect(numbers((await evaluate({ z: o.add(b, x, y) }, feeds)).z)).toEqual([1, 0, 5, 4]);
});

test("a sum of two rows that fill the whole is their concatenation", () => {
  const b = new GraphBuilder();
  const [x, y] = [o.input(b, "x", [4, 2]), o.input(b, "y", [4, 3])];
  expect(o.add(b, o.pad(b, x, 1, 0, 3), o.pad(b, y, 1, 2, 0)).op.name).toBe("concat");
});
