import { describe, expect, test } from "vitest";
import { gradients, summarize } from "../../src/derive/index.ts";
import { BATCH, type Builder, GraphBuilder, type Node } from "../../src/graph/index.ts";
import * as o from "../../src/ops/index.ts";
import { checkGrads, type GraphFunction } from "../support/check-grads.ts";
import { apart, below, floats, type InputSpec, ints, nonzero } from "../support/inputs.ts";
import { evaluate, numbers, real } from "../support/run.ts";

const B = BATCH;

/** A loss: how it is made of its inputs. The real ones among them are all differentiated, in random partitions. */
interface LossCase {
  readonly inputs: readonly InputSpec[];
  readonly loss: (b: Builder, ...inputs: Node[]) => Node;
}

const squares = (b: Builder, x: Node): Node => o.sum(b, o.mul(b, x, x));

function logSoftmax(b: Builder, x: Node): Node {
  const axis = x.shape.length - 1;
  const shifted = o.sub(b, x, o.stopGradient(b, o.max(b, x, axis)));
  return o.sub(b, shifted, o.log(b, o.sumKeep(b, o.exp(b, shifted), [axis])));
}

function softmax(b: Builder, x: Node): Node {
  return o.exp(b, logSoftmax(b, x));
}

/** (x − mean) / sqrt(variance + 0.1) over some axes. */
function normalize(b: Builder, x: Node, axes: readonly number[], count: number): Node {
  const mean = (y: Node): Node => o.scale(b, o.sumKeep(b, y, axes), 1 / count);
  const centred = o.sub(b, x, mean(x));
  const deviation = o.sqrt(b, o.shift(b, mean(o.mul(b, centred, centred)), 0.1));
  return o.mul(b, centred, o.reciprocal(b, deviation));
}

function linear(b: Builder, x: Node, weight: Node, bias: Node): Node {
  return o.add(b, o.matmul(b, x, o.transposeLast(b, weight)), bias);
}

function nll(b: Builder, scores: Node, y: Node): Node {
  return o.scale(b, o.sum(b, o.gather(b, logSoftmax(b, scores), o.unsqueeze(b, y, 1), 1)), -0.5);
}

