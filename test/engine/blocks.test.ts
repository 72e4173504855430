import fc from "fast-check";
import { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { describe, expect, test, vi } from "vitest";
import { updaters } from "../../bench/work.ts";
import { type Engine, specOf } from "../../src/engine/index.ts";
import { OrtNodeEngine } from "../../src/engine/ort-node.ts";
import { BATCH, type Builder, formatShape, type Graph, GraphBuilder, type Node } from "../../src/graph/index.ts";
import { losses, Module, models, nn, Optimizer, partition, type Tensor } from "../../src/index.ts";
import { objective } from "../../src/nn/index.ts";
import { encodeModel, type Lowered, lowerGraph, NCHWC, outputName } from "../../src/onnx/index.ts";
import * as o from "../../src/ops/index.ts";
import { stepSource } from "../../src/optim/step-graph.ts";
import { nameGroups } from "../../src/summary/groups.ts";
import { summarySource } from "../../src/summary/summary.ts";
import { sizeOf } from "../../src/util/ndarray.ts";
import { assertClose } from "../support/close.ts";
import { type Arrays, checkedGraph, compiled, evaluate, numbers, real, whole } from "../support/run.ts";

const OPTIONS: InferenceSession.SessionOptions = { intraOpNumThreads: 1, logSeverityLevel: 3 };

/** Channels in a block on this machine's processor; there are some that have no such convolutions. */
const SIZE = await blockSize();
const here = describe.skipIf(SIZE === undefined);

async function blockSize(): Promise<number | undefined> {
  const engine = new OrtNodeEngine({ threads: 1 });
  const size = await engine.blockSize();
  await engine.dispose();
  return size;
}

/** A graph with all products in blocks that can be, for runs of so many samples. */
function inBlocks(graph: Graph, samples: number): Lowered {
  return lowerGraph(graph, { precision: "float32", blockSize: SIZE!, samples }, { worth: 0 });
}

async function run(lowered: Lowered, graph: Graph, feeds: Arrays): Promise<Record<string, number[]>> {
  const session = await InferenceSession.create(encodeModel(lowered), OPTIONS);
  const given = graph.inputs.map(({ name, node }) => {
    const values = numbers(feeds[name]);
    const data = node.dtype === "int" ? BigInt64Array.from(values, BigInt) : Float32Array.from(values);
    return [name, new OrtTensor(data as Float32Array, feeds[name]!.shape)];
  });
  const found = await session.run(Object.fromEntries(given));
  await session.release();
  const names = [...graph.outputs.keys()];
  return Object.fromEntries(names.map((name) => [name, Array.from(found[outputName(name)]!.data as Float32Array)]));
}

/** Of steps whose batches are cut into parts of 6, 3 and 2 samples in float32. */
async function lossesOf(engine: Engine): Promise<number[]> {
  nn.manualSeed(1);
  const layers = [3, 16].map((channels) => new nn.Conv2d(channels, 2 * channels + 10, 3, { padding: 1 }));
  const model = new nn.Sequential(layers[0]!, new nn.Tanh(), layers[1]!, new nn.AdaptiveAvgPool2d(1), new nn.Flatten());
  const optimizer = await Optimizer.create(model, losses.nll, { updater: updaters.momentum(), lr: 0.1, engine });
  const found: number[] = [];
  for (const samples of [30, 27, 30, 26]) {
    const pixels = Array.from({ length: samples * 3 * 28 * 28 }, (_, i) => Math.sin(i * i));
    const labels = Array.from({ length: samples }, (_, i) => i % 42);
    found.push((await optimizer.step({ x: real(pixels, [samples, 3, 28, 28]), y: whole(labels) })).loss!);
  }
  await optimizer.dispose();
  return found;
}

const counted = ({ nodes }: Lowered, type: string): number => nodes.filter((node) => node.type === type).length;
const products = (lowered: Lowered): number => counted(lowered, `${NCHWC}.Conv`);
const moves = (lowered: Lowered): number =>
  counted(lowered, `${NCHWC}.ReorderInput`) + counted(lowered, `${NCHWC}.ReorderOutput`);

const WIDTH = 2 * (SIZE ?? 8);
/** Tensors of a random program: matrices of samples, stacks of them, and weights. */
const SHAPES = { matrix: [BATCH, WIDTH], stack: [2, BATCH, WIDTH], weight: [WIDTH, WIDTH] } as const;
type Kind = keyof typeof SHAPES;

interface Operation {
  readonly from: readonly Kind[];
  readonly to: Kind;
  readonly make: (b: Builder, x: Node, y: Node) => Node;
}

/** A product small enough to go on with. */
function product(b: Builder, x: Node, y: Node): Node {
  return o.tanh(b, o.scale(b, o.matmul(b, x, y), 1 / WIDTH));
}

const each = (make: Operation["make"]): Operation[] =>
  (["matrix", "stack", "weight"] as const).map((kind) => ({ from: [kind, kind], to: kind, make }));
const row = (b: Builder, x: Node): Node => o.input(b, `row of ${x.shape.length}`, [WIDTH]);
const column = (b: Builder, x: Node): Node => o.max(b, x, x.shape.length - 1);

const OPERATIONS: readonly Operation[] = [
  { from: ["matrix", "weight"], to: "matrix", make: product },
  { from: ["matrix", "weight"], to: "matrix", make: (b, x, w) => product(b, x, o.transposeLast(b, w)) },
  { from: ["stack", "weight"], to: "stack", make: product },
  { from: ["stack", "weight"], to: "stack", make: (b, x, w) => product(b, x, o.transposeLast(b, w)) },
  { from: ["weight", "weight"], to: "weight", make: product },
  { from: ["weight", "weight"], to: "weight", make: (b, x, w) => product(b, o.transposeLast(b, x), w) },
  { from: ["matrix", "matrix"], to: "weight", make: (b, x, y) => product(b, o.transposeLast(b, x), y) },
  {
    from: ["matrix", "matrix"],
    to: "weight",
    make: (b, x, y) => product(b, o.scale(b, o.transposeLast(b, x), 0.5), y),
  },
  // What an operator of the engine does besides its product.
  { from: ["matrix", "weight"], to: "matrix", make: (b, x, w) => o.add(b, o.matmul(b, x, w), row(b, x)) },
  { from: ["matrix", "weight"], to: "matrix", make: (b, x, w) => o.sub(b, x, o.scale(b, o.matmul(b, x, w), 0.1)) },
  { from: ["matrix", "weight"], to: "matrix", make: (b, x, w) => o.sub(b, o.matmul(b, x, w), x) },
  // One by one: with whole values, rows, columns and numbers.
  ...each((b, x, y) => o.mul(b, x, y)),
  ...each((b, x, y) => o.sub(b, o.scale(b, x, 0.5), y)),
  ...each((b, x) => o.add(b, x, row(b, x))),
  ...each((b, x) => o.sub(b, x, column(b, x))),
  ...each((b, x, y) => o.where(b, o.greater(b, x, y), x, y)),
  ...each((b, x, y) =>
    o.where(b, o.greater(b, o.input(b, `mask of ${formatShape(x.shape)}`, x.shape), o.scalar(b, 0)), x, y),
  ),
  ...each((b, x, y) => o.mul(b, x, o.reciprocal(b, o.exp(b, o.tanh(b, y))))),
  { from: ["stack", "matrix"], to: "stack", make: (b, x, y) => o.mul(b, x, y) },
  // Other orders.
  {
    from: ["matrix", "matrix"],
    to: "stack",
    make: (b, x, y) =>
      o.concat(
        b,
        [x, y].map((each) => o.reshape(b, each, [1, ...each.shape])),
        0,
      ),
  },
  { from: ["stack"], to: "matrix", make: (b, x) => o.reshape(b, o.slice(b, x, 0, 1, 2), x.shape.slice(1)) },
  { from: ["weight"], to: "weight", make: (b, w) => o.transposeLast(b, w) },
];

/** What a graph ends in: sums of all kinds, and products of whole stacks. */
function ends(b: Builder, { matrix, stack, weight }: Readonly<Record<Kind, Node>>): Record<string, Node> {
  const flat = (x: Node): Node => o.reshape(b, x, [x.shape.length === 3 ? 2 : 1, { factor: WIDTH, power: 1 }]);
  const pairs = (x: Node, y: Node): Node => o.matmul(b, flat(x), o.transposeLast(b, flat(y)));
  return {
    matrix,
    stack,
    weight,
    total: o.sum(b, stack),
    rows: o.sum(b, matrix, [0]),
    "rows of each": o.sum(b, stack, [1]),
    "columns of each": o.sum(b, stack, [2]),
    "one of each": o.sum(b, stack, [1, 2]),
    "both stacks": o.sum(b, stack, [0, 1]),
    "pairs of one": pairs(stack, stack),
    "pairs of two": pairs(matrix, stack),
    "pairs and the stack": o.add(b, pairs(stack, stack), o.slice(b, o.slice(b, weight, 0, 0, 2), 1, 0, 2)),
  };
}

function feedsFor(graph: Graph, samples: number): Arrays {
  const feed = (node: Node, k: number) => {
    const shape = node.shape.map((dim) => (typeof dim === "number" ? dim : dim.factor * samples));
    return real(
      Array.from({ length: sizeOf(shape) }, (_, i) => Math.sin(1 + k + 0.7 * i + 0.01 * i * k)),
      shape,
    );
  };
  return Object.fromEntries(graph.inputs.map(({ name, node }, k) => [name, feed(node, k)]));
}

/** float32 beside float64, through at most ten operations; sums have some thousand terms of order 1 to 10, which cancel. */
const ROUNDING = { relative: 1e-4, absolute: 1e-6 };
const SUMMED = { relative: 1e-4, absolute: 2e-3 };

here("values in blocks", () => {
  test("a graph with products in blocks gives what the oracle gives, whatever its operations", async () => {
    const steps = fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat()), { minLength: 1, maxLength: 10 });
    let [used, kept] = [0, 0];
    await fc.assert(
      fc.asyncProperty(steps, fc.constantFrom(4, 16, 20), async (steps, samples) => {
        const b = new GraphBuilder();
        const pools: Record<Kind, Node[]> = { matrix: [], stack: [], weight: [] };
        for (const [kind, shape] of Object.entries(SHAPES)) {
          const inputs = ["a", "b"].map((name) => o.input(b, `${kind} ${name}`, shape));
          pools[kind as Kind].push(...inputs);
        }
        for (const [op, x, y] of steps) {
          const { from, to, make } = OPERATIONS[op % OPERATIONS.length]!;
          const pick = (kind: Kind, i: number): Node => pools[kind].at(-1 - (i % Math.min(3, pools[kind].length)))!;
          pools[to].push(make(b, pick(from[0]!, x), pick(from[1] ?? from[0]!, y)));
        }
        const last = (kind: Kind): Node => pools[kind].at(-1)!;
        const outputs = ends(b, { matrix: last("matrix"), stack: last("stack"), weight: last("weight") });
        const graph = checkedGraph(outputs);
        const feeds = feedsFor(graph, samples);
        const lowered = inBlocks(graph, samples);
        used += Number(products(lowered) > 0);
        kept += Number(moves(lowered) < 3 * products(lowered));
        const expected = await evaluate(outputs, feeds);
        const found = await run(lowered, graph, feeds);
        for (const name of graph.outputs.keys())
          assertClose(found[name]!, numbers(expected[name]), name in SHAPES ? ROUNDING : SUMMED, name);
      }),
      { numRuns: 200 },
    );
    expect(used).toBeGreaterThan(50);
    expect(kept).toBeGreaterThan(10);
  });

  test("values stay in blocks from one product to the next", () => {
    const b = new GraphBuilder();
    const [x, w] = [o.input(b, "x", SHAPES.matrix), o.input(b, "w", SHAPES.weight)];
    const hidden = o.tanh(b, o.add(b, o.matmul(b, x, w), o.input(b, "bias", [WIDTH])));
    const lowered = inBlocks(checkedGraph({ y: o.matmul(b, hidden, w) }), 16);
    expect(products(lowered)).toBe(2);
    // x and w into blocks, y out of them.
    expect(moves(lowered)).toBe(3);
  });

  test("what does not fill blocks, or is not worth while, is multiplied as it lies", () => {
    const b = new GraphBuilder();
    const product = (columns: number, depth: number): Graph =>
      checkedGraph({ z: o.matmul(b, o.input(b, "x", [BATCH, depth]), o.input(b, "w", [depth, columns])) });
    expect(products(inBlocks(product(WIDTH, WIDTH), 16))).toBe(1);
    expect(products(inBlocks(product(WIDTH + 1, WIDTH), 16))).toBe(0);
    expect(products(inBlocks(product(WIDTH, WIDTH + 1), 16))).toBe(0);
    const target = { precision: "float32", blockSize: SIZE!, samples: 16 } as const;
    expect(products(lowerGraph(product(WIDTH, WIDTH), target, { worth: 100 }))).toBe(0);
  });

  test("only a product over the samples fixes their number, and only one that fills blocks of channels", () => {
    const b = new GraphBuilder();
    const [x, w] = [o.input(b, "x", SHAPES.matrix), o.input(b, "w", SHAPES.weight)];
    const forward = checkedGraph({ z: o.matmul(b, x, w) });
    expect(inBlocks(forward, 16).samples).toBeUndefined();
    const gradient = checkedGraph({ z: o.matmul(b, o.transposeLast(b, x), o.tanh(b, x)) });
    expect(inBlocks(gradient, 20).samples).toBe(20);
    expect(products(inBlocks(gradient, 18))).toBe(0);
  });

  test.each(["elu", "tanh", "relu"] as const)("steps and summaries of a perceptron with %s", async (activation) => {
    const model = models.perceptron({ layers: [2 * WIDTH, WIDTH, WIDTH, 3], activation, seed: 1 });
    const target = objective(model, losses.nll);
    const groups = nameGroups(partition.canonical(model), target.variables);
    const samples = 20;
    const x = real(
      Array.from({ length: samples * 2 * WIDTH }, (_, i) => Math.sin(i * i)),
      [samples, 2 * WIDTH],
    );
    const batch = { x, y: whole(Array.from({ length: samples }, (_, i) => i % 3)) };
    const parts = { objective: target, groups, updater: updaters.momentum(), clipGradNorm: undefined };
    const step = stepSource(parts, { kind: "batch", spec: specOf(batch) }).graph;
    for (const graph of [step, summarySource(target, groups, batch).graph]) {
      const lowered = inBlocks(graph, samples);
      expect(products(lowered)).toBeGreaterThan(3);
      const feeds = { ...feedsFor(graph, samples), ...batch };
      const expected = await evaluate(Object.fromEntries(graph.outputs), feeds);
      const found = await run(lowered, graph, feeds);
      for (const name of graph.outputs.keys()) assertClose(found[name]!, numbers(expected[name]), SUMMED, name);
    }
  });

  test("parts that a step adds up itself may have other numbers of samples from step to step", async () => {
    const [engine, precise] = [
      new OrtNodeEngine({ threads: 1 }),
      new OrtNodeEngine({ precision: "float64", threads: 1 }),
    ];
    const compile = vi.spyOn(engine, "compile");
    const [found, expected] = [await lossesOf(engine), await lossesOf(precise)];
    assertClose(found, expected, { relative: 1e-4 }, "losses");
    expect(compile.mock.calls.map(([, options]) => options?.part)).toEqual([6, 3, 2]);
    for (const each of [engine, precise]) await each.dispose();
  });

  test("models whose products in blocks read sums of products, and masks", async () => {
    const linear = (): nn.Linear => new nn.Linear(1024, 1024);
    class Gated extends Module {
      readonly first = linear();
      readonly second = linear();
      readonly last = new nn.Linear(1024, 3);
      forward(x: Tensor): Tensor {
        return this.last.forward(nn.where(x.gt(0), this.first.forward(x), this.second.forward(x)));
      }
    }
    const residual = (): Module =>
      new nn.Sequential(
        linear(),
        new nn.Residual(new nn.Sequential(linear(), new nn.Tanh(), linear())),
        new nn.Linear(1024, 3),
      );
    const samples = 1024;
    const x = real(
      Array.from({ length: samples * 1024 }, (_, i) => Math.sin(i * i)),
      [samples, 1024],
    );
    const batch = { x, y: whole(Array.from({ length: samples }, (_, i) => i % 3)) };
    for (const make of [() => new Gated(), residual]) {
      const found: number[][] = [];
      for (const precision of ["float32", "float64"] as const) {
        const engine = new OrtNodeEngine({ precision, threads: 1 });
        nn.manualSeed(1);
        const optimizer = await Optimizer.create(make(), losses.crossEntropy, {
          updater: updaters.plain(),
          lr: 0.1,
          engine,
        });
        found.push([(await optimizer.step(batch)).loss!, (await optimizer.step(batch)).loss!]);
        await engine.dispose();
      }
      assertClose(found[0]!, found[1]!, { relative: 1e-4 }, "losses");
    }
  });

  const [ROWS, LONG] = [1024, 1024];
  const b = new GraphBuilder();
  const left = o.input(b, "x", [BATCH, LONG]);
  const slopes = o.matmul(b, o.transposeLast(b, left), o.tanh(b, left));
  const outputs = { slopes, z: o.matmul(b, o.tanh(b, left), slopes) };

  test("runs with other numbers of samples give the same, by what is compiled for the first of them and for all more", async () => {
    const [engine, precise] = [new OrtNodeEngine({ threads: 1 }), new OrtNodeEngine({ precision: "float64" })];
    const graph = checkedGraph(outputs);
    const program = await compiled(engine, graph, { samples: ROWS });
    for (const [samples, sessions] of [
      [ROWS, 1],
      [7, 2],
      [ROWS, 2],
      [ROWS + 4, 3],
      [7, 3],
      [9, 3],
    ] as const) {
      const feeds = feedsFor(graph, samples);
      const expected = await evaluate(outputs, feeds, precise);
      const found = await program.run(feeds);
      for (const name of graph.outputs.keys())
        assertClose(numbers(found[name]), numbers(expected[name]), { relative: 1e-4 }, name);
      expect(engine.sessions).toEqual({ compiled: sessions, live: sessions });
    }
    await program.dispose();
    expect(engine.sessions.live).toBe(0);
    await expect(program.run(feedsFor(graph, 7))).rejects.toThrow("this session was disposed");
    await expect(program.run(feedsFor(graph, ROWS))).rejects.toThrow("this session was disposed");
    await expect(program.run({})).rejects.toThrow("input x is missing");
    for (const each of [engine, precise]) await each.dispose();
  });

  test("many runs at once with other numbers of samples share what is compiled for them", async () => {
    const engine = new OrtNodeEngine({ threads: 2 });
    const graph = checkedGraph(outputs);
    const program = await compiled(engine, graph, { samples: ROWS, sideBySide: true });
    const found = await Promise.all([8, ROWS, 9, 8].map((samples) => program.run(feedsFor(graph, samples))));
    expect(numbers(found[0]!.z)).toEqual(numbers(found[3]!.z));
    expect(engine.sessions).toEqual({ compiled: 3, live: 3 });
    expect(engine.tensors.live).toBe(0);
    await program.dispose();
    expect(engine.sessions.live).toBe(0);
    await engine.dispose();
  });

  test("a session that is disposed while another number of samples is compiled for leaves nothing behind", async () => {
    const engine = new OrtNodeEngine({ threads: 1 });
    const graph = checkedGraph(outputs);
    const program = await compiled(engine, graph, { samples: ROWS });
    const under = program.run(feedsFor(graph, 7)).catch((error: Error) => error.message);
    await Promise.resolve();
    await program.dispose();
    expect(await under).toBe("this session was disposed");
    expect(engine.sessions.live).toBe(0);
    await engine.dispose();
  });
});

test("an engine in double precision has no blocks", async () => {
  const engine = new OrtNodeEngine({ precision: "float64" });
  const b = new GraphBuilder();
  const x = o.input(b, "x", [BATCH, 512]);
  const program = await compiled(engine, checkedGraph({ z: o.matmul(b, o.transposeLast(b, x), x) }), { samples: 512 });
  const feeds = { x: real(new Array(2 * 512).fill(0.5), [2, 512]) };
  expect(numbers((await program.run(feeds)).z)[0]).toBe(0.5);
  expect(engine.sessions.compiled).toBe(1);
  await engine.dispose();
});
