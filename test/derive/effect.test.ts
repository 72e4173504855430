import { afterAll, describe, expect, test } from "vitest";
import { summarize } from "../../src/derive/index.ts";
import { BATCH, type Builder, GraphBuilder, type Node } from "../../src/graph/index.ts";
import * as o from "../../src/ops/index.ts";
import type { NDArray } from "../../src/util/ndarray.ts";
import { Random } from "../../src/util/random.ts";
import { engines } from "../support/engines.ts";
import { drawInput, floats, type InputSpec, positive } from "../support/inputs.ts";
import { evaluate, numbers, whole } from "../support/run.ts";
import { type DenseSummary, unpack } from "../support/summary.ts";

const B = BATCH;

/** A network with groups that have no effect on its loss, by name. */
interface EffectCase {
  readonly parameters: Readonly<Record<string, InputSpec>>;
  readonly without: readonly string[];
  readonly loss: (b: Builder, p: Readonly<Record<string, Node>>, x: Node, y: Node) => Node;
}

function logSoftmax(b: Builder, x: Node): Node {
  const axis = x.shape.length - 1;
  const shifted = o.sub(b, x, o.stopGradient(b, o.max(b, x, axis)));
  return o.sub(b, shifted, o.log(b, o.sumKeep(b, o.exp(b, shifted), [axis])));
}

function nll(b: Builder, scores: Node, y: Node): Node {
  return o.scale(b, o.sum(b, o.gather(b, logSoftmax(b, scores), o.unsqueeze(b, y, 1), 1)), -1 / 5);
}

const centred = (b: Builder, x: Node, axis: number, count: number): Node =>
  o.sub(b, x, o.scale(b, o.sumKeep(b, x, [axis]), 1 / count));

/** Batch or layer norm: the mean taken off, then divided by the deviation. */
function normalized(b: Builder, x: Node, axis: number, count: number): Node {
  const c = centred(b, x, axis, count);
  const variance = o.scale(b, o.sumKeep(b, o.mul(b, c, c), [axis]), 1 / count);
  return o.mul(b, c, o.reciprocal(b, o.sqrt(b, o.shift(b, variance, 1e-5))));
}

/** Samples in every case. */
const SAMPLES = 5;
const weight = floats([3, 3]);
const bias = floats([3]);

const cases: Readonly<Record<string, EffectCase>> = {
  "a bias before batch norm": {
    parameters: { weight, bias, gain: floats([3], positive), after: bias },
    without: ["bias"],
    loss: (b, p, x, y) => {
      const h = o.add(b, o.matmul(b, x, p.weight!), p.bias!);
      return nll(b, o.add(b, o.mul(b, normalized(b, h, 0, SAMPLES), p.gain!), p.after!), y);
    },
  },
  "a bias that is scaled and reshaped on its way to batch norm": {
    parameters: { weight, bias },
    without: ["bias"],
    loss: (b, p, x, y) => {
      const row = o.scale(b, o.reshape(b, p.bias!, [1, 3]), 0.5);
      return nll(b, normalized(b, o.add(b, o.matmul(b, x, p.weight!), row), 0, SAMPLES), y);
    },
  },
  "a scalar added before layer norm": {
    parameters: { weight, shift: floats([]), bias },
    without: ["shift"],
    loss: (b, p, x, y) => {
      const h = o.add(b, o.add(b, o.matmul(b, x, p.weight!), p.shift!), p.bias!);
      return nll(b, o.tanh(b, normalized(b, h, 1, 3)), y);
    },
  },
  "a shift that softmax shares": {
    parameters: { weight, shift: floats([]), bias },
    without: ["shift"],
    loss: (b, p, x, y) => nll(b, o.add(b, o.add(b, o.matmul(b, x, p.weight!), p.bias!), p.shift!), y),
  },
  "the bias of attention's keys": {
    parameters: { query: weight, queryBias: bias, key: weight, keyBias: bias, value: weight },
    without: ["keyBias"],
    loss: (b, p, x) => {
      const queries = o.add(b, o.matmul(b, x, p.query!), p.queryBias!);
      const keys = o.add(b, o.matmul(b, x, p.key!), p.keyBias!);
      const weights = o.exp(b, logSoftmax(b, o.matmul(b, queries, o.transposeLast(b, keys))));
      const z = o.matmul(b, weights, o.matmul(b, x, p.value!));
      return o.sum(b, o.mul(b, z, z));
    },
  },
  "dead units": {
    parameters: { weight, dead: weight, out: weight },
    without: ["dead"],
    loss: (b, p, x, y) => {
      const dead = o.relu(b, o.shift(b, o.matmul(b, o.tanh(b, x), o.tanh(b, p.dead!)), -9));
      return nll(b, o.matmul(b, o.add(b, o.tanh(b, o.matmul(b, x, p.weight!)), dead), p.out!), y);
    },
  },
  "a group that the loss does not read": {
    parameters: { weight, unread: bias },
    without: ["unread"],
    loss: (b, p, x, y) => nll(b, o.matmul(b, x, p.weight!), y),
  },
  "differences of all pairs": {
    parameters: { weight, bias },
    without: ["bias"],
    loss: (b, p, x) => {
      const z = o.add(b, o.matmul(b, x, p.weight!), p.bias!);
      const d = o.sub(b, o.unsqueeze(b, z, 0), o.unsqueeze(b, z, 1));
      return o.sum(b, o.sqrt(b, o.shift(b, o.mul(b, d, d), 1)));
    },
  },
  "every group counts": {
    parameters: { weight, bias, out: weight, scale: floats([]) },
    without: [],
    loss: (b, p, x, y) => {
      const h = o.tanh(b, o.add(b, o.matmul(b, x, p.weight!), p.bias!));
      return nll(b, o.mul(b, o.matmul(b, h, p.out!), p.scale!), y);
    },
  },
  "parameters that are the loss": {
    parameters: { scalar: floats([]), other: floats([]) },
    without: [],
    loss: (b, p) => o.add(b, p.scalar!, p.other!),
  },
  "a sum of one parameter": { parameters: { bias }, without: [], loss: (b, p) => o.sum(b, p.bias!) },
};

