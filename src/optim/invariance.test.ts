import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { classifier, labelled } from "../../test/support/models.ts";
import { Dataset } from "../datasets/index.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { Conv2d, constant, fromFunction, Linear, type Loss, losses, type Module, manualSeed } from "../nn/index.ts";
import { computeHg, partition, valueAndGrad } from "../summary/index.ts";
import { type Batch, type NDArray, ndarray } from "../util/ndarray.ts";
import { Random } from "../util/random.ts";
import { NewtonSummary, type NewtonSummaryOptions, SGDUpdater } from "./index.ts";

const engine = new ReferenceEngine();
const PLAIN: NewtonSummaryOptions = {
  engine,
  updater: new SGDUpdater(),
  damping: 1,
  periodHg: 1,
  momLrs: 0,
  removeNegative: false,
  log: () => {},
};
const data = Dataset.fromArrays(labelled(40, 5).x, labelled(40, 5).y);
const factor = fc.double({ min: 0.1, max: 10, noNaN: true }).chain((size) => fc.constantFrom(size, -size));
const factors = fc.array(factor, { minLength: 4, maxLength: 4 });

/** The losses of some steps along gradients whose groups are multiplied by numbers. */
async function run(scale: readonly number[], options: NewtonSummaryOptions): Promise<number[]> {
  const model = classifier();
  const hgLoader = data.loader({ batchSize: 12, shuffle: true, seed: 3 });
  const optimizer = await NewtonSummary.create(model, losses.nll, { ...PLAIN, hgLoader, ...options });
  const found: number[] = [];
  for (let i = 0; i < 4; i++) {
    const { loss, gradient } = await valueAndGrad(model, losses.nll, labelled(8, i), { engine });
    const scaled = Object.entries(gradient).map(([name, { shape, data: values }], s) => [
      name,
      { shape, data: values.map((value) => value * scale[s]!) },
    ]);
    await optimizer.step({ gradient: Object.fromEntries(scaled) });
    found.push(loss);
  }
  return found;
}

test.each<[string, NewtonSummaryOptions]>([
  ["cubic regularisation", { damping: 0.5, nesterov: { dampingInt: 2 } }],
  ["no regularisation", { damping: 0.1, noregul: true }],
  ["normalised directions", { damping: 0.5, normalizeDirs: true, periodHg: 2 }],
  ["interactions left out", { damping: 0.3, diagonal: true }],
  ["third derivatives at every second summary", { damping: 0.5, periodOrder3: 2 }],
])("the scale and sign of a group's direction change nothing: %s", async (_what, options) => {
  const plain = await run([1, 1, 1, 1], options);
  const property = fc.asyncProperty(factors, async (scale) => {
    for (const [i, loss] of (await run(scale, options)).entries()) expect(loss).toBeCloseTo(plain[i]!, 7);
  });
  await fc.assert(property, { numRuns: 6 });
});

test.each<[string, NewtonSummaryOptions, number]>([
  ["a ridge", { damping: 0.3, ridge: 0.1 }, 3],
  ["a direction turned around, where negative rates are removed", { damping: 0.5, removeNegative: true }, -1],
  ["weight decay", { damping: 0.3, updater: new SGDUpdater({ weightDecay: 0.1 }) }, 3],
  ["a bound on the norm of all gradients, between summaries", { damping: 0.3, clipGradNorm: 0.01, periodHg: 2 }, 3],
])("%s does break it", async (_what, options, scale) => {
  const [plain, scaled] = [await run([1, 1, 1, 1], options), await run([scale, 1, 1, 1], options)];
  expect(Math.abs(plain[3]! - scaled[3]!)).toBeGreaterThan(1e-4);
});

test("a direction made longer, where negative rates are removed, does not", async () => {
  const options = { damping: 0.5, removeNegative: true };
  const [plain, scaled] = [await run([1, 1, 1, 1], options), await run([3, 0.5, 1, 2], options)];
  for (const [i, loss] of scaled.entries()) expect(loss).toBeCloseTo(plain[i]!, 7);
});

