import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { deriveTensors, gradients, productCount, type TensorTerm } from "../../src/derive/index.ts";
import { chainRule, keyOf, multiIndices } from "../../src/derive/multi-index.ts";
import { type Engine, ReferenceEngine } from "../../src/engine/index.ts";
import { OrtNodeEngine } from "../../src/engine/ort-node.ts";
import { BATCH, type Builder, GraphBuilder, type Node } from "../../src/graph/index.ts";
import * as o from "../../src/ops/index.ts";
import { Random } from "../../src/util/random.ts";
import { apart, drawInputs, floats, type InputSpec, makeInputs } from "../support/inputs.ts";
import { parameters, programLoss, programs } from "../support/random-graphs.ts";
import { type Arrays, evaluate, numbers } from "../support/run.ts";

type Loss = (b: Builder, inputs: readonly Node[]) => Node;

/** A problem: a loss, its inputs, all of them differentiated, and the group of each. */
interface Case {
  readonly inputs: readonly InputSpec[];
  readonly loss: Loss;
  readonly groups: readonly number[];
}

const directions = (b: Builder, nodes: readonly Node[]): Node[] =>
  nodes.map(({ shape }, i) => o.input(b, `u${i}`, shape));

function feedsOf(inputs: readonly InputSpec[], seed: number): Arrays {
  const random = new Random(seed);
  const [values, along] = [drawInputs(inputs, random), drawInputs(inputs, random)];
  const named = inputs.map((_, i) => [`u${i}`, along[`x${i}`]!] as const);
  return { ...values, ...Object.fromEntries(named), samples: { shape: [2], data: new Float64Array(2) } };
}

/** The derivatives by multi-index, by the definition of `TensorTerm`. */
function unpack(terms: readonly TensorTerm[], packed: readonly number[]): Map<string, number> {
  const sums = new Map<string, number>();
  let at = 0;
  for (const { indices, counts } of terms)
    indices.forEach((index, i) => {
      sums.set(keyOf(index), (sums.get(keyOf(index)) ?? 0) + counts[i]! * packed[at++]!);
    });
  expect(at).toBe(packed.length);
  return sums;
}

async function tensorsOf(
  { inputs, loss, groups }: Case,
  order: number,
  seed: number,
  engine: Engine = new ReferenceEngine(),
) {
  const b = new GraphBuilder();
  const nodes = makeInputs(b, inputs);
  const along = directions(b, nodes);
  const seeds = nodes.map((parameter, i) => ({ parameter, direction: along[i]!, group: groups[i]! }));
  const { packed, terms } = deriveTensors(b, loss(b, nodes), seeds, order);
  const found = await evaluate({ packed, samples: o.input(b, "samples", [BATCH]) }, feedsOf(inputs, seed), engine);
  return unpack(terms, numbers(found.packed));
}

/** The same by brute force: reverse mode over reverse mode on φ(η), one derivative after the other. */
async function nested({ inputs, loss, groups }: Case, order: number, seed: number): Promise<Map<string, number>> {
  const b = new GraphBuilder();
  const nodes = makeInputs(b, inputs);
  const size = Math.max(...groups) + 1;
  const etas = Array.from({ length: size }, (_, s) => o.input(b, `eta${s}`, []));
  const moved = directions(b, nodes).map((u, i) => o.add(b, nodes[i]!, o.mul(b, u, etas[groups[i]!]!)));
  const outputs = new Map<string, Node>([["", loss(b, moved)]]);
  for (let k = 1; k <= order; k++)
    for (const index of multiIndices([...etas.keys()], k)) {
      const before = outputs.get(keyOf(index.slice(0, -1)))!;
      const [slope] = gradients(b, before, [etas[index.at(-1)!]!]);
      outputs.set(keyOf(index), slope ?? o.scalar(b, 0));
    }
  const still = etas.map((_, s) => [`eta${s}`, { shape: [], data: new Float64Array(1) }] as const);
  const feeds = { ...feedsOf(inputs, seed), ...Object.fromEntries(still) };
  const samples = o.input(b, "samples", [BATCH]);
  const found = await evaluate({ ...Object.fromEntries(outputs), samples }, feeds);
  return new Map([...outputs.keys()].map((key) => [key, numbers(found[key])[0]!]));
}

/** Derivatives that are missing are zero. Sums of the same products in another order: rounding of the largest. */
function expectSame(found: ReadonlyMap<string, number>, expected: ReadonlyMap<string, number>, relative: number) {
  for (const length of new Set([...expected.keys()].map((key) => key.length))) {
    const keys = [...expected.keys()].filter((key) => key.length === length);
    const scale = Math.max(1, ...keys.map((key) => Math.abs(expected.get(key)!)));
    for (const key of keys)
      expect(Math.abs((found.get(key) ?? 0) - expected.get(key)!), `[${key}]`).toBeLessThanOrEqual(relative * scale);
  }
}

const partitions = fc.constantFrom([0, 0, 0, 0, 0], [0, 1, 0, 1, 2], [2, 0, 1, 1, 2], [1, 1, 0, 2, 0]);