const cases: Readonly<Record<string, LossCase>> = {
  "perceptron with log-softmax": {
    inputs: [floats([B, 2]), floats([3, 2]), floats([3]), floats([3, 3]), floats([3]), ints([B], below(3))],
    loss: (b, x, w, bias, v, c, y) => nll(b, linear(b, o.tanh(b, linear(b, x!, w!, bias!)), v!, c!), y!),
  },
  "weights shared between layers": {
    inputs: [floats([B, 3]), floats([3, 3]), floats([3])],
    loss: (b, x, w, bias) => {
      const layer = (h: Node): Node => o.tanh(b, linear(b, h, w!, bias!));
      return squares(b, layer(layer(layer(x!))));
    },
  },
  "x · x": { inputs: [floats([3])], loss: (b, x) => o.sum(b, o.sin(b, o.mul(b, x!, x!))) },
  "W and Wᵀ": {
    inputs: [floats([B, 3]), floats([2, 3])],
    loss: (b, x, w) => squares(b, o.matmul(b, o.tanh(b, o.matmul(b, x!, o.transposeLast(b, w!))), w!)),
  },
  "W · W": {
    inputs: [floats([2, 2])],
    loss: (b, w) => o.sum(b, o.exp(b, o.matmul(b, o.matmul(b, w!, w!), o.transposeLast(b, w!)))),
  },
  "one scale in every layer": {
    inputs: [floats([B, 2]), floats([]), floats([2, 2]), floats([2, 2])],
    loss: (b, x, scale, w, v) => {
      const layer = (h: Node, m: Node): Node => o.mul(b, o.sigmoid(b, o.matmul(b, h, m)), scale!);
      return squares(b, layer(layer(x!, w!), v!));
    },
  },
  "self-attention": {
    inputs: [floats([B, 3, 2]), floats([2, 2]), floats([2, 2]), floats([2, 2])],
    loss: (b, x, q, k, v) => {
      const [queries, keys, values] = [q!, k!, v!].map((m) => o.matmul(b, x!, m)) as [Node, Node, Node];
      return squares(b, o.matmul(b, softmax(b, o.matmul(b, queries, o.transposeLast(b, keys))), values));
    },
  },
  "attention in heads": {
    inputs: [floats([B, 2, 4]), floats([4, 4]), floats([2, 1, 1])],
    loss: (b, x, w, temperature) => {
      const heads = o.permute(b, o.reshape(b, o.matmul(b, x!, w!), [B, 2, 2, 2]), [0, 2, 1, 3]);
      const scores = o.mul(b, o.matmul(b, heads, o.transposeLast(b, heads)), temperature!);
      return squares(b, o.matmul(b, softmax(b, scores), heads));
    },
  },
  "layer norm": {
    inputs: [floats([B, 3]), floats([3, 3]), floats([3]), floats([3]), floats([3])],
    loss: (b, x, w, bias, gain, shift) => {
      const h = o.add(b, o.mul(b, normalize(b, linear(b, x!, w!, bias!), [1], 3), gain!), shift!);
      return o.sum(b, o.tanh(b, h));
    },
  },
  "batch norm": {
    inputs: [floats([B, 2]), floats([2, 2]), floats([2]), floats([2])],
    loss: (b, x, w, bias, gain) => o.sum(b, o.exp(b, o.mul(b, normalize(b, linear(b, x!, w!, bias!), [0], 2), gain!))),
  },
  "all pairs of a batch": {
    inputs: [floats([B, 3]), floats([2, 3])],
    loss: (b, x, w) => {
      const z = o.tanh(b, o.matmul(b, x!, o.transposeLast(b, w!)));
      const differences = o.sub(b, o.unsqueeze(b, z, 0), o.unsqueeze(b, z, 1));
      const distances = o.sqrt(b, o.shift(b, o.sum(b, o.mul(b, differences, differences), [2]), 0.5));
      return o.sum(b, o.mul(b, distances, o.matmul(b, z, o.transposeLast(b, z))));
    },
  },
  "broadcasting in every position": {
    inputs: [floats([2, B, 3]), floats([2, 1, 1]), floats([1, B, 1]), floats([3]), floats([]), floats([1])],
    loss: (b, x, ...others) =>
      o.sum(
        b,
        o.sin(
          b,
          others.reduce((h, p, i) => (i % 2 ? o.add : o.mul)(b, h, p), x!),
        ),
      ),
  },
  "an embedding, looked up twice": {
    inputs: [floats([4, 2]), ints([3, 2], below(4)), floats([2, 2])],
    loss: (b, table, index, w) => squares(b, o.sigmoid(b, o.matmul(b, o.gather(b, table!, index!, 0), w!))),
  },
  "a maximum over channels": {
    inputs: [floats([B, 4], apart), floats([], nonzero)],
    loss: (b, x, scale) => squares(b, o.max(b, o.mul(b, o.tanh(b, o.scale(b, x!, 0.1)), scale!), 1)),
  },
  "a maximum of maxima": {
    inputs: [floats([2, B, 2], apart)],
    loss: (b, x) => o.sum(b, o.exp(b, o.max(b, o.max(b, o.scale(b, x!, 0.3), 2), 0))),
  },
  "only part of a parameter": {
    inputs: [floats([5]), floats([2])],
    loss: (b, p, q) => o.sum(b, o.exp(b, o.mul(b, o.slice(b, p!, 0, 1, 3), o.add(b, q!, o.slice(b, p!, 0, 3, 5))))),
  },
  "parameters side by side": {
    inputs: [floats([B, 1]), floats([1, 2]), floats([1, 2])],
    loss: (b, x, p, q) => o.sum(b, o.tanh(b, o.matmul(b, x!, o.concat(b, [p!, q!, o.mul(b, p!, q!)], 1)))),
  },
  "scalars only": {
    inputs: [floats([]), floats([]), floats([])],
    loss: (b, x, y, z) => o.exp(b, o.mul(b, o.mul(b, x!, y!), o.sin(b, o.add(b, z!, x!)))),
  },
  "a linear loss": { inputs: [floats([3]), floats([B])], loss: (b, x, y) => o.add(b, o.sum(b, x!), o.sum(b, y!)) },
  "a parameter that is the loss": { inputs: [floats([]), floats([2])], loss: (_b, x) => x! },
  "a parameter that is the loss and another that is not": {
    inputs: [floats([]), floats([])],
    loss: (b, x, y) => o.add(b, x!, o.scale(b, y!, 0)),
  },
  "a group without effect": { inputs: [floats([2]), floats([3])], loss: (b, x) => squares(b, o.tanh(b, x!)) },
  "an embedded constant": {
    inputs: [floats([2, 2])],
    loss: (b, w) => squares(b, o.exp(b, o.matmul(b, o.constant(b, [1, -1, 0.5, 2], [2, 2]), w!))),
  },
  "a ratio of sums": {
    inputs: [floats([B, 2]), floats([2])],
    loss: (b, x, w) => {
      const h = o.exp(b, o.mul(b, x!, w!));
      return o.mul(b, o.sum(b, o.mul(b, h, x!)), o.reciprocal(b, o.sum(b, h)));
    },
  },
  "piecewise linear": {
    inputs: [floats([B, 2], nonzero), floats([2], nonzero)],
    loss: (b, x, w) => squares(b, o.add(b, o.relu(b, o.mul(b, x!, w!)), o.abs(b, x!))),
  },
};