test("η_s α_s, ‖Dη‖ and the scaled H̄, ḡ and order3 follow from the definition", async () => {
  const model = classifier();
  const { gradient } = await valueAndGrad(model, losses.nll, labelled(8), { engine });
  const plain = await computeHg(model, losses.nll, labelled(8), { engine, direction: gradient });
  const property = fc.asyncProperty(factors, async (scale) => {
    const direction = Object.fromEntries(
      Object.entries(gradient).map(([name, { shape, data: values }], s) => [
        name,
        { shape, data: values.map((value) => value * scale[s]!) },
      ]),
    );
    const found = await computeHg(model, losses.nll, labelled(8), { engine, direction });
    const near = (value: number, expected: number) =>
      expect(Math.abs(value - expected)).toBeLessThanOrEqual(1e-10 * Math.abs(expected) + 1e-16);
    scale.forEach((a, s) => {
      near(found.g[s]!, a * plain.g[s]!);
      near(found.order3[s]!, a ** 3 * plain.order3[s]!);
      scale.forEach((b, t) => {
        near(found.H[4 * s + t]!, a * b * plain.H[4 * s + t]!);
      });
    });
  });
  await fc.assert(property, { numRuns: 10 });
});

const near = (scale: number) => fc.integer({ min: -100 * scale, max: 100 * scale }).map((value) => value / 100);
const numbers = fc.array(near(2), { minLength: 3, maxLength: 3 });
const matrix = fc.array(numbers, { minLength: 3, maxLength: 3 });

/** ½ wᵀAw − bᵀw, A = RᵀR + 1 positive definite. */
function quadratic(root: readonly number[][], b: readonly number[], start: readonly number[]): Module {
  return fromFunction({ w: ndarray(Float64Array.from(start), [3]) }, ({ w }) => {
    const image = constant(ndarray(Float64Array.from(root.flat()), [3, 3])).matmul(w.reshape(3, 1));
    const linear = w.mul(constant(ndarray(Float64Array.from(b), [3]))).sum();
    return image.square().sum().add(w.square().sum()).mul(0.5).sub(linear);
  });
}

async function slopes(model: Module, loss: Loss, batch?: Batch): Promise<number[]> {
  const { gradient } = await valueAndGrad(model, loss, batch, { engine });
  return Object.values(gradient).flatMap(({ data: values }) => [...values]);
}

/** A step of the method along the gradient, of one group for each number, to where the gradient is 0. */
async function expectSolved(model: Module, loss: Loss, batch: Batch | undefined, cubic: boolean): Promise<void> {
  const before = await slopes(model, loss, batch);
  // A number whose derivative is 0 has no direction to move along.
  fc.pre(before.every((slope) => Math.abs(slope) > 1e-3));
  const options = { ...PLAIN, ...(cubic ? {} : { noregul: true }), partition: partition.scalars(model) };
  const optimizer = await NewtonSummary.create(model, loss, options);
  await optimizer.step(batch);
  for (const slope of await slopes(model, loss, batch)) expect(Math.abs(slope)).toBeLessThan(1e-8);
}

const own: Loss = (loss) => loss;

describe("one group for each number solves a strictly convex quadratic in one step, cubic term or not", () => {
  test("of any matrix", async () => {
    const property = fc.asyncProperty(matrix, numbers, numbers, fc.boolean(), async (root, b, start, cubic) => {
      await expectSolved(quadratic(root, b, start), own, undefined, cubic);
    });
    await fc.assert(property, { numRuns: 20 });
  });

  const samples = (...shape: number[]): NDArray<Float64Array> => {
    const random = new Random(shape.length);
    const size = shape.reduce((product, dim) => product * dim, 1);
    return ndarray(
      Float64Array.from({ length: size }, () => random.normal()),
      shape,
    );
  };
  test.each<[string, () => Module, Batch]>([
    ["a linear layer", () => new Linear(3, 2), { x: samples(9, 3), y: samples(9, 2) }],
    ["a convolution", () => new Conv2d(2, 3, 2), { x: samples(4, 2, 3, 3), y: samples(4, 3, 2, 2) }],
  ])("of %s with a squared error", async (_what, make, batch) => {
    const property = fc.asyncProperty(fc.nat(1000), fc.boolean(), async (seed, cubic) => {
      manualSeed(seed);
      await expectSolved(make(), losses.mse, batch, cubic);
    });
    await fc.assert(property, { numRuns: 6 });
  });

  test("but coarser groups do not", async () => {
    const model = quadratic(
      [
        [1, 2, 0],
        [0, 1, -1],
        [2, 0, 1],
      ],
      [1, 2, 3],
      [1, -1, 2],
    );
    const [w] = model.parameters();
    const pair = [{ variable: w!.variable, entries: [0, 2] }];
    const partitions = [{ params: pair }, { params: [{ variable: w!.variable, entries: [1] }] }];
    const optimizer = await NewtonSummary.create(model, own, { ...PLAIN, noregul: true, partition: partitions });
    await optimizer.step();
    expect(Math.hypot(...(await slopes(model, own)))).toBeGreaterThan(0.1);
  });
});