describe("derivatives of any order", () => {
  test.each([
    [2, 30],
    [3, 30],
    [4, 15],
    [5, 4],
  ])("order %i of random programs is that of nested reverse mode", { timeout: 60_000 }, async (order, numRuns) => {
    await fc.assert(
      fc.asyncProperty(programs, partitions, fc.nat(1000), async (program, groups, seed) => {
        const each = {
          inputs: parameters,
          groups,
          loss: (b: Builder, x: readonly Node[]) => programLoss(b, x, program),
        };
        expectSame(await tensorsOf(each, order, seed), await nested(each, order, seed), 1e-10);
      }),
      { numRuns, seed: 20260201 },
    );
  });

  const B = BATCH;
  const square = (b: Builder, x: Node): Node => o.sum(b, o.mul(b, x, x));
  const cases: Readonly<Record<string, Case>> = {
    "kinks: relu, elu, abs and a maximum": {
      inputs: [floats([B, 3], apart), floats([3], apart), floats([3])],
      groups: [0, 1, 1],
      loss: (b, [x, w, v]) => {
        const hidden = o.elu(b, o.mul(b, o.relu(b, o.mul(b, x!, w!)), v!));
        return square(b, o.max(b, o.mul(b, o.abs(b, o.add(b, hidden, x!)), o.sin(b, v!)), 1));
      },
    },
    attention: {
      inputs: [floats([B, 3, 2]), floats([2, 2]), floats([2, 2]), floats([2, 2])],
      groups: [3, 0, 1, 2],
      loss: (b, [x, q, k, v]) => {
        const [queries, keys, values] = [q!, k!, v!].map((m) => o.matmul(b, x!, m)) as [Node, Node, Node];
        const weights = o.exp(b, o.tanh(b, o.matmul(b, queries, o.transposeLast(b, keys))));
        const share = o.mul(b, weights, o.reciprocal(b, o.sumKeep(b, weights, [2])));
        return square(b, o.matmul(b, share, values));
      },
    },
    "one weight in every layer": {
      inputs: [floats([B, 2]), floats([2, 2]), floats([])],
      groups: [0, 1, 2],
      loss: (b, [x, w, scale]) => {
        const layer = (h: Node): Node => o.mul(b, o.tanh(b, o.matmul(b, h, w!)), scale!);
        return square(b, layer(layer(x!)));
      },
    },
  };
  test.each(Object.entries(cases))("%s", async (_, each) => {
    expectSame(await tensorsOf(each, 4, 1), await nested(each, 4, 1), 1e-11);
  });

  test.each([
    ["float64", 1e-11],
    ["float32", 1e-4],
  ] as const)("ONNX Runtime agrees with the oracle, %s", { timeout: 60_000 }, async (precision, bound) => {
    const engine = new OrtNodeEngine({ precision, threads: 1 });
    await fc.assert(
      fc.asyncProperty(programs, partitions, fc.nat(1000), async (program, groups, seed) => {
        const each = {
          inputs: parameters,
          groups,
          loss: (b: Builder, x: readonly Node[]) => programLoss(b, x, program),
        };
        expectSame(await tensorsOf(each, 3, seed, engine), await tensorsOf(each, 3, seed), bound);
      }),
      { numRuns: 10, seed: 20260202 },
    );
    await engine.dispose();
  });

  test("an order whose graph would be too large is refused while it is made", () => {
    const b = new GraphBuilder();
    const x = o.input(b, "x", []);
    const seed = { parameter: x, direction: o.scalar(b, 1), group: 0 };
    expect(() => deriveTensors(b, o.erf(b, o.tanh(b, x)), [seed], 40)).toThrow(
      /order: its graph needs more than \d+ op/,
    );
  });
});

describe("multi-indices", () => {
  test("are as many as multisets", () => {
    expect(multiIndices([0, 1, 2], 2)).toEqual([
      [0, 0],
      [0, 1],
      [0, 2],
      [1, 1],
      [1, 2],
      [2, 2],
    ]);
    expect(multiIndices([0, 1, 2, 3], 4)).toHaveLength(35);
  });

  test("the chain rule has as many products as there are ways to partition its places (Bell's numbers)", () => {
    for (const [index, bell] of [
      [[0], 1],
      [[0, 0], 2],
      [[0, 1, 2], 5],
      [[0, 0, 1, 1], 15],
      [[0, 1, 1, 2, 2], 52],
    ] as const)
      expect(chainRule(index).reduce((sum, { count }) => sum + count, 0)).toBe(bell);
    const [third] = chainRule([0, 0, 0]).filter(({ factors }) => factors.length === 2);
    expect(third).toEqual({ factors: [[0, 0], [0]], count: 3 });
  });

  test("the number of products is known ahead", () => {
    for (const [groups, order] of [
      [1, 6],
      [2, 4],
      [3, 3],
      [4, 4],
    ] as const) {
      const all = multiIndices([...Array(groups).keys()], order).flatMap((index) => chainRule(index));
      expect(productCount(groups, order)).toBe(all.length);
    }
  });
});
