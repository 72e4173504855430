import { afterAll, describe, expect, test } from "vitest";
import { classifier, labelled } from "../../../test/support/models.ts";
import { StrictEngine } from "../../../test/support/strict-engine.ts";
import { ReferenceEngine } from "../../engine/index.ts";
import { OrtNodeEngine } from "../../engine/ort-node.ts";
import { perceptron } from "../../models/index.ts";
import {
  BatchNorm2d,
  Conv2d,
  Dropout,
  Embedding,
  Flatten,
  fromFunction,
  Linear,
  losses,
  Module,
  manualSeed,
  type Parameter,
  ReLU,
  Sequential,
  type Tensor,
} from "../../nn/index.ts";
import { partition } from "../../summary/index.ts";
import { NonFiniteError, OptionError, StateError } from "../../util/errors.ts";
import { type Batch, ndarray } from "../../util/ndarray.ts";
import { Random } from "../../util/random.ts";
import { Optimizer, type OptimizerState, SGDUpdater } from "../index.ts";
import { KFAC, type KFACOptions } from "./kfac.ts";

const engine = new ReferenceEngine();
const double = new OrtNodeEngine({ precision: "float64", threads: 1 });
const single = new OrtNodeEngine({ threads: 1 });
afterAll(() => Promise.all([double.dispose(), single.dispose()]));

/** For small problems and few steps. */
const FAST: KFACOptions = { lr: 0.1, damping: 0.001, factorUpdateSteps: 1, invUpdateSteps: 5 };

const make = (model: Module, options: KFACOptions = {}): Promise<KFAC> =>
  KFAC.create(model, losses.nll, { engine: double, ...options });

/** The loss after some steps on one batch. */
async function trained(optimizer: KFAC | Optimizer, batch: Batch, steps: number): Promise<number> {
  for (let i = 0; i < steps; i++) await optimizer.step(batch);
  return (await optimizer.step(batch)).loss;
}

test("engines agree", async () => {
  const found = await Promise.all(
    [engine, double, single].map(async (each) =>
      trained(await make(classifier(), { ...FAST, engine: each }), labelled(20), 25),
    ),
  );
  // Rounding in float32 is multiplied by the condition numbers of the factors, about 10³.
  expect(found[1]).toBeCloseTo(found[0]!, 10);
  expect(found[2]).toBeCloseTo(found[0]!, 3);
});

describe("a saved state", () => {
  const options = { factorUpdateSteps: 2, invUpdateSteps: 4, seed: 3 };

  test.each([0, 1, 3, 4])("resumes bit for bit after %i steps", async (steps) => {
    const [model, other] = [classifier(), classifier(2)];
    const whole = await make(model, options);
    for (let i = 0; i < steps; i++) await whole.step(labelled(12, i));
    const resumed = await make(other, options);
    other.loadStateDict(await model.stateDict());
    await resumed.restore(structuredClone(await whole.state()));
    for (let i = 0; i < 6; i++) expect(await resumed.step(labelled(12, i))).toEqual(await whole.step(labelled(12, i)));
    expect(await other.stateDict()).toEqual(await model.stateDict());
    expect(await resumed.state()).toEqual(await whole.state());
  });

  test("of other options, another optimiser or with damaged factors is refused", async () => {
    const optimizer = await make(classifier(), options);
    await optimizer.step(labelled(12));
    const state = await optimizer.state();
    const other = await make(classifier(), { ...options, damping: 0.1 });
    await expect(other.restore(state)).rejects.toThrow(/settings.damping: expected 0.1, found 0.03/);
    const plain = await Optimizer.create(classifier(), losses.nll, { engine, updater: new SGDUpdater(), lr: 1 });
    await expect(plain.restore(state)).rejects.toThrow(/another optimiser/);
    await expect(optimizer.restore(await plain.state())).rejects.toThrow(StateError);
    const { tensors } = state.stepper;
    const withTensors = (change: OptimizerState["stepper"]["tensors"]): OptimizerState => ({
      ...state,
      stepper: { ...state.stepper, tensors: change },
    });
    const refuses = async (change: OptimizerState["stepper"]["tensors"], message: RegExp): Promise<void> => {
      const restored = optimizer.restore(withTensors(change));
      await expect(restored).rejects.toThrow(message);
      await expect(restored).rejects.toThrow(StateError);
      expect(await optimizer.state()).toEqual(state);
    };
    for (const name of Object.keys(tensors)) {
      const { [name]: found, ...rest } = tensors;
      await refuses(rest, /of \d+ numbers|found nothing|is unknown/);
      await refuses({ ...rest, [name]: ndarray(new Float64Array(1), [1]) }, /of \d+ numbers|must be a tensor of shape/);
      await refuses({ ...rest, [name]: { ...found!, data: found!.data.map(() => Number.NaN) } }, /all finite/);
    }
    await refuses({ ...tensors, "k:foo": ndarray(new Float64Array(1), [1]) }, /k:foo is unknown/);
    const own = Object.entries(tensors).filter(([name]) => !name.startsWith("k:"));
    await refuses(Object.fromEntries(own), /the Fisher matrix must be of 39 numbers; found one of 0/);
  });
});