test("a single group takes Cauchy's step, ‖g‖² / gᵀAg", async () => {
  const property = fc.asyncProperty(matrix, numbers, numbers, async (root, b, start) => {
    const model = quadratic(root, b, start);
    const g = await slopes(model, own);
    fc.pre(Math.hypot(...g) > 1e-3);
    const image = root.map((row) => row.reduce((sum, r, j) => sum + r * g[j]!, 0));
    const options = { ...PLAIN, noregul: true, partition: partition.trivial(model) };
    const optimizer = await NewtonSummary.create(model, own, options);
    const { learningRates } = await optimizer.step();
    const expected = Math.hypot(...g) ** 2 / (Math.hypot(...image) ** 2 + Math.hypot(...g) ** 2);
    expect(learningRates[0]).toBeCloseTo(expected, 10);
  });
  await fc.assert(property, { numRuns: 20 });
});

test("a step takes each entry along its own group's rate", async () => {
  const property = fc.asyncProperty(fc.nat(1000), async (seed) => {
    const model = classifier(seed + 1);
    const random = new Random(seed);
    const [first, ...rest] = model.parameters();
    const entries: number[][] = [[], [], []];
    for (let entry = 0; entry < 20; entry++) entries[entry < 3 ? entry : random.below(3)]!.push(entry);
    const groups = entries.map((each, s) => ({
      params: [{ variable: first!.variable, entries: each }, ...rest.slice(s, s + 1)],
    }));
    const options = { ...PLAIN, damping: [0.1, 0.2, 0.3], normalizeDirs: true, partition: groups };
    const optimizer = await NewtonSummary.create(model, losses.nll, options);
    const { gradient } = await valueAndGrad(model, losses.nll, labelled(8), { engine });
    const before = await model.stateDict();
    const { learningRates, update } = await optimizer.step(labelled(8));
    const { H, g } = await computeHg(model, losses.nll, labelled(8), {
      engine,
      direction: gradient,
      partition: groups,
    });
    const after = await model.stateDict();
    for (const [i, name] of Object.keys(before).entries())
      for (const [entry, value] of before[name]!.data.entries()) {
        const s = i === 0 ? entries.findIndex((each) => each.includes(entry)) : i - 1;
        const expected = Number(value) - learningRates[s]! * gradient[name]!.data[entry]!;
        expect(after[name]!.data[entry]).toBeCloseTo(expected, 12);
      }
    expect([H.length, g.length, update!.g.length]).toEqual([9, 3, 3]);
    // Directions of norm 1: ḡ_s is ‖u_s‖ where u is the gradient.
    for (const [s, { params }] of groups.entries()) {
      const names = Object.keys(gradient);
      const squares = params.map((param, i) => {
        const { data: values } = gradient[names[i === 0 ? 0 : s + 1]!]!;
        const own = "entries" in param ? param.entries.map((entry) => values[entry]!) : [...values];
        return own.reduce((sum, value) => sum + value ** 2, 0);
      });
      expect(update!.g[s]).toBeCloseTo(Math.sqrt(squares.reduce((sum, value) => sum + value)), 10);
    }
  });
  await fc.assert(property, { numRuns: 5 });
});
