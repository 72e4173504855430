import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BATCH_SHARE, PART_SIZE, type SplitLoss, splitAsGiven, splitBatch } from "../../src/derive/index.ts";
import { BATCH, type Builder, GraphBuilder, type Node } from "../../src/graph/index.ts";
import * as o from "../../src/ops/index.ts";
import type { NDArray } from "../../src/util/ndarray.ts";
import { Random } from "../../src/util/random.ts";
import { assertClose } from "../support/close.ts";
import { below, drawInput, floats, type InputSpec, ints } from "../support/inputs.ts";
import { programLoss, programs } from "../support/random-graphs.ts";
import { type Arrays, evaluate, numbers, real } from "../support/run.ts";

const B = BATCH;
const SAMPLES = 5;
const PARTS = [
  [0, 2],
  [2, 5],
] as const;

/** Data have the batch as their first axis; parameters do not. */
const inputs: Readonly<Record<string, InputSpec>> = {
  x: floats([B, 2]),
  y: ints([B], below(2)),
  weights: floats([B]),
  p: floats([2, 2]),
  q: floats([2]),
  s: floats([]),
};
const DATA = ["x", "y", "weights"];

type Loss = (b: Builder, i: Readonly<Record<string, Node>>) => Node;

function setUp<S>(loss: Loss, divide: (b: Builder, loss: Node, parameters: readonly Node[]) => S) {
  const b = new GraphBuilder();
  const random = new Random(5);
  const [nodes, feeds]: [Record<string, Node>, Record<string, NDArray>] = [{}, {}];
  for (const [name, spec] of Object.entries(inputs)) {
    nodes[name] = o.input(b, name, spec.shape, spec.dtype);
    feeds[name] = drawInput(spec, random, SAMPLES);
  }
  feeds[o.BATCH_SIZE] = real([SAMPLES], []);
  const whole = loss(b, nodes);
  const parameters = Object.keys(nodes).filter((name) => !DATA.includes(name));
  const split = divide(
    b,
    whole,
    parameters.map((name) => nodes[name]!),
  );
  return { b, nodes, whole, feeds: feeds as Arrays, split };
}

/** Samples `start` to `end` of the data; parameters as they are. */
function partOf(feeds: Arrays, start: number, end: number): Record<string, NDArray> {
  const cut = ([name, array]: [string, NDArray]): [string, NDArray] => {
    if (!DATA.includes(name)) return [name, array];
    const step = array.data.length / SAMPLES;
    return [name, { shape: [end - start, ...array.shape.slice(1)], data: array.data.slice(start * step, end * step) }];
  };
  return {
    ...Object.fromEntries(Object.entries(feeds).map(cut)),
    [BATCH_SHARE]: real([(end - start) / SAMPLES], []),
    [PART_SIZE]: real([end - start], []),
  };
}

/** The loss of the whole batch, and the sum over its parts. */
async function bothWays(loss: Loss): Promise<{ whole: number; sum: number } | { reason: string }> {
  const { nodes, whole, feeds, split } = setUp(loss, splitBatch);
  if (!split.splits) return split;
  const sum = (await sumsOf(split, feeds, nodes.x!))[1];
  return { whole: numbers((await evaluate({ whole, samples: nodes.x! }, feeds)).whole)[0]!, sum };
}

/** What a loss in one part, the whole, and in two adds up to. */
async function sumsOf({ loss, totals }: SplitLoss, feeds: Arrays, samples: Node): Promise<[number, number]> {
  const named = Object.fromEntries(totals.map(({ name, node }) => [name, node]));
  const ahead = await evaluate({ samples, ...named }, feeds);
  const part = async (start: number, end: number): Promise<number> =>
    numbers((await evaluate({ part: loss, samples }, { ...ahead, ...partOf(feeds, start, end) })).part)[0]!;
  const [[a, b], [c, d]] = PARTS;
  return [await part(0, SAMPLES), (await part(a, b)) + (await part(c, d))];
}

const mean = (b: Builder, perSample: Node): Node => o.mul(b, o.sum(b, perSample), o.reciprocal(b, o.batchSize(b)));
const scores: Loss = (b, { x, p, q }) => o.add(b, o.matmul(b, o.tanh(b, x!), p!), q!);
const squares = (b: Builder, x: Node): Node => o.sum(b, o.mul(b, x, x));