async function summaryOf(item: EffectCase, engine: Parameters<typeof evaluate>[2]): Promise<DenseSummary> {
  const b = new GraphBuilder();
  const random = new Random(3);
  const [x, y] = [o.input(b, "x", [B, 3]), o.input(b, "y", [B], "int")];
  const feeds: Record<string, NDArray> = {
    x: drawInput(floats([B, 3]), random, SAMPLES),
    y: whole([0, 2, 1, 1, 0]),
  };
  const nodes: Record<string, Node> = {};
  const seeds = Object.entries(item.parameters).map(([name, spec], group) => {
    nodes[name] = o.input(b, name, spec.shape);
    feeds[name] = drawInput(spec, random);
    feeds[`u:${name}`] = drawInput(floats(spec.shape), random);
    return { parameter: nodes[name], direction: o.input(b, `u:${name}`, spec.shape), group };
  });
  const { packed, terms } = summarize(b, item.loss(b, nodes, x, y), seeds);
  return unpack(terms, numbers((await evaluate({ packed }, feeds, engine)).packed), seeds.length);
}

/** Rounding of a real number: 2⁻⁵³ or 2⁻²⁴. */
const ROUNDING = { float64: 2 ** -53, float32: 2 ** -24 };

describe.each(engines)("entry and exit terms tell which groups have no effect, $label", ({ make }) => {
  const engine = make();
  afterAll(() => engine.dispose());

  test.each(Object.entries(cases))("%s", async (_, item) => {
    const { entry, exit } = await summaryOf(item, engine);
    Object.keys(item.parameters).forEach((name, i) => {
      const [into, out] = [entry[i]!, exit[i]!];
      // What enters is of the size of the numbers, near 1, or nothing at all: never a sum that has cancelled already.
      if (into !== 0) expect(into, `${name}: ${into} enters`).toBeGreaterThan(1e-3);
      // A thousand roundings of what went in may come out where there is no effect: sums of a few dozen terms, twice
      // nested. Where there is one, far more does. (What enters at the loss itself has no entry.)
      const noise = 1000 * ROUNDING[engine.precision] * into;
      if (item.without.includes(name)) expect(out, `${name}: ${out} of ${into}`).toBeLessThanOrEqual(noise);
      else expect(out, `${name}: ${out} of ${into}`).toBeGreaterThan(100 * noise);
    });
  });
});
