import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { CenteredModel, classifier, labelLoss, labelled } from "../../test/support/models.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { OrtNodeEngine } from "../engine/ort-node.ts";
import * as models from "../models/index.ts";
import { type Loss, losses, type Module } from "../nn/index.ts";
import type { Batch, FloatData, NDArray } from "../util/ndarray.ts";
import { Random } from "../util/random.ts";
import {
  computeHg,
  type Direction,
  diffN,
  type ParameterGroup,
  type Partition,
  partition,
  type Summary,
  valueAndGrad,
} from "./index.ts";

const engine = new ReferenceEngine();
const double = new OrtNodeEngine({ precision: "float64", threads: 1 });
afterAll(() => double.dispose());

/** Every number of a model in one of some groups, drawn at random: parts of most parameters in most groups. */
function scattered(model: Module, count: number, seed: number): { groups: Partition; owners: Map<string, number[]> } {
  const random = new Random(seed);
  const owners = new Map(
    model.namedParameters().map(([name, { shape }]) => {
      const size = shape.reduce((product, dim) => product * dim, 1);
      return [name, Array.from({ length: size }, () => random.below(count))] as const;
    }),
  );
  const groups = Array.from({ length: count }, (_, group) => ({
    params: model.namedParameters().flatMap(([name, { variable }]) => {
      const entries = [...owners.get(name)!.keys()].filter((entry) => owners.get(name)![entry] === group);
      return entries.length > 0 ? [{ variable, entries }] : [];
    }),
  }));
  // Each group has something: the models have many more numbers than there are groups.
  return { groups, owners: new Map(owners) };
}

/** A direction with zeros for all numbers that are in none of some groups. */
function masked(direction: Direction, owners: Map<string, number[]>, kept: readonly number[]): Direction {
  return Object.fromEntries(
    Object.entries(direction).map(([name, { shape, data }]) => [
      name,
      { shape, data: Float64Array.from(data, (value, i) => (kept.includes(owners.get(name)![i]!) ? value : 0)) },
    ]),
  );
}

/** Rounding of sums in another order, of the largest entry. */
function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, what: string, relative = 1e-10): void {
  const size = Math.max(...Array.from(expected, Math.abs));
  for (let i = 0; i < expected.length; i++)
    expect(Math.abs(actual[i]! - expected[i]!), `${what}[${i}]`).toBeLessThanOrEqual(relative * size);
}

const cases: readonly [string, (seed: number) => Module, Loss][] = [
  ["a perceptron", classifier, losses.nll],
  ["coupled samples", () => new CenteredModel(true), labelLoss],
];

describe.each(cases)("groups of entries of %s", (_what, make, loss) => {
  test("have the summary along what they have of the direction", async () => {
    const property = fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.nat(1000), async (count, seed) => {
      const model = make(seed + 1);
      const batch = labelled(5, seed);
      const { gradient } = await valueAndGrad(model, loss, batch, { engine });
      const { groups, owners } = scattered(model, count, seed);
      const found = await computeHg(model, loss, batch, { engine: double, direction: gradient, partition: groups });
      const along = (...kept: number[]): Promise<Summary> =>
        computeHg(model, loss, batch, {
          engine,
          direction: masked(gradient, owners, kept),
          partition: partition.trivial(model),
        });
      const alone = await Promise.all([...groups.keys()].map((s) => along(s)));
      expectClose(
        found.g,
        alone.map(({ g }) => g[0]!),
        "g",
      );
      expectClose(
        found.order3,
        alone.map(({ order3 }) => order3[0]!),
        "order3",
      );
      const H: number[] = [];
      for (const s of groups.keys())
        for (const t of groups.keys()) {
          const [own, other] = [alone[s]!.H[0]!, alone[t]!.H[0]!];
          H.push(s === t ? own : ((await along(s, t)).H[0]! - own - other) / 2);
        }
      expectClose(found.H, H, "H");
    });
    await fc.assert(property, { numRuns: 8 });
  });

  test("add up to those of coarser ones: blocks of H, but order3 only with the mixed terms", async () => {
    const property = fc.asyncProperty(fc.nat(1000), async (seed) => {
      const model = make(seed + 1);
      const batch = labelled(5, seed);
      const fine = scattered(model, 4, seed).groups;
      const merge = [0, 1, 0, 1];
      const coarse = [0, 1].map((group) => ({
        params: fine.flatMap(({ params }, s) => (merge[s] === group ? params : [])),
      }));
      const options = { engine: double, order: 3 };
      const [, g, H, third] = await diffN(model, loss, batch, { ...options, partition: fine });
      const found = await computeHg(model, loss, batch, { engine, partition: coarse });
      const summed = (tensor: NDArray<FloatData>): number[] => {
        const sums = new Array<number>(2 ** tensor.shape.length).fill(0);
        for (const [place, value] of tensor.data.entries()) {
          const at = tensor.shape.reduce((sum, _, axis) => sum * 2 + merge[Math.floor(place / 4 ** axis) % 4]!, 0);
          sums[at]! += value;
        }
        return sums;
      };
      expectClose(found.g, summed(g!), "g");
      expectClose(found.H, summed(H!), "H");
      const all = summed(third!);
      expectClose(found.order3, [all[0]!, all[7]!], "order3");
      const { order3 } = await computeHg(model, loss, batch, { engine, partition: fine });
      expect(Math.abs(order3[0]! + order3[2]! - found.order3[0]!)).toBeGreaterThan(1e-6 * Math.abs(found.order3[0]!));
    });
    await fc.assert(property, { numRuns: 6 });
  });
});

