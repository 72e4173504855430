import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ReferenceEngine } from "../../src/engine/index.ts";
import { OrtNodeEngine } from "../../src/engine/ort-node.ts";
import {
  afterParts,
  BATCH,
  type Builder,
  checkGraph,
  GraphBuilder,
  graphOf,
  type Node,
} from "../../src/graph/index.ts";
import { type Rows, TILE, tileGraph } from "../../src/onnx/index.ts";
import * as o from "../../src/ops/index.ts";
import { sizeOf } from "../../src/util/ndarray.ts";
import { assertClose } from "../support/close.ts";
import { type Arrays, checkedGraph, compiled, evaluate, numbers, real } from "../support/run.ts";

const [ROWS, COLUMNS, DEPTH] = [5, 3, 2];
const SHAPE = [ROWS, COLUMNS];

/** Sources of different kinds that a chain of entrywise operations may begin with. */
function leaves(b: Builder): Node[] {
  const row = o.input(b, "row", [COLUMNS]);
  const column = o.input(b, "column", [ROWS, 1]);
  const left = o.input(b, "left", [DEPTH, ROWS]);
  const right = o.input(b, "right", [DEPTH, COLUMNS]);
  return [
    o.input(b, "p", SHAPE),
    o.input(b, "q", SHAPE),
    o.broadcast(b, o.input(b, "rate", []), SHAPE),
    o.broadcast(b, row, SHAPE),
    o.broadcast(b, column, SHAPE),
    o.matmul(b, o.transposeLast(b, left), right),
    o.transposeLast(b, o.input(b, "turned", [COLUMNS, ROWS])),
    o.cumsum(b, o.input(b, "p", SHAPE), 0),
  ];
}

const OPERATIONS: readonly ((b: Builder, x: Node, y: Node) => Node)[] = [
  o.add,
  o.sub,
  o.mul,
  (b, x) => o.scale(b, x, -1.5),
  (b, x) => o.tanh(b, x),
  (b, x, y) => o.where(b, o.greater(b, x, y), x, y),
  // These look at other rows, or need all of them.
  (b, x) => o.cumsum(b, x, 0, true),
  (b, x, y) => o.add(b, y, o.sum(b, o.mul(b, x, x))),
  (b, x, y) => o.matmul(b, o.matmul(b, x, o.transposeLast(b, y)), x),
];

/** Numbers for all inputs, each different. */
function feedsFor(graph: ReturnType<typeof checkedGraph>): Arrays {
  return Object.fromEntries(
    graph.inputs.map(({ name, node }, k) => {
      const shape = node.shape as number[];
      return [
        name,
        real(
          Array.from({ length: sizeOf(shape) }, (_, i) => Math.sin(1 + k + 0.7 * i)),
          shape,
        ),
      ];
    }),
  );
}

/** The rows of tensors that a tiled graph is given. */
function cut(feeds: Arrays, names: readonly string[], tiles: ReadonlyMap<string, Rows>): Arrays {
  return Object.fromEntries(
    names.map((name) => {
      const rows = tiles.get(name);
      if (!rows) return [name, feeds[name]!];
      const { start, shape } = rows;
      return [name, real(numbers(feeds[rows.of]).slice(start, start + sizeOf(shape)), shape)];
    }),
  );
}