const splitting: Readonly<Record<string, Loss>> = {
  "a mean over samples": (b, i) => mean(b, o.exp(b, scores(b, i))),
  "a sum over samples": (b, i) => squares(b, scores(b, i)),
  "a penalty on the weights": (b, i) => o.add(b, mean(b, scores(b, i)), squares(b, i.p!)),
  "a penalty alone": (b, i) => squares(b, i.p!),
  "weights of samples, by their sum": (b, i) =>
    o.mul(b, o.sum(b, o.mul(b, o.sum(b, scores(b, i), [1]), i.weights!)), o.reciprocal(b, o.sum(b, i.weights!))),
  "labels that count": (b, i) => {
    const counts = o.cast(b, o.equal(b, i.y!, o.scalar(b, 1, "int")), "float");
    return o.mul(b, o.sum(b, o.mul(b, o.sum(b, scores(b, i), [1]), counts)), o.reciprocal(b, o.sum(b, counts)));
  },
  "inputs centred over the batch": (b, i) => {
    const centre = o.mul(b, o.sumKeep(b, i.x!, [0]), o.reciprocal(b, o.batchSize(b)));
    return squares(b, o.matmul(b, o.sub(b, i.x!, centre), i.p!));
  },
  "a sum over samples under another shape": (b, i) =>
    o.sum(b, o.flatten(b, o.matmul(b, o.transposeLast(b, i.x!), scores(b, i)), 0)),
  "rows of a table": (b, i) => squares(b, o.mul(b, o.indexSelect(b, i.p!, i.y!, 0), i.q!)),
  "samples added up by their label": (b, i) => o.sum(b, o.mul(b, o.indexAdd(b, scores(b, i), i.y!, 0, 2), i.p!)),
  "a row that all labels name together": (b, i) =>
    squares(b, o.indexSelect(b, o.concat(b, [i.p!, o.scale(b, i.p!, 2), o.sin(b, i.p!)], 0), o.sum(b, i.y!), 0)),
  "one entry that all labels name together": (b, i) =>
    o.sum(b, o.indexSelect(b, o.concat(b, [i.p!, o.scale(b, i.p!, 2), o.sin(b, i.p!)], 0), o.sum(b, i.y!), 0)),
  "samples counted by a product": (b, i) => o.sum(b, o.matmul(b, o.transposeLast(b, i.x!), scores(b, i))),
};

const coupled: Readonly<Record<string, Loss>> = {
  "the square of a mean": (b, i) => o.mul(b, o.sum(b, scores(b, i)), o.sum(b, scores(b, i))),
  "batch norm": (b, i) => {
    const z = scores(b, i);
    return squares(b, o.sub(b, z, o.scale(b, o.sumKeep(b, z, [0]), 1 / SAMPLES)));
  },
  "all pairs": (b, i) => squares(b, o.sub(b, o.unsqueeze(b, scores(b, i), 0), o.unsqueeze(b, scores(b, i), 1))),
  "products of samples": (b, i) => o.sum(b, o.sin(b, o.matmul(b, scores(b, i), o.transposeLast(b, scores(b, i))))),
  "the largest of the batch": (b, i) => o.sum(b, o.max(b, scores(b, i), 0)),
  "sums over the samples so far": (b, i) => squares(b, o.cumsum(b, scores(b, i), 0)),
  "squares of sums by label": (b, i) => squares(b, o.indexAdd(b, scores(b, i), i.y!, 0, 2)),
  "an exponential of the sum": (b, i) => o.exp(b, o.sum(b, scores(b, i))),
};

describe("splitBatch", () => {
  test.each(Object.entries(splitting))("splits %s", async (_, loss) => {
    const found = await bothWays(loss);
    if ("reason" in found) throw new Error(found.reason);
    // The same terms, added up in parts.
    assertClose([found.sum], [found.whole], { relative: 1e-13 }, "sum of the parts");
  });

  test.each(Object.entries(coupled))("refuses %s", async (_, loss) => {
    expect(await bothWays(loss)).toHaveProperty("reason");
  });

  test("is right about random programs whenever it splits one", async () => {
    let splits = 0;
    await fc.assert(
      fc.asyncProperty(programs, async (program) => {
        const found = await bothWays((b, i) => programLoss(b, [i.x!, i.p!, i.q!, i.s!], program));
        if ("reason" in found) return;
        splits++;
        assertClose([found.sum], [found.whole], { relative: 1e-12, absolute: 1e-12 }, "sum of the parts");
      }),
      { numRuns: 400, seed: 20260105 },
    );
    expect(splits).toBeGreaterThan(100);
  });
});

/** Batch norm without its variance, so that the samples of a part are coupled. */
const centred = (b: Builder, z: Node): Node =>
  o.sub(b, z, o.mul(b, o.sumKeep(b, z, [0]), o.reciprocal(b, o.batchSize(b))));