const images: Batch = {
  x: { shape: [3, 1, 16, 16], data: Float64Array.from({ length: 768 }, (_, i) => Math.sin(i * i)) },
  y: { shape: [3], data: Int32Array.of(0, 2, 1) },
};
const tokens: Batch = {
  x: { shape: [2, 3], data: Int32Array.of(1, 0, 4, 2, 2, 3) },
  y: { shape: [2, 3], data: Int32Array.of(0, 4, 1, 2, 3, 0) },
};

test.each<[string, () => Module, Loss, Batch]>([
  [
    "LeNet with batch norm",
    () => models.lenet({ layers: [1, 2, 2, 4, 3, 3], imageSize: 16, batchNorm: true }),
    losses.nll,
    images,
  ],
  [
    "a transformer",
    () => models.transformer({ vocabulary: 5, context: 3, width: 4, heads: 2, layers: 1, seed: 1 }),
    losses.crossEntropy,
    tokens,
  ],
])(
  "%s splits into one group for each number, whose blocks add up",
  { timeout: 60_000 },
  async (_, make, loss, batch) => {
    const model = make();
    const fine = await computeHg(model, loss, batch, { engine: double, partition: partition.scalars(model) });
    const whole = await computeHg(model, loss, batch, { engine: double });
    const owners = model
      .namedParameters()
      .flatMap(([, { shape }], s) => new Array<number>(shape.reduce((product, dim) => product * dim, 1)).fill(s));
    expect(fine.g).toHaveLength(owners.length);
    const [S, n] = [whole.g.length, owners.length];
    const [g, H] = [new Float64Array(S), new Float64Array(S * S)];
    for (const [i, s] of owners.entries()) {
      g[s]! += fine.g[i]!;
      for (const [j, t] of owners.entries()) H[s * S + t]! += fine.H[i * n + j]!;
    }
    expect(fine.loss).toBeCloseTo(whole.loss, 12);
    expectClose(g, whole.g, "g");
    expectClose(H, whole.H, "H");
  },
);

test("microbatches, whole parameters beside parts, and groups without effect", async () => {
  const model = new CenteredModel(true);
  const [weight, bias, ...rest] = model.parameters();
  const groups: ParameterGroup[] = [
    { params: [{ variable: weight!.variable, entries: [0, 7, 3] }, rest[0]!] },
    { name: "half", params: [{ variable: bias!.variable, entries: [1, 2] }] },
    { params: [{ variable: bias!.variable, entries: [3, 0] }] },
    { params: [{ variable: weight!.variable, entries: [...Array(20).keys()].filter((i) => ![0, 7, 3].includes(i)) }] },
    { params: rest.slice(1) },
  ];
  // The bias lies ahead of the removal of the mean.
  const { noEffect } = await computeHg(model, labelLoss, labelled(30), { engine, partition: groups });
  expect(noEffect).toEqual([1, 2]);
  const plain = classifier();
  const options = { engine, partition: scattered(plain, 3, 1).groups };
  const whole = await computeHg(plain, losses.nll, labelled(7), options);
  const parts = await computeHg(plain, losses.nll, labelled(7), { ...options, microbatch: 2 });
  for (const key of ["g", "H", "order3"] as const) expectClose(parts[key], whole[key], key);
});
