import fc from "fast-check";
import { expect, test } from "vitest";
import { classifier, labelled } from "../../test/support/models.ts";
import { Dataset } from "../datasets/index.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { fromFunction, losses, type Module } from "../nn/index.ts";
import { computeHg, partition, valueAndGrad } from "../summary/index.ts";
import { ndarray } from "../util/ndarray.ts";
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

test("a ridge does break it", async () => {
  const options = { damping: 0.3, ridge: 0.1 };
  const [plain, scaled] = [await run([1, 1, 1, 1], options), await run([3, 1, 1, 1], options)];
  expect(Math.abs(plain[3]! - scaled[3]!)).toBeGreaterThan(1e-4);
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

/** ½ wᵀAw − bᵀw of numbers that are parameters each, of shapes [] and [1], A positive definite. */
function quadratic(root: readonly (readonly number[])[], b: readonly number[], start: readonly number[]): Module {
  const values = start.map((value, i) => [`w${i}`, ndarray(Float64Array.of(value), i % 2 === 0 ? [] : [1])]);
  return fromFunction(Object.fromEntries(values), (p) => {
    const w = start.map((_, i) => p[`w${i}`]!.reshape());
    const rows = root.map((row) => row.map((r, j) => w[j]!.mul(r)).reduce((x, y) => x.add(y)));
    const squares = rows.map((row) => row.square()).reduce((x, y) => x.add(y));
    const norms = w.map((each) => each.square()).reduce((x, y) => x.add(y));
    const linear = w.map((each, i) => each.mul(b[i]!)).reduce((x, y) => x.add(y));
    return squares.add(norms).mul(0.5).sub(linear);
  });
}

const hundredth = fc.integer({ min: -200, max: 200 }).map((value) => value / 100);
const numbers = fc.array(hundredth, { minLength: 3, maxLength: 3 });

test("one group for each number solves a strictly convex quadratic in one step, cubic term or not", async () => {
  const property = fc.asyncProperty(
    fc.array(numbers, { minLength: 3, maxLength: 3 }),
    numbers,
    numbers,
    fc.boolean(),
    async (root, b, start, cubic) => {
      const model = quadratic(root, b, start);
      const { gradient: before } = await valueAndGrad(model, (loss) => loss, undefined, { engine });
      // A number whose derivative is 0 has no direction to move along.
      fc.pre(Object.values(before).every(({ data: slope }) => Math.abs(slope[0]!) > 1e-3));
      const options = { ...PLAIN, ...(cubic ? {} : { noregul: true }) };
      const optimizer = await NewtonSummary.create(model, (loss) => loss, options);
      await optimizer.step();
      const { gradient: after } = await valueAndGrad(model, (loss) => loss, undefined, { engine });
      for (const { data: slope } of Object.values(after)) expect(Math.abs(slope[0]!)).toBeLessThan(1e-8);
    },
  );
  await fc.assert(property, { numRuns: 20 });
});

test("a single group takes Cauchy's step, ‖g‖² / gᵀAg", async () => {
  const property = fc.asyncProperty(
    fc.array(numbers, { minLength: 3, maxLength: 3 }),
    numbers,
    numbers,
    async (root, b, start) => {
      const model = quadratic(root, b, start);
      const { gradient } = await valueAndGrad(model, (loss) => loss, undefined, { engine });
      const g = Object.values(gradient).map(({ data: slope }) => slope[0]!);
      fc.pre(Math.hypot(...g) > 1e-3);
      const image = root.map((row) => row.reduce((sum, r, j) => sum + r * g[j]!, 0));
      const options = { ...PLAIN, noregul: true, partition: partition.trivial(model) };
      const optimizer = await NewtonSummary.create(model, (loss) => loss, options);
      const { learningRates } = await optimizer.step();
      const expected = Math.hypot(...g) ** 2 / (Math.hypot(...image) ** 2 + Math.hypot(...g) ** 2);
      expect(learningRates[0]).toBeCloseTo(expected, 10);
    },
  );
  await fc.assert(property, { numRuns: 20 });
});
