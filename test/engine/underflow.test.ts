import { afterAll, expect, test } from "vitest";
import { OrtNodeEngine } from "../../src/engine/ort-node.ts";
import { GraphBuilder, graphOf } from "../../src/graph/index.ts";
import * as o from "../../src/ops/index.ts";
import { numbers, real } from "../support/run.ts";

// The first engine of its process: the setting counts for that one.
const engine = new OrtNodeEngine({ threads: 2 });
afterAll(() => engine.dispose());

const b = new GraphBuilder();
const graph = graphOf({ z: o.exp(b, o.input(b, "x", [3])) });

test("what is too small for a normal float32 is 0, as slow arithmetic would be the price of it", async () => {
  const session = await engine.compile(graph);
  const { z } = await session.run({ x: await engine.upload(real([0, -80, -95])) });
  const [one, small, none] = numbers(await engine.read(z!));
  expect([one, none]).toEqual([1, 0]);
  expect(small! / Math.exp(-80)).toBeCloseTo(1, 5);
  await session.dispose();
});

test("so it is in each of the threads that run side by side", async () => {
  const own = await engine.compile(graph, { sideBySide: true });
  const x = await engine.upload(real([0, -80, -95]));
  const found = await Promise.all(Array.from({ length: 4 }, () => own.run({ x })));
  for (const { z } of found) expect(numbers(await engine.read(z!))[2]).toBe(0);
  await own.dispose();
});
