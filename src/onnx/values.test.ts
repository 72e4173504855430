import { expect, test } from "vitest";
import { BATCH, GraphBuilder, graphOf } from "../graph/index.ts";
import * as o from "../ops/index.ts";
import { lowerGraph } from "./index.ts";

test("all that operators give to one another has its shape, also where the batch axis is merged with another", () => {
  const b = new GraphBuilder();
  const x = o.input(b, "x", [BATCH, 6]);
  const rows = o.exp(b, o.reshape(b, x, [{ factor: 2, power: 1 }, 3]));
  const pairs = o.matmul(b, rows, o.permute(b, rows, [1, 0]));
  const graph = lowerGraph(graphOf({ total: o.sum(b, o.tanh(b, pairs)) }), { precision: "float32" });

  const shapes = new Map(graph.values.map(({ name, shape }) => [name, shape]));
  const between = graph.nodes.slice(0, -1);
  const found = between.map(({ type, outputs }) => [type, ...(shapes.get(outputs[0]!) ?? ["unknown"])]);
  expect(found).toEqual([
    ["Reshape", "2*batch", 3],
    ["Exp", "2*batch", 3],
    ["Gemm", "2*batch", "2*batch"],
    ["Tanh", "2*batch", "2*batch"],
  ]);
  expect(shapes.has(graph.outputs[0]!.name)).toBe(false);
});
