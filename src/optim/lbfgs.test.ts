import { afterAll, describe, expect, test } from "vitest";
import { classifier, labelled } from "../../test/support/models.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { OrtNodeEngine } from "../engine/ort-node.ts";
import { Dropout, fromFunction, Linear, losses, manualSeed, Sequential } from "../nn/index.ts";
import { OptionError, StateError } from "../util/errors.ts";
import { ndarray } from "../util/ndarray.ts";
import { LBFGS, type LBFGSOptions, Optimizer, SGDUpdater } from "./index.ts";

const engine = new ReferenceEngine();
const double = new OrtNodeEngine({ precision: "float64", threads: 1 });
const single = new OrtNodeEngine({ threads: 1 });
afterAll(() => Promise.all([double.dispose(), single.dispose()]));

/** Rosenbrock's valley, whose minimum is 0 at (1, 1). */
const valley = () =>
  fromFunction({ x: ndarray(Float64Array.of(-1.2), []), y: ndarray(Float64Array.of(1), []) }, ({ x, y }) =>
    y!.sub(x!.square()).square().mul(100).add(x!.sub(1).square()),
  );

test("finds the minimum of Rosenbrock's valley", async () => {
  const own = valley();
  const optimizer = await LBFGS.create(own, (loss) => loss, { engine, maxIter: 60, toleranceChange: 1e-15 });
  await optimizer.step();
  const { x, y } = await own.stateDict();
  expect(x!.data[0]).toBeCloseTo(1, 6);
  expect(y!.data[0]).toBeCloseTo(1, 6);
});

test("engines agree, and the loss goes down on every batch", async () => {
  const expected: number[] = [];
  for (const [other, digits] of [
    [engine, 12],
    [double, 9],
    [single, 2],
  ] as const) {
    const own = classifier();
    const optimizer = await LBFGS.create(own, losses.nll, { engine: other, maxIter: 3 });
    for (let i = 0; i < 4; i++) {
      const { loss } = await optimizer.step(labelled(20));
      expected[i] ??= loss;
      expect(loss).toBeCloseTo(expected[i]!, digits);
    }
  }
  expect(expected).toEqual(expected.toSorted((a, b) => b - a));
});

test("resumes bit for bit, and refuses damaged states", async () => {
  const make = (model = classifier()) =>
    LBFGS.create(model, losses.nll, { engine: double, maxIter: 2, historySize: 3 });
  const model = classifier();
  const whole = await make(model);
  for (let i = 0; i < 3; i++) await whole.step(labelled(20));
  const [state, weights] = [await whole.state(), await model.stateDict()];
  const other = classifier(2);
  other.loadStateDict(weights);
  const resumed = await make(other);
  await resumed.restore(state);
  for (let i = 0; i < 3; i++) expect(await resumed.step(labelled(20))).toEqual(await whole.step(labelled(20)));
  expect(await other.stateDict()).toEqual(await model.stateDict());
  const before = await resumed.state();
  const { pairs, last } = (state as unknown as { memory: { pairs: object[]; last: object } }).memory;
  expect(pairs).toHaveLength(2);
  for (const [memory, message] of [
    [undefined, /memory must be an object; found nothing/],
    [{ pairs: 1 }, /memory.pairs must be a list; found 1/],
    [{ pairs: [null], last }, /memory.pairs\[0\] must be an object; found null/],
    [{ pairs: [...pairs, ...pairs], last }, /the length of memory.pairs must be a whole number from 0 to 3; found 4/],
    [{ pairs: [{ ...pairs[0], curvature: -1 }], last }, /memory.pairs\[0\].curvature must be/],
    [{ pairs }, /memory.last must be an object; found nothing/],
    [{ pairs: [], last: { ...last, step: new Float64Array(1) } }, /memory.last.step must be a Float64Array of/],
  ] as const) {
    await expect(resumed.restore({ ...state, memory })).rejects.toThrow(message);
    await expect(resumed.restore({ ...state, memory })).rejects.toThrow(StateError);
  }
  await expect(resumed.restore({ ...state, step: 2 })).rejects.toThrow(
    /stepper.updates must be .* from 0 to 2; found 3/,
  );
  expect(await resumed.state()).toEqual(before);
});

describe("a step that fails", () => {
  test("on a loss that is not finite at its start leaves all as it was", async () => {
    const own = fromFunction({ w: ndarray(Float64Array.of(-1), []) }, ({ w }) => w!.log());
    const optimizer = await LBFGS.create(own, (loss) => loss, { engine });
    await expect(optimizer.step()).rejects.toThrow(/the loss is NaN|not finite/);
    expect((await own.stateDict()).w!.data[0]).toBe(-1);
  });

  test("further along the line is taken back there: losses that are not finite are no obstacle", async () => {
    const own = fromFunction({ w: ndarray(Float64Array.of(0.5), []) }, ({ w }) => w!.sub(w!.log()));
    const optimizer = await LBFGS.create(own, (loss) => loss, { engine, lr: 30, maxIter: 30 });
    await optimizer.step();
    expect((await own.stateDict()).w!.data[0]).toBeCloseTo(1, 4);
  });

  test("given a gradient is refused", async () => {
    const optimizer = await LBFGS.create(valley(), (loss) => loss, { engine });
    const gradient = { x: ndarray(Float64Array.of(1), []), y: ndarray(Float64Array.of(1), []) };
    await expect(optimizer.step({ gradient })).rejects.toThrow(/needs a batch/);
  });
});

test.each<[object, RegExp]>([
  [{ lr: 0 }, /LBFGS: lr must be a number above 0/],
  [{ maxIter: 0 }, /maxIter must be a whole number, 1 or more/],
  [{ maxEval: 1.5 }, /maxEval must be a whole number/],
  [{ toleranceGrad: -1 }, /toleranceGrad must be/],
  [{ historySize: 0 }, /historySize must be/],
  [{ clipGradNorm: 1 }, /unknown option "clipGradNorm"/],
])("%o is refused", async (options, message) => {
  const made = LBFGS.create(valley(), (loss) => loss, { engine, ...(options as LBFGSOptions) });
  await expect(made).rejects.toThrow(message);
  await expect(made).rejects.toThrow(OptionError);
});

test("masks are drawn once for a step, and stay the same all along it", async () => {
  manualSeed(1);
  const model = () => new Sequential(new Linear(5, 8), new Dropout(0.5), new Linear(8, 3));
  const options = { engine, seed: 3 };
  const own = model();
  const optimizer = await LBFGS.create(own, losses.crossEntropy, { ...options, maxIter: 4 });
  const { loss } = await optimizer.step(labelled(20));
  const plain = await Optimizer.create(model(), losses.crossEntropy, { ...options, updater: new SGDUpdater(), lr: 1 });
  await plain.step(labelled(20));
  expect((await optimizer.state()).stepper.random).toEqual((await plain.state()).stepper.random);
  // An optimiser with the same seed draws the masks under which the loss went down.
  const again = await LBFGS.create(own, losses.crossEntropy, options);
  expect((await again.step(labelled(20))).loss).toBeLessThan(0.8 * loss);
});
