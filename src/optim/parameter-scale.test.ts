import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { classifier, labelled } from "../../test/support/models.ts";
import { Dataset } from "../datasets/index.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { constant, fromFunction, logSoftmax, losses, type Module, type StateDict, type Tensor } from "../nn/index.ts";
import { type Partition, partition } from "../summary/index.ts";
import { type FloatData, type NDArray, ndarray } from "../util/ndarray.ts";
import { Random } from "../util/random.ts";
import { AdamUpdater, NewtonSummary, type NewtonSummaryOptions, SGDUpdater } from "./index.ts";

const engine = new ReferenceEngine();
const data = Dataset.fromArrays(labelled(60, 5).x, labelled(60, 5).y);
const PLAIN: NewtonSummaryOptions = { engine, updater: new SGDUpdater(), damping: 0.3, periodHg: 1, momLrs: 0 };

/** θ = F ∘ (Q θ̃): a factor for each entry and a reflection of the rows. */
interface Scaling {
  readonly factors: NDArray<FloatData>;
  readonly mirror: NDArray<FloatData>;
}

type Scalings = Readonly<Record<string, Scaling>>;

/** Numbers, one for each group of a partition, and for all of its parameters the reflections that groups of whole ones allow. */
function scalingsOf(
  model: Module,
  groups: Partition,
  sizes: readonly number[],
  seed: number,
  mirrors: boolean,
): Scalings {
  const random = new Random(seed);
  const named = model.namedParameters().map(([name, { variable, shape }]) => {
    const data = new Float64Array(shape.reduce((product, dim) => product * dim, 1));
    for (const [s, { params }] of groups.entries())
      for (const param of params) {
        if (param.variable !== variable) continue;
        for (const entry of "entries" in param ? param.entries : data.keys()) data[entry] = sizes[s % sizes.length]!;
      }
    return [name, { factors: { shape, data }, mirror: mirror(shape[0]!, mirrors ? random : undefined) }] as const;
  });
  return Object.fromEntries(named);
}

/** 1 − 2 v vᵀ / ‖v‖², its own inverse; the identity without random numbers. */
function mirror(size: number, random: Random | undefined): NDArray<FloatData> {
  const v = Array.from({ length: size }, () => random?.normal() ?? 0);
  const norm = v.reduce((sum, each) => sum + each ** 2, 0) || 1;
  const entries = v.flatMap((x, i) => v.map((y, j) => Number(i === j) - (2 * x * y) / norm));
  return ndarray(Float64Array.from(entries), [size, size]);
}

/** θ̃ of θ. */
function unscaled({ shape, data }: NDArray<FloatData>, { factors, mirror: { data: rows } }: Scaling) {
  const [height, width] = [shape[0]!, data.length / shape[0]!];
  const found = Float64Array.from({ length: data.length }, (_, at) => {
    const [i, j] = [Math.floor(at / width), at % width];
    let sum = 0;
    for (let k = 0; k < height; k++)
      sum += (rows[i * height + k]! * data[k * width + j]!) / factors.data[k * width + j]!;
    return sum;
  });
  return { shape, data: found };
}

function scaled(theta: Tensor, { factors, mirror }: Scaling): Tensor {
  const [height, ...rest] = theta.shape as readonly number[];
  const columns = theta.reshape(height!, rest[0] ?? 1);
  return constant(mirror)
    .matmul(columns)
    .reshape(...theta.shape)
    .mul(constant(factors));
}

/** `classifier` as a function of other parameters. */
function rewritten(state: StateDict, scalings: Scalings): Module {
  const values = Object.entries(state).map(([name, value]) => [
    name,
    unscaled(value as NDArray<FloatData>, scalings[name]!),
  ]);
  return fromFunction(Object.fromEntries(values) as Record<string, NDArray<FloatData>>, (p, x) => {
    const at = (name: string): Tensor => scaled(p[name]!, scalings[name]!);
    const layer = (input: Tensor, i: number): Tensor =>
      input.matmul(at(`layers.${i}.weight`).t()).add(at(`layers.${i}.bias`));
    return logSoftmax(layer(layer(x!, 0).tanh(), 1), 1);
  });
}

const STEPS = 10;

/** The losses of a whole trajectory. */
async function trajectory(model: Module, cut: (model: Module) => Partition, options: NewtonSummaryOptions) {
  const hgLoader = data.loader({ batchSize: 20, shuffle: true, seed: 3 });
  const made = { ...PLAIN, ...options, hgLoader, partition: cut(model), log: () => {} };
  const optimizer = await NewtonSummary.create(model, losses.nll, made);
  const found: number[] = [];
  for (let i = 0; i < STEPS; i++) found.push((await optimizer.step(labelled(12, 100 + i))).loss);
  return found;
}

