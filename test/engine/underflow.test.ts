import { afterAll, expect, test } from "vitest";
import { OrtNodeEngine } from "../../src/engine/ort-node.ts";
import { GraphBuilder } from "../../src/graph/index.ts";
import * as o from "../../src/ops/index.ts";
import { evaluate, numbers, real } from "../support/run.ts";

// The first engine of its process: the setting counts for that one.
const engine = new OrtNodeEngine({ threads: 1 });
afterAll(() => engine.dispose());

test("what is too small for a normal float32 is 0, as slow arithmetic would be the price of it", async () => {
  const b = new GraphBuilder();
  const { z } = await evaluate({ z: o.exp(b, o.input(b, "x", [3])) }, { x: real([0, -80, -95]) }, engine);
  const [one, small, none] = numbers(z);
  expect([one, none]).toEqual([1, 0]);
  expect(small! / Math.exp(-80)).toBeCloseTo(1, 5);
});