const perSample: Loss = (b, i) => o.sum(b, o.sin(b, centred(b, scores(b, i))), [1]);
const divided = (b: Builder, sum: Node, by: Node): Node => o.mul(b, sum, o.reciprocal(b, by));

describe("splitAsGiven", () => {
  /** A loss, and how those of the parts make it: sums of numbers, by a weight of each part. */
  const cases: Readonly<Record<string, { loss: Loss; part: Loss; weight: Loss; extra?: Loss }>> = {
    "a mean over samples that are coupled": {
      loss: (b, i) => mean(b, perSample(b, i)),
      part: (b, i) => mean(b, perSample(b, i)),
      weight: (b) => divided(b, o.batchSize(b), o.scalar(b, SAMPLES)),
    },
    "weights of samples by their sum over all parts": {
      loss: (b, i) => divided(b, o.sum(b, o.mul(b, perSample(b, i), i.weights!)), o.sum(b, i.weights!)),
      part: (b, i) => divided(b, o.sum(b, o.mul(b, perSample(b, i), i.weights!)), o.sum(b, i.weights!)),
      weight: (b, i) => o.sum(b, i.weights!),
    },
    "a penalty beside it, once": {
      loss: (b, i) => o.add(b, mean(b, perSample(b, i)), squares(b, i.p!)),
      part: (b, i) => mean(b, perSample(b, i)),
      weight: (b) => divided(b, o.batchSize(b), o.scalar(b, SAMPLES)),
      extra: (b, i) => squares(b, i.p!),
    },
    "what is no sum: the mean of the parts, by samples": {
      loss: (b, i) => o.exp(b, mean(b, perSample(b, i))),
      part: (b, i) => o.exp(b, mean(b, perSample(b, i))),
      weight: (b) => divided(b, o.batchSize(b), o.scalar(b, SAMPLES)),
    },
  };

  test.each(Object.entries(cases))("%s", async (_, { loss, part, weight, extra }) => {
    const { b, nodes, whole, feeds, split } = setUp(loss, splitAsGiven);
    const samples = nodes.x!;
    expect(split.coupled).toMatch(/mixes the samples/);
    const [one, two] = await sumsOf(split, feeds, samples);
    const alone = numbers((await evaluate({ whole, samples }, feeds)).whole);
    assertClose([one], alone, { relative: 1e-13 }, "one part");
    const outputs = {
      part: part(b, nodes),
      weight: weight(b, nodes),
      samples,
      extra: extra?.(b, nodes) ?? o.scalar(b, 0),
    };
    const found = await Promise.all(
      PARTS.map(([start, end]) =>
        evaluate(outputs, { ...partOf(feeds, start, end), [o.BATCH_SIZE]: real([end - start], []) }),
      ),
    );
    const [parts, weights] = (["part", "weight"] as const).map((name) => found.map((each) => numbers(each[name])[0]!));
    const total = weights!.reduce((sum, value) => sum + value);
    const expected = parts!.reduce(
      (sum, value, k) => sum + (value * weights![k]!) / total,
      numbers(found[0]!.extra)[0]!,
    );
    assertClose([two], [expected], { relative: 1e-13 }, "two parts");
    expect(Math.abs(two - alone[0]!)).toBeGreaterThan(1e-6);
  });

  test.each(Object.entries(splitting))("splits %s as splitBatch does", (_, loss) => {
    const { b, whole, nodes, split } = setUp(loss, splitAsGiven);
    const parameters = [nodes.p!, nodes.q!, nodes.s!];
    expect(split).toEqual(splitBatch(b, whole, parameters));
  });

  test.each(Object.entries(coupled))("in one part, is the whole: %s", async (_, loss) => {
    const { nodes, whole, feeds, split } = setUp(loss, splitAsGiven);
    const [one] = await sumsOf(split, feeds, nodes.x!);
    const { all } = await evaluate({ all: whole, samples: nodes.x! }, feeds);
    assertClose([one], numbers(all), { relative: 1e-13 }, "one part");
  });

  test("in one part, random programs are the whole", async () => {
    await fc.assert(
      fc.asyncProperty(programs, async (program) => {
        const { nodes, whole, feeds, split } = setUp(
          (b, i) => programLoss(b, [i.x!, i.p!, i.q!, i.s!], program),
          splitAsGiven,
        );
        const [one] = await sumsOf(split, feeds, nodes.x!);
        const { all } = await evaluate({ all: whole, samples: nodes.x! }, feeds);
        assertClose([one], numbers(all), { relative: 1e-12, absolute: 1e-12 }, "one part");
      }),
      { numRuns: 200, seed: 20260301 },
    );
  });
});
