import { describe, expect, test } from "vitest";
import { concrete, GraphBuilder, graphOf, isBatch, type Node } from "../../src/graph/index.ts";
import type { NDArray } from "../../src/util/ndarray.ts";
import { Random } from "../../src/util/random.ts";
import { drawInput, makeInputs } from "../support/inputs.ts";
import { allCases, type Case } from "../support/primitive-cases.ts";

/** Samples of the batch that is split. */
const SAMPLES = 3;

/** How a value carries the batch: not at all, as one axis, or otherwise. */
function batchAxis({ shape }: Node): number | undefined | "several" {
  const axes = [...shape.keys()].filter((axis) => isBatch(shape[axis]!));
  if (axes.length === 0) return undefined;
  const dim = shape[axes[0]!]!;
  return axes.length > 1 || !isBatch(dim) || dim.power > 1 ? "several" : axes[0]!;
}

/** The part of an array that belongs to one sample of SAMPLES, along its batch axis. */
function sampleOf({ shape, data }: NDArray, axis: number, sample: number): NDArray {
  const outer = shape.slice(0, axis).reduce((n, d) => n * d, 1);
  const length = data.length / outer / SAMPLES;
  const part = new Float64Array(outer * length);
  for (let i = 0; i < outer; i++)
    for (let k = 0; k < length; k++) part[i * length + k] = Number(data[(i * SAMPLES + sample) * length + k]!);
  return { shape: shape.with(axis, shape[axis]! / SAMPLES), data: part };
}

function valueAt(node: Node, inputs: readonly NDArray[], batch: number): NDArray {
  const shape = concrete(node.shape, batch);
  const operands = inputs.map(({ shape: own, data }) => ({
    shape: own,
    data: Float64Array.from(data as Float64Array),
  }));
  return { shape, data: node.op.value(operands, node.attrs, shape) };
}

/** What the primitive does to a batch, found by running it sample by sample on small whole numbers: sums are exact. */
function observed(node: Node, random: Random): string {
  const axes = node.inputs.map(batchAxis);
  const axis = batchAxis(node);
  const values = node.inputs.map(({ shape, dtype }) =>
    drawInput({ shape, dtype, domain: (r, n) => Array.from({ length: n }, () => r.below(2)) }, random, SAMPLES),
  );
  const whole = valueAt(node, values, SAMPLES);
  const parts = Array.from({ length: SAMPLES }, (_, sample) => {
    const own = values.map((value, i) => (axes[i] === undefined ? value : sampleOf(value, axes[i] as number, sample)));
    return valueAt(node, own, 1);
  });
  if (axis !== undefined) {
    const kept = parts.every(({ data }, sample) => data.join() === sampleOf(whole, axis as number, sample).data.join());
    return kept ? "kept" : "coupled";
  }
  const total = Array.from(whole.data as Float64Array, (_, i) =>
    parts.reduce((sum, { data }) => sum + Number(data[i]!), 0),
  );
  return total.join() === whole.data.join() ? "summed" : "coupled";
}

/**
 * The nodes of a case that have a rule and read the batch. Values with several batch axes are left out: they are coupled,
 * whatever the rule says.
 */
function ruledNodes(primitive: string, item: Case): Node[] {
  const b = new GraphBuilder();
  const { nodes } = graphOf({ z: item.build(b, makeInputs(b, item.inputs)) });
  return nodes.filter((node) => {
    const axes = [node, ...node.inputs].map(batchAxis);
    const reads = axes.slice(1).some((axis) => axis !== undefined);
    return node.op.name === primitive && "batchRule" in node.op && reads && !axes.includes("several");
  });
}

const cases = allCases
  .filter(([primitive, item]) => ruledNodes(primitive, item).length > 0)
  .map(([primitive, item]) => [`${primitive}: ${item.name}`, primitive, item] as const);

describe("batch rules: a sample's part can be computed alone where the rule says so", () => {
  test.each(cases)("%s", (_, primitive, item) => {
    for (const node of ruledNodes(primitive, item)) {
      if (!("batchRule" in node.op)) continue;
      const rule = node.op.batchRule(node);
      // "coupled" is always safe; what matters is that the other two are true.
      const seen = [1, 2, 3].map((seed) => observed(node, new Random(seed)));
      if (rule !== "coupled") expect(new Set(seen)).toEqual(new Set([rule]));
    }
  });
});
