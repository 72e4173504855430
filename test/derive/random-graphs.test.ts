import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { summarize } from "../../src/derive/index.ts";
import { type Engine, ReferenceEngine } from "../../src/engine/index.ts";
import { OrtNodeEngine } from "../../src/engine/ort-node.ts";
import { BATCH, GraphBuilder } from "../../src/graph/index.ts";
import * as o from "../../src/ops/index.ts";
import type { NDArray } from "../../src/util/ndarray.ts";
import { Random } from "../../src/util/random.ts";
import { checkGrads, type Partition } from "../support/check-grads.ts";
import { assertClose } from "../support/close.ts";
import { drawInputs, inputName, makeInputs } from "../support/inputs.ts";
import { type Instruction, parameters, programLoss, programs } from "../support/random-graphs.ts";
import { type Arrays, evaluate, numbers } from "../support/run.ts";
import { type DenseSummary, unpack } from "../support/summary.ts";

/** The summary of a random program at a random point; the direction of parameter i is multiplied by `scales[i]`. */
async function summaryOf(
  program: readonly Instruction[],
  partition: Partition,
  seed: number,
  scales: readonly number[] = partition.map(() => 1),
  engine: Engine = new ReferenceEngine(),
): Promise<DenseSummary> {
  const b = new GraphBuilder();
  const nodes = makeInputs(b, parameters);
  const random = new Random(seed);
  const values = drawInputs(parameters, random);
  const directions = drawInputs(parameters, random);
  const seeds = nodes.map((parameter, i) => ({
    parameter,
    direction: o.input(b, `u${i}`, parameter.shape),
    group: partition[i]!,
  }));
  const { packed, terms } = summarize(b, programLoss(b, nodes, program), seeds);
  const feeds: Record<string, NDArray> = { ...values };
  parameters.forEach((_, i) => {
    const { shape, data } = directions[inputName(i)]!;
    feeds[`u${i}`] = { shape, data: Float64Array.from(data as Float64Array, (x) => scales[i]! * x) };
  });
  const samples = o.input(b, "samples", [BATCH]);
  const found = await evaluate({ packed, samples }, withSamples(feeds), engine);
  return unpack(terms, numbers(found.packed), Math.max(...partition) + 1);
}

function withSamples(feeds: Arrays): Arrays {
  return { ...feeds, samples: { shape: [2], data: new Float64Array(2) } };
}

const finest: Partition = parameters.map((_, i) => i);
const partitions = fc.constantFrom<Partition>([0, 0, 0, 0, 0], [0, 1, 0, 1, 2], [2, 0, 1, 1, 2], [1, 1, 0, 2, 0]);
const seeds = fc.nat(1000);

/** Sums of the same products in another order: some hundred roundings. */
const ROUNDING = { relative: 1e-12, absolute: 1e-12 };

describe("random programs", () => {
  test("summaries agree with finite differences", async () => {
    await fc.assert(
      fc.asyncProperty(programs, seeds, async (program, seed) => {
        const loss = (b: Parameters<typeof programLoss>[0], inputs: Parameters<typeof programLoss>[1]) =>
          programLoss(b, inputs, program);
        await checkGrads(loss, { inputs: parameters, isLoss: true, seed });
      }),
      { numRuns: 60, seed: 20260101 },
    );
  });

  test("merging groups adds up g and the blocks of H", async () => {
    await fc.assert(
      fc.asyncProperty(programs, partitions, seeds, async (program, partition, seed) => {
        const [fine, merged] = [await summaryOf(program, finest, seed), await summaryOf(program, partition, seed)];
        const S = merged.g.length;
        const [g, H] = [new Float64Array(S), new Float64Array(S * S)];
        partition.forEach((s, i) => {
          g[s]! += fine.g[i]!;
          partition.forEach((t, j) => {
            H[s * S + t]! += fine.H[i * partition.length + j]!;
          });
        });
        assertClose(merged.g, g, ROUNDING, "g");
        assertClose(merged.H, H, ROUNDING, "H");
      }),
      { numRuns: 60, seed: 20260102 },
    );
  });

  test("H is symmetric, and scaling a group's direction scales its rows once, its order3 three times", async () => {
    const alphas = fc.tuple(...[0, 1, 2].map(() => fc.constantFrom(-2, 0.5, 3, 1, -1, 0)));
    await fc.assert(
      fc.asyncProperty(programs, partitions, seeds, alphas, async (program, partition, seed, alpha) => {
        const plain = await summaryOf(program, partition, seed);
        const scales = partition.map((group) => alpha[group]!);
        const scaled = await summaryOf(program, partition, seed, scales);
        const S = plain.g.length;
        assertClose(
          plain.H,
          plain.H.map((_, k) => plain.H[(k % S) * S + Math.floor(k / S)]!),
          ROUNDING,
          "Hᵀ",
        );
        assertClose(
          scaled.g,
          plain.g.map((x, s) => alpha[s]! * x),
          ROUNDING,
          "g",
        );
        assertClose(
          scaled.H,
          plain.H.map((x, k) => alpha[Math.floor(k / S)]! * alpha[k % S]! * x),
          ROUNDING,
          "H",
        );
        assertClose(
          scaled.order3,
          plain.order3.map((x, s) => alpha[s]! ** 3 * x),
          ROUNDING,
          "order3",
        );
      }),
      { numRuns: 60, seed: 20260103 },
    );
  });

  // Some hundred operations deep, with cancellation: a thousand roundings of the largest entry.
  const accuracy = { float64: { relative: 1e-12, absolute: 1e-12 }, float32: { relative: 2e-4, absolute: 2e-4 } };
  test.each(["float64", "float32"] as const)("ONNX Runtime agrees with the oracle, %s", async (precision) => {
    const engine = new OrtNodeEngine({ precision, threads: 1 });
    await fc.assert(
      fc.asyncProperty(programs, partitions, seeds, async (program, partition, seed) => {
        const expected = await summaryOf(program, partition, seed);
        const found = await summaryOf(program, partition, seed, undefined, engine);
        for (const key of ["g", "H", "order3", "entry", "exit"] as const)
          assertClose(found[key], expected[key], accuracy[precision], key);
        expect(engine.sessions.live).toBe(0);
      }),
      { numRuns: 20, seed: 20260104 },
    );
  });

  test("cover the primitives that a smooth program can have", () => {
    const seen = new Set<string>();
    for (const program of fc.sample(programs, { numRuns: 200, seed: 1 })) {
      const b = new GraphBuilder();
      const pending = [programLoss(b, makeInputs(b, parameters), program)];
      for (let node = pending.pop(); node; node = pending.pop()) {
        seen.add(node.op.name);
        pending.push(...node.inputs);
      }
    }
    const kinks = [
      "relu",
      "minZero",
      "elu",
      "abs",
      "max",
      "argmax",
      "sign",
      "equal",
      "cast",
      "stopGradient",
      "maxPool",
      "maxPoolIndex",
    ];
    const inDerivativesOnly = ["scatterAdd", "indexAdd", "convInput", "convWeight"];
    const expected = Object.keys(o.primitives).filter((name) => ![...kinks, ...inDerivativesOnly].includes(name));
    expect([...expected].filter((name) => !seen.has(name))).toEqual([]);
  });
});