test("a tiled graph gives what the graph gives, whatever its operations", async () => {
  const step = fc.tuple(fc.nat(), fc.nat(), fc.nat());
  const cases = fc.record({
    steps: fc.array(step, { minLength: 1, maxLength: 8 }),
    outputs: fc.array(fc.nat(), { minLength: 1, maxLength: 3 }),
    tile: fc.integer({ min: 1, max: (ROWS + 1) * COLUMNS }),
  });
  let tilings = 0;
  await fc.assert(
    fc.asyncProperty(cases, async ({ steps, outputs, tile }) => {
      const b = new GraphBuilder();
      const nodes = leaves(b);
      const pick = (i: number): Node => nodes[i % nodes.length]!;
      for (const [op, x, y] of steps) nodes.push(OPERATIONS[op % OPERATIONS.length]!(b, pick(x), pick(y)));
      const chosen = Object.fromEntries(
        outputs.map((i, k) => [`out${k}`, pick(nodes.length - 1 - (i % steps.length))]),
      );
      const graph = checkedGraph({ ...chosen, total: o.sum(b, chosen.out0!) });
      const feeds = feedsFor(graph);
      const expected = await evaluate(Object.fromEntries(graph.outputs), feeds);

      const tiled = tileGraph(graph, tile);
      tilings += Number(tiled.outputs.size > 0);
      const names = tiled.graph.inputs.map(({ name }) => name);
      const found = await evaluate(Object.fromEntries(tiled.graph.outputs), cut(feeds, names, tiled.inputs));
      const whole = new Map(Object.entries(expected).map(([name, { shape }]) => [name, new Array(sizeOf(shape))]));
      for (const [name, array] of Object.entries(found)) {
        const { of, start } = tiled.outputs.get(name) ?? { of: name, start: 0 };
        numbers(array).forEach((x, i) => {
          whole.get(of)![start + i] = x;
        });
      }
      // Sums are added up in another order.
      for (const [name, values] of whole)
        assertClose(values, numbers(expected[name]), { absolute: 1e-12, relative: 1e-12 }, name);
    }),
  );
  expect(tilings).toBeGreaterThan(10);
});

test("chains of fewer nodes than asked for stay whole, others do not", () => {
  const b = new GraphBuilder();
  const [p, q] = [o.input(b, "p", SHAPE), o.input(b, "q", SHAPE)];
  const slope = o.matmul(b, o.input(b, "left", [ROWS, DEPTH]), o.input(b, "right", [DEPTH, COLUMNS]));
  const short = o.add(b, p, o.tanh(b, slope));
  const long = o.mul(b, o.exp(b, o.add(b, q, o.sigmoid(b, slope))), q);
  const graph = checkedGraph({ short, long, total: o.add(b, o.sum(b, short), o.sum(b, long)) });
  const cutAt = (chain: number): string[] => [
    ...new Set([...tileGraph(graph, COLUMNS, chain).outputs.values()].map(({ of }) => of)),
  ];
  expect([1, 2, 3, 4, 5].map(cutAt)).toEqual([["short", "long"], ["short", "long"], ["long"], ["long"], []]);
});

test("an input with samples along its rows stays whole", async () => {
  const b = new GraphBuilder();
  const product = o.matmul(b, o.input(b, "left", [ROWS, BATCH]), o.input(b, "right", [BATCH, COLUMNS]));
  const graph = checkedGraph({ next: o.add(b, o.input(b, "p", SHAPE), o.tanh(b, product)) });
  const { graph: made, inputs, outputs } = tileGraph(graph, COLUMNS);
  expect([...inputs.values()].map(({ of }) => of)).toEqual(new Array(ROWS).fill("p"));
  const feeds = {
    p: real([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], SHAPE),
    left: real([1, -1, 2, 0, 3, 1, 0.5, 0.2, -2, 1], [ROWS, DEPTH]),
    right: real([1, -1, 0.5, 0.2, 0.1, 0.3], [DEPTH, COLUMNS]),
  };
  const expected = numbers((await evaluate(Object.fromEntries(graph.outputs), feeds)).next);
  const names = made.inputs.map(({ name }) => name);
  const found = await evaluate(Object.fromEntries(made.outputs), cut(feeds, names, inputs));
  expect([...outputs.keys()].flatMap((name) => numbers(found[name]))).toEqual(expected);
});

test("there are no more tiles than can be compiled soon", () => {
  const b = new GraphBuilder();
  const graph = graphOf({ z: o.tanh(b, o.input(b, "x", [1000, COLUMNS])) });
  const lengths = [...tileGraph(graph, COLUMNS).outputs.values()].map(({ shape: [rows] }) => rows!);
  expect(lengths.length).toBeLessThanOrEqual(64);
  expect(lengths.reduce((sum, rows) => sum + rows)).toBe(1000);
});