describe("summaries of composite losses agree with finite differences", () => {
  test.each(Object.entries(cases))("%s", async (_, { inputs, loss }) => {
    const f: GraphFunction = (b, nodes) => loss(b, ...nodes);
    for (const seed of [1, 2]) await checkGrads(f, { inputs, isLoss: true, partitions: 3, seed });
  });
});

describe("stopGradient", () => {
  test("cuts every order off, and leaves the value", async () => {
    const b = new GraphBuilder();
    const [x, u] = [o.input(b, "x", []), o.input(b, "u", [])];
    // x³ with one factor held: as c x² with c = x.
    const loss = o.mul(b, o.stopGradient(b, x), o.mul(b, x, x));
    const { packed, terms } = summarize(b, loss, [{ parameter: x, direction: u, group: 0 }]);
    const [gradient] = gradients(b, loss, [x]);
    const found = await evaluate({ packed, gradient: gradient! }, { x: real([3], []), u: real([2], []) });
    expect(numbers(found.gradient)).toEqual([18]);
    const total = (kind: string): number =>
      terms.reduce((sum, term, i) => sum + (term.kind === kind ? numbers(found.packed)[i]! : 0), 0);
    expect(total("loss")).toBe(27);
    expect(total("g")).toBe(36);
    expect(total("H") + 2 * total("cross")).toBe(2 * 3 * 2 ** 2);
    expect(total("order3")).toBe(0);
  });
});

describe("max at ties", () => {
  test("the first maximum takes the derivative, as in PyTorch", async () => {
    const b = new GraphBuilder();
    const x = o.input(b, "x", [2, 3]);
    const [gradient] = gradients(b, squares(b, o.max(b, x, 1)), [x]);
    const found = await evaluate({ gradient: gradient! }, { x: real([1, 2, 2, 3, 3, 3], [2, 3]) });
    expect(numbers(found.gradient)).toEqual([0, 4, 0, 6, 0, 0]);
  });

  test("relu and abs have slope 0 at 0", async () => {
    const b = new GraphBuilder();
    const x = o.input(b, "x", [2]);
    const [gradient] = gradients(b, o.sum(b, o.add(b, o.relu(b, x), o.abs(b, x))), [x]);
    expect(numbers((await evaluate({ gradient: gradient! }, { x: real([0, 1]) })).gradient)).toEqual([0, 2]);
  });
});

describe("gradients", () => {
  test("of what the loss does not depend on are undefined", () => {
    const b = new GraphBuilder();
    const [x, y, z] = [o.input(b, "x", []), o.input(b, "y", []), o.input(b, "z", [])];
    const loss = o.mul(b, x, o.stopGradient(b, y));
    expect(gradients(b, loss, [x, y, z]).map((node) => node !== undefined)).toEqual([true, false, false]);
  });

  test("in values between, as well as in inputs", async () => {
    const b = new GraphBuilder();
    const x = o.input(b, "x", [2]);
    const h = o.mul(b, x, x);
    const [inner, outer] = gradients(b, squares(b, h), [h, x]);
    const found = await evaluate({ inner: inner!, outer: outer! }, { x: real([1, 2]) });
    expect(numbers(found.inner)).toEqual([2, 8]);
    expect(numbers(found.outer)).toEqual([4, 32]);
  });
});