test.each<[object, RegExp]>([
  [{ lr: 0 }, /KFAC: lr must be a number above 0/],
  [{ damping: 0 }, /KFAC: damping must be a number above 0/],
  [{ factorDecay: 1 }, /KFAC: factorDecay must be at least 0 and below 1/],
  [{ klClip: 0 }, /KFAC: klClip must be a number above 0/],
  [{ momentum: -1 }, /KFAC: momentum must be/],
  [{ weightDecay: Number.NaN }, /KFAC: weightDecay must be/],
  [{ factorUpdateSteps: 0 }, /KFAC: factorUpdateSteps must be a whole number, 1 or more/],
  [{ invUpdateSteps: 1.5 }, /KFAC: invUpdateSteps must be a whole number/],
  [{ factorUpdateSteps: 3 }, /invUpdateSteps must be a multiple of factorUpdateSteps, 3; found 100/],
  [{ fisher: "exact" }, /KFAC: fisher must be one of true, empirical; found exact/],
  [{ clipGradNorm: 1 }, /KFAC: unknown option "clipGradNorm"/],
  [{ updater: new SGDUpdater() }, /KFAC: unknown option "updater"/],
  [{ stepMicrobatch: 5 }, /KFAC: unknown option "stepMicrobatch"/],
])("%o is refused", async (options, message) => {
  await expect(make(classifier(), options)).rejects.toThrow(message);
  await expect(make(classifier(), options)).rejects.toThrow(OptionError);
});

describe("the Fisher matrix", () => {
  const regression = (): Batch => ({ ...labelled(12), y: ndarray(new Float64Array(36).fill(0.3), [12, 3]) });

  test("of a loss without a known distribution needs the batch's targets", async () => {
    const huber = await KFAC.create(classifier(), losses.huber, { engine });
    await expect(huber.step(regression())).rejects.toThrow(/set fisher: "empirical"/);
    const empirical = await KFAC.create(classifier(), losses.huber, { engine, fisher: "empirical" });
    await empirical.step(regression());
  });

  test("of classes along another axis needs them too", async () => {
    const model = fromFunction({ w: ndarray(Float64Array.of(1, 0.3), [2, 1]) }, ({ w }, x) => x!.matmul(w!.t()));
    const places = (output: Tensor, target: Tensor): Tensor => losses.crossEntropy(output.t(), target);
    const optimizer = await KFAC.create(model, places, { engine });
    const batch = { x: ndarray(new Float64Array(12), [4, 3, 1]), y: ndarray(new Int32Array(12), [4, 3]) };
    await expect(optimizer.step(batch)).rejects.toThrow(/set fisher: "empirical"/);
  });

  test("of a loss that contains the model needs them too", async () => {
    const model = classifier();
    const groups = partition.canonical(model);
    const loss = (x: Tensor, y: Tensor): Tensor => losses.nll(model.forward(x), y);
    await expect(KFAC.create(groups, loss, { engine })).rejects.toThrow(/set fisher: "empirical"/);
    const [own, whole] = [classifier(), await KFAC.create(groups, loss, { engine, fisher: "empirical" })];
    const parts = await make(own, { engine, fisher: "empirical" });
    for (let i = 0; i < 3; i++)
      expect((await whole.step(labelled(12))).loss).toBe((await parts.step(labelled(12))).loss);
  });

  test("of labels is the same for every function of them that is a likelihood", async () => {
    const smoothed = (output: Tensor, target: Tensor): Tensor =>
      losses.crossEntropy(output, target, { labelSmoothing: 0 });
    const [named, wrapped] = await Promise.all(
      [losses.crossEntropy, smoothed].map((loss) => KFAC.create(classifier(), loss, { engine })),
    );
    expect(await trained(wrapped!, labelled(12), 3)).toBe(await trained(named!, labelled(12), 3));
  });

  test("leaves ignored labels out", async () => {
    const ignoring = (output: Tensor, target: Tensor): Tensor => losses.nll(output, target, { ignoreIndex: -100 });
    const batch = { x: labelled(6).x, y: ndarray(new Int32Array(6).fill(-100).with(2, 1), [6]) };
    const optimizer = await KFAC.create(classifier(), ignoring, { engine });
    await optimizer.step(batch);
    const { data } = (await optimizer.state()).stepper.tensors["k:left:layers.1.weight"]!;
    // One sample is left: its matrix has rank 1.
    expect(data[0]).toBeGreaterThan(0);
    expect(data[0]! * data[4]!).toBeCloseTo(data[1]! ** 2, 12);
  });

  test("has the second moments of the model's distribution", async () => {
    const model = fromFunction({ w: ndarray(Float64Array.of(1, 0.3, -0.8), [3, 1]) }, ({ w }, x) => x!.matmul(w!.t()));
    const samples = 4000;
    const batch = {
      x: ndarray(new Float64Array(samples).fill(1), [samples, 1]),
      y: ndarray(new Int32Array(samples), [samples]),
    };
    const optimizer = await KFAC.create(model, losses.crossEntropy, { engine });
    await optimizer.step(batch);
    const { "k:left:w": fisher } = (await optimizer.state()).stepper.tensors;
    const p = [1, 0.3, -0.8].map((z) => Math.exp(z) / [1, 0.3, -0.8].reduce((sum, each) => sum + Math.exp(each), 0));
    // Means of 4000 draws of numbers below 1: five standard deviations are below 0.04.
    for (const [i, a] of p.entries())
      for (const [j, b] of p.entries())
        expect(Math.abs(fisher!.data[3 * i + j]! - ((i === j ? a : 0) - a * b))).toBeLessThan(0.04);
  });
});