describe("on ONNX Runtime", () => {
  const SIDE = 600;

  /** Adam's rule without its corrections, on a product. */
  function rule(b: Builder) {
    const [p, m, v] = ["p", "m", "v"].map((name) => o.input(b, name, [SIDE, SIDE]));
    const [x, y] = ["x", "y"].map((name) => o.input(b, name, [BATCH, SIDE]));
    const gradient = o.matmul(b, o.transposeLast(b, x!), y!);
    const mean = o.add(b, o.scale(b, m!, 0.9), o.scale(b, gradient, 0.1));
    const square = o.add(b, o.scale(b, v!, 0.99), o.scale(b, o.mul(b, gradient, gradient), 0.01));
    const next = o.sub(b, p!, o.mul(b, mean, o.reciprocal(b, o.shift(b, o.sqrt(b, square), 1))));
    return { next, mean, square, again: mean, check: o.sum(b, next) };
  }

  const array = (seed: number, shape: readonly number[]) =>
    real(
      Array.from({ length: sizeOf(shape) }, (_, i) => Math.abs(Math.sin(seed + i))),
      shape,
    );

  test("rows of large tensors are read and written where they lie, run after run", async () => {
    const graph = checkedGraph(rule(new GraphBuilder()));
    expect(tileGraph(graph, TILE).outputs.size).toBe(12);
    const engine = new OrtNodeEngine({ threads: 1 });
    const program = await compiled(engine, graph);
    for (const batch of [2, 3, 2]) {
      const state = { p: array(batch, [SIDE, SIDE]), m: array(2, [SIDE, SIDE]), v: array(3, [SIDE, SIDE]) };
      const feeds: Arrays = { ...state, x: array(4, [batch, SIDE]), y: array(5, [batch, SIDE]) };
      const [found, expected] = [await program.run(feeds), await evaluate(rule(new GraphBuilder()), feeds)];
      // Of float32, whose sum of a million entries is off by a few units in the last place of each.
      for (const name of Object.keys(expected))
        assertClose(numbers(found[name]), numbers(expected[name]), { relative: 1e-5 }, name);
    }
    await engine.dispose();
  });
});

test("what is added up over parts ahead is cut into the tiles of what reads it", async () => {
  const part = new GraphBuilder();
  const x = o.input(part, "x", [BATCH, ROWS]);
  const w = o.input(part, "w", SHAPE);
  const size = { name: "size", node: o.input(part, "size", []) };
  const sum = o.matmul(part, o.transposeLast(part, x), o.tanh(part, o.matmul(part, x, w)));
  const b = new GraphBuilder();
  const moved = o.sub(b, o.input(b, "w", SHAPE), o.scale(b, o.input(b, "slope", SHAPE), 0.5));
  const graph = afterParts(graphOf({ moved }), { graph: graphOf({ slope: sum }), size });
  const { graph: made, inputs, outputs } = tileGraph(graph, 2 * COLUMNS);
  expect([...outputs.values()].map(({ shape }) => shape)).toEqual([
    [2, 3],
    [2, 3],
    [1, 3],
  ]);
  checkGraph(made);
  const feeds = {
    ...feedsFor(checkedGraph({ w })),
    x: real([1, 2, 3, 4, 5, 6, 7, 8, 9, 0], [2, ROWS]),
    size: real([1], []),
  };
  const engine = new OrtNodeEngine({ precision: "float64", threads: 1 });
  const whole = await compiled(engine, graph);
  const tiled = await compiled(new ReferenceEngine(), made);
  const found = await tiled.run(
    cut(
      feeds,
      made.inputs.map(({ name }) => name),
      inputs,
    ),
  );
  const expected = numbers((await whole.run(feeds)).moved);
  assertClose(
    [...outputs.keys()].flatMap((name) => numbers(found[name])),
    expected,
    { absolute: 1e-14 },
    "moved",
  );
  await engine.dispose();
});