/** Groups of the rows of each layer's weight, of which one goes with the bias. */
function rows(model: Module): Partition {
  const of = (name: string) => model.namedParameters().find(([each]) => each === name)![1];
  const run = (name: string, start: number, end: number) => ({
    variable: of(name).variable,
    entries: Array.from({ length: end - start }, (_, i) => start + i),
  });
  return [
    { params: [run("layers.0.weight", 0, 10), of("layers.0.bias")] },
    { params: [run("layers.0.weight", 10, 20)] },
    { params: [run("layers.1.weight", 0, 4), of("layers.1.bias")] },
    { params: [run("layers.1.weight", 4, 12)] },
  ];
}

const cuts: readonly [string, (model: Module) => Partition, boolean][] = [
  ["one group for each parameter", partition.canonical, true],
  ["weights and biases", partition.wb, true],
  ["one group", partition.trivial, true],
  ["groups of rows", rows, false],
];

const size = fc.double({ min: 0.2, max: 5, noNaN: true }).chain((value) => fc.constantFrom(value, -value));
const sizes = fc.array(size, { minLength: 4, maxLength: 4 });

const kept: readonly [string, NewtonSummaryOptions][] = [
  ["cubic regularisation, negative rates removed", {}],
  ["negative rates kept", { removeNegative: false, damping: 0.1 }],
  ["no regularisation", { noregul: true, damping: 0.05 }],
  ["averages, smoothing and momentum", { movavg: 0.5, momLrs: 0.5, updater: new SGDUpdater({ momentum: 0.8 }) }],
  ["normalised directions between summaries", { normalizeDirs: true, periodHg: 3 }],
  ["interactions left out", { diagonal: true }],
  ["rates held to their history", { clipRates: { by: "average", factor: 1.1 } }],
  ["rates held together by ‖Dη‖", { clipRates: { by: "r", factor: 1.1 } }],
];

describe.each(cuts)("with %s, the scale of parameters changes nothing, along gradients", (_what, cut, mirrors) => {
  test.each(kept)("%s", { timeout: 30_000 }, async (_name, options) => {
    const model = classifier();
    const state = await model.stateDict();
    const plain = await trajectory(model, cut, options);
    const property = fc.asyncProperty(sizes, fc.nat(1000), async (values, seed) => {
      const scalings = scalingsOf(model, cut(model), values, seed, mirrors);
      const found = await trajectory(rewritten(state, scalings), cut, options);
      // Rounding, which a trajectory of ten steps magnifies.
      for (const [i, loss] of found.entries()) expect(Math.abs(loss / plain[i]! - 1)).toBeLessThan(1e-7);
    });
    await fc.assert(property, { numRuns: 3 });
  });
});

describe("the scale of parameters does matter", () => {
  test.each<[string, NewtonSummaryOptions]>([
    ["with a ridge", { ridge: 0.1 }],
    ["with weight decay", { updater: new SGDUpdater({ weightDecay: 0.1 }) }],
    // Within one step it is one factor for all groups, which changes nothing.
    ["with a bound on the norm of all gradients, between summaries", { clipGradNorm: 0.05, periodHg: 3 }],
  ])("%s", async (_what, options) => {
    const model = classifier();
    const state = await model.stateDict();
    const plain = await trajectory(model, partition.canonical, options);
    const scalings = scalingsOf(model, partition.canonical(model), [3, 1, 0.5, 1], 0, false);
    const found = await trajectory(rewritten(state, scalings), partition.canonical, options);
    expect(Math.max(...found.map((loss, i) => Math.abs(loss / plain[i]! - 1)))).toBeGreaterThan(1e-3);
  });

  test("with Adam's direction, where it mixes the entries of a group; one factor for all does not", async () => {
    const model = classifier();
    const state = await model.stateDict();
    const options = { updater: new AdamUpdater({ eps: 1e-14 }) };
    const plain = await trajectory(model, partition.canonical, options);
    const most = async (mirrors: boolean): Promise<number> => {
      const scalings = scalingsOf(model, partition.canonical(model), [3, -1, 0.5, 1], 1, mirrors);
      const found = await trajectory(rewritten(state, scalings), partition.canonical, options);
      return Math.max(...found.map((loss, i) => Math.abs(loss / plain[i]! - 1)));
    };
    expect(await most(false)).toBeLessThan(1e-7);
    expect(await most(true)).toBeGreaterThan(1e-3);
  });

  test("where two parameters of one group are scaled differently", async () => {
    const model = classifier();
    const state = await model.stateDict();
    const plain = await trajectory(model, partition.wb, {});
    const scalings = scalingsOf(model, partition.canonical(model), [3, 1, 0.5, 1], 0, false);
    const found = await trajectory(rewritten(state, scalings), partition.wb, {});
    expect(Math.max(...found.map((loss, i) => Math.abs(loss / plain[i]! - 1)))).toBeGreaterThan(1e-3);
  });
});