describe("it reaches a lower loss than gradient descent", () => {
  /** Gradient descent with the best of many learning rates. */
  async function bestOfSGD(model: () => Module, loss: typeof losses.mse, batch: Batch, steps: number): Promise<number> {
    const found: number[] = [];
    for (let exponent = -7; exponent <= 1; exponent++) {
      const updater = new SGDUpdater({ momentum: 0.9 });
      const options = { engine: double, updater, lr: 10 ** exponent, onNonFinite: "skip", log: () => {} } as const;
      found.push(await trained(await Optimizer.create(model(), loss, options), batch, steps));
    }
    return Math.min(...found.filter((each) => !Number.isNaN(each)));
  }

  test("on inputs of very different scales", async () => {
    const model = (): Module => perceptron({ layers: [5, 8, 3], seed: 1, sigmaB: 0.3 });
    const data = labelled(60).x.data as Float64Array;
    const largest = (i: number): number =>
      [1, 2].reduce((top, c) => (data[5 * i + c]! > data[5 * i + top]! ? c : top), 0);
    const batch = {
      x: ndarray(
        data.map((value, i) => value * [0.01, 1, 10, 1, 1][i % 5]!),
        [60, 5],
      ),
      y: ndarray(
        Int32Array.from({ length: 60 }, (_, i) => largest(i)),
        [60],
      ),
    };
    const sgd = await bestOfSGD(model, losses.nll, batch, 60);
    const kfac = await make(model(), { ...FAST, klClip: 0.01 });
    expect(await trained(kfac, batch, 60)).toBeLessThan(0.5 * sgd);
  });

  test("with convolutions, batch normalisation and dropout", async () => {
    const model = (): Module => {
      manualSeed(1);
      return new Sequential(
        new Conv2d(2, 6, 3, { padding: 1 }),
        new BatchNorm2d(6),
        new ReLU(),
        new Conv2d(6, 4, 3),
        new ReLU(),
        new Flatten(),
        new Dropout(0.1),
        new Linear(36, 3),
      );
    };
    const random = new Random(4);
    const draw = (count: number): Float64Array => Float64Array.from({ length: count }, () => random.normal());
    const images = ndarray(
      draw(40 * 50).map((value, i) => value * (i % 50 < 25 ? 30 : 0.1)),
      [40, 2, 5, 5],
    );
    const batch = { x: images, y: ndarray(draw(120), [40, 3]) };
    const sgd = await bestOfSGD(model, losses.mse, batch, 40);
    const options = { ...FAST, engine: double, damping: 0.1, klClip: 0.01 };
    expect(await trained(await KFAC.create(model(), losses.mse, options), batch, 40)).toBeLessThan(0.8 * sgd);
  });
});

/** A table whose rows are also the classes' weights. */
class Tied extends Module {
  readonly table: Parameter = new Embedding(5, 4).weight;
  readonly mixing: Linear = new Linear(4, 4);

  override forward(x: Tensor): Tensor {
    return this.mixing.forward(this.table.indexSelect(0, x)).tanh().matmul(this.table.t());
  }
}

test("a tied embedding has a diagonal, and learns", async () => {
  manualSeed(2);
  const numbers = ndarray(
    Int32Array.from({ length: 20 }, (_, i) => i % 5),
    [20],
  );
  const next = ndarray(
    numbers.data.map((each) => (each + 2) % 5),
    [20],
  );
  const optimizer = await KFAC.create(new Tied(), losses.crossEntropy, { ...FAST, engine: double, damping: 0.01 });
  const first = (await optimizer.step({ x: numbers, y: next })).loss;
  expect(await trained(optimizer, { x: numbers, y: next }, 60)).toBeLessThan(0.1 * first);
  const { tensors } = (await optimizer.state()).stepper;
  expect(
    Object.keys(tensors)
      .filter((name) => name.startsWith("k:"))
      .sort(),
  ).toEqual([
    "k:left:mixing.weight",
    "k:leftInverse:mixing.weight",
    "k:right:mixing.weight",
    "k:rightInverse:mixing.weight",
    "k:square:table",
  ]);
});

test("a penalty on the weights in the loss leaves layers what they are", async () => {
  const model = classifier();
  const weights = model.parameters();
  const penalised = (output: Tensor, target: Tensor): Tensor =>
    weights.reduce<Tensor>((sum, each) => sum.add(each.square().sum().mul(0.01)), losses.nll(output, target));
  const optimizer = await KFAC.create(model, penalised, { engine });
  await optimizer.step(labelled(6));
  const { tensors } = (await optimizer.state()).stepper;
  expect(Object.keys(tensors).some((name) => name.startsWith("k:square"))).toBe(false);
});

describe("a step", () => {
  test("that is not finite changes nothing but the random numbers", async () => {
    const [model, own] = [classifier(), new StrictEngine()];
    const optimizer = await make(model, { ...FAST, engine: own });
    await optimizer.step(labelled(6));
    const [state, weights] = [await optimizer.state(), await model.stateDict()];
    const huge = { ...labelled(6), x: ndarray(new Float64Array(30).fill(1e200), [6, 5]) };
    await expect(optimizer.step(huge)).rejects.toThrow(NonFiniteError);
    expect(await optimizer.state()).toEqual(state);
    expect(await model.stateDict()).toEqual(weights);
  });

  test("compiles one program for each kind of step, and keeps no more tensors than before", async () => {
    const own = new StrictEngine();
    const optimizer = await make(classifier(), { engine: own, factorUpdateSteps: 2, invUpdateSteps: 4 });
    for (let i = 0; i < 5; i++) await optimizer.step(labelled(6));
    const [{ compiled }, { tensors }] = [own.sessions, own];
    for (let i = 0; i < 5; i++) await optimizer.step(labelled(7));
    expect([own.sessions.compiled, own.tensors]).toEqual([compiled, tensors]);
    expect(compiled).toBe(3);
  });

  test("is not longer than klClip says", async () => {
    const lengths = await Promise.all(
      [1e-3, 4e-3].map(async (klClip) => {
        const model = classifier();
        const before = await model.stateDict();
        await (await make(model, { engine, klClip, lr: 10 })).step(labelled(6));
        const after = await model.stateDict();
        const moves = Object.entries(after).flatMap(([name, { data }]) =>
          [...data].map((x, i) => x - before[name]!.data[i]!),
        );
        return Math.hypot(...moves);
      }),
    );
    expect(lengths[1]! / lengths[0]!).toBeCloseTo(2, 10);
  });

  test("without a batch is refused", async () => {
    const optimizer = await make(classifier(), { engine });
    for (const given of [undefined, { gradient: {} }])
      await expect(optimizer.step(given)).rejects.toThrow(/KFAC: a step needs a batch/);
  });
});
