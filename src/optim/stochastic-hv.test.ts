import { afterAll, describe, expect, test } from "vitest";
import { assertClose } from "../../test/support/close.ts";
import { classifier, labelLoss, labelled } from "../../test/support/models.ts";
import { type Engine, ReferenceEngine } from "../engine/index.ts";
import { OrtNodeEngine } from "../engine/ort-node.ts";
import {
  BatchNorm1d,
  Conv2d,
  Dropout,
  Embedding,
  Flatten,
  fromFunction,
  GELU,
  LayerNorm,
  Linear,
  losses,
  MaxPool2d,
  Module,
  MultiHeadAttention,
  manualSeed,
  ReLU,
  Sequential,
  Tanh,
  type Tensor,
} from "../nn/index.ts";
import { computeHg, type Direction, partition, valueAndGrad } from "../summary/index.ts";
import { OptionError, ShapeError } from "../util/errors.ts";
import { type Batch, type FloatData, type NDArray, ndarray } from "../util/ndarray.ts";
import { Random } from "../util/random.ts";
import {
  MuonUpdater,
  NewtonStochasticHv,
  NewtonSummary,
  Optimizer,
  type StochasticHvOptions,
  StochasticHvUpdater,
  type Updater,
} from "./index.ts";

const engine = new ReferenceEngine();
const double = new OrtNodeEngine({ precision: "float64", threads: 1 });
afterAll(() => double.dispose());

/** H v with v = θ², which must be held fixed. */
const square: Updater = {
  name: "Square",
  options: {},
  stateNames: [],
  hessianVector: ({ parameter }) => parameter.mul(parameter),
  update: ({ hessianProduct }) => ({ direction: hessianProduct!, state: {} }),
};

/** Layers one after the other, the same each time. */
function network(make: () => Module[]): () => Module {
  return () => {
    manualSeed(7);
    return new Sequential(...make());
  };
}

/** Images of 8 × 8 in 2 channels. */
function images(samples: number): Batch {
  const random = new Random(4);
  const data = Float64Array.from({ length: samples * 2 * 64 }, () => random.normal());
  return { x: ndarray(data, [samples, 2, 8, 8]), y: labelled(samples).y };
}

const text: Batch = {
  x: ndarray(Int32Array.of(0, 2, 1, 3, 3, 1), [2, 3]),
  y: ndarray(Int32Array.of(1, 2, 0, 2, 1, 0), [2, 3]),
};

class Attentive extends Module {
  readonly table = new Embedding(4, 4);
  readonly norm = new LayerNorm(4);
  readonly attention = new MultiHeadAttention(4, 2);
  readonly last = new Linear(4, 3);

  override forward(x: Tensor): Tensor {
    return this.last.forward(this.attention.forward(this.norm.forward(this.table.forward(x)))).permute(0, 2, 1);
  }
}

const dropping = network(() => [new Linear(5, 6), new ReLU(), new Dropout(0.4), new Linear(6, 3)]);
const cases: [string, () => Module, Batch][] = [
  ["a perceptron", classifier, labelled(6)],
  ["ReLU and dropout", dropping, labelled(6)],
  [
    "batch norm in training mode",
    network(() => [new Linear(5, 6), new BatchNorm1d(6), new Tanh(), new Linear(6, 3)]),
    labelled(6),
  ],
  [
    "convolutions, ReLU and maximum pooling",
    network(() => [
      new Conv2d(2, 3, 3, { padding: 1 }),
      new ReLU(),
      new MaxPool2d(2),
      new Conv2d(3, 4, 3, { stride: 2 }),
      new GELU(),
      new Flatten(),
      new Linear(4, 3),
    ]),
    images(3),
  ],
  ["an embedding with attention", network(() => [new Attentive()]), text],
];

/** The trained parameters of a model, moved to θ + step θ². */
async function parameters(model: Module, step = 0): Promise<Record<string, NDArray<FloatData>>> {
  const named = model.namedParameters().map(async ([name, { variable }]) => {
    const { shape, data } = await variable.read();
    return [name, { shape, data: Float64Array.from(data, (value) => value + step * value ** 2) }] as const;
  });
  return Object.fromEntries(await Promise.all(named));
}

const flat = (arrays: Direction): number[] => Object.values(arrays).flatMap(({ data }) => Array.from(data));
const minus = (x: Direction, y: Direction): Direction =>
  Object.fromEntries(
    Object.entries(x).map(([name, { shape, data }]) => [
      name,
      { shape, data: Float64Array.from(data, (value, i) => value - y[name]!.data[i]!) },
    ]),
  );

/** H v by one compiled step of rate 1. */
async function product(make: () => Module, batch: Batch, on: Engine): Promise<Direction> {
  const model = make();
  const before = await parameters(model);
  const optimizer = await Optimizer.create(model, labelLoss, { updater: square, lr: 1, engine: on });
  await optimizer.step(batch);
  await optimizer.dispose();
  return minus(before, await parameters(model));
}

const STEP = 1e-4;
describe.each(cases)("H v of %s", (_what, make, batch) => {
  test("is the change of the gradient along v", async () => {
    const gradientAt = async (step: number): Promise<Direction> => {
      const model = make();
      model.loadStateDict({ ...(await model.stateDict()), ...(await parameters(model, step)) });
      return (await valueAndGrad(model, labelLoss, batch, { engine })).gradient;
    };
    const change = minus(await gradientAt(STEP), await gradientAt(-STEP));
    const expected = flat(change).map((value) => value / (2 * STEP));
    // Central differences: STEP² times a third derivative of the gradient, and 1e-16 / STEP of rounding.
    assertClose(flat(await product(make, batch, engine)), expected, { relative: 1e-6 }, "H v");
  });

  test("gives the sums of the summary's H̄ along v", async () => {
    const model = make();
    const direction = minus(await parameters(model, 1), await parameters(model));
    const { H } = await computeHg(model, labelLoss, batch, { engine, direction });
    const groups = partition.canonical(model);
    const found = await product(make, batch, engine);
    const names = model.namedParameters().map(([name]) => name);
    const expected = groups.map((_, s) => H.slice(s * groups.length, (s + 1) * groups.length).reduce((x, y) => x + y));
    const dots = names.map((name) =>
      Array.from(direction[name]!.data).reduce((sum, value, i) => sum + value * found[name]!.data[i]!, 0),
    );
    // Both are exact: rounding only.
    assertClose(dots, expected, { relative: 1e-11 }, "⟨v, H v⟩ by group");
  });

  test("is the same on ONNX Runtime in float64", async () => {
    const [found, expected] = [await product(make, batch, double), await product(make, batch, engine)];
    assertClose(flat(found), flat(expected), { relative: 1e-11 }, "H v");
  });
});

/** L = ½ wᵀA w − bᵀw: the gradient is A w − b, and the Hessian A, at every w. */
const A = [
  [3, 1],
  [1, 2],
] as const;
const quadratic = () =>
  fromFunction({ u: ndarray(Float64Array.of(0.5), []), v: ndarray(Float64Array.of(-1), []) }, ({ u, v }) =>
    u!
      .square()
      .mul(A[0][0] / 2)
      .add(u!.mul(v!).mul(A[0][1]))
      .add(v!.square().mul(A[1][1] / 2))
      .sub(u!.mul(4)),
  );

/** What the updater remembers after so many steps that do not move the parameters. */
async function learned(options: StochasticHvOptions, steps: number): Promise<number[]> {
  const model = quadratic();
  const start = await model.stateDict();
  const updater = new StochasticHvUpdater(options);
  const optimizer = await Optimizer.create(model, (loss) => loss, { updater, lr: 1, engine });
  for (let i = 0; i < steps; i++) {
    model.loadStateDict(start);
    await optimizer.step();
  }
  return flat((await optimizer.state()).stepper.tensors);
}

describe("the direction", () => {
  test("is d ← d − lr (H d + ridge d − g), from 0", async () => {
    const [lr, ridge] = [0.2, 0.3];
    const g = [3 * 0.5 - 1 - 4, 0.5 - 2];
    let d = [0, 0];
    for (let i = 0; i < 3; i++) {
      d = d.map((value, s) => value - lr * (A[s]![0] * d[0]! + A[s]![1] * d[1]! + ridge * value - g[s]!));
      assertClose(await learned({ lr, ridge }, i + 1), d, { relative: 1e-14 }, "d");
    }
  });

  test.each([0, 0.5, 4])("tends to (H + ridge)⁻¹ g where these stay the same, ridge %f", async (ridge) => {
    const [a, b, c] = [A[0][0] + ridge, A[0][1], A[1][1] + ridge];
    const g = [3 * 0.5 - 1 - 4, 0.5 - 2] as const;
    const expected = [c * g[0] - b * g[1], a * g[1] - b * g[0]].map((value) => value / (a * c - b * b));
    // The slowest mode shrinks by 1 − lr (1.38 + ridge) a step: 0.79²⁰⁰ = 1e-20.
    assertClose(await learned({ lr: 0.15, ridge }, 200), expected, { relative: 1e-12 }, "d");
  });

  test("goes on from a saved state to the last bit, masks included", async () => {
    const make = (model: Module) =>
      Optimizer.create(model, losses.crossEntropy, { updater: new StochasticHvUpdater(), lr: 0.1, engine: double });
    const [first, second] = [dropping(), dropping()];
    const [optimizer, resumed] = [await make(first), await make(second)];
    for (let i = 0; i < 3; i++) await optimizer.step(labelled(6, i));
    second.loadStateDict(await first.stateDict());
    await resumed.restore(await optimizer.state());
    for (let i = 3; i < 6; i++) {
      const batch = labelled(6, i);
      expect(await resumed.step(batch)).toEqual(await optimizer.step(batch));
    }
    expect(await second.stateDict()).toEqual(await first.stateDict());
    expect(await resumed.state()).toEqual(await optimizer.state());
  });
});

describe("a rule with a product with the Hessian", () => {
  const make = (updater: Updater) => Optimizer.create(quadratic(), (loss) => loss, { updater, lr: 0.1, engine });

  test("refuses a gradient that the caller gives", async () => {
    const optimizer = await make(new StochasticHvUpdater());
    const gradient = { u: ndarray(Float64Array.of(1), []), v: ndarray(Float64Array.of(1), []) };
    const step = optimizer.step({ gradient });
    await expect(step).rejects.toThrow("updater StochasticHv: a step needs a batch, for its product with the Hessian");
    await expect(step).rejects.toThrow(OptionError);
  });

  test("whose vector has another shape is refused by name", async () => {
    const optimizer = await make({ ...square, hessianVector: ({ parameter }) => parameter.unsqueeze(0) });
    await expect(optimizer.step()).rejects.toThrow(
      /updater Square: the hessianVector of u: expected float\[\], found float\[1\]/,
    );
    await expect(optimizer.step()).rejects.toThrow(ShapeError);
  });

  test("gets zeros where the loss has no curvature", async () => {
    const flatModel = fromFunction({ w: ndarray(Float64Array.of(2), []) }, ({ w }) => w!.mul(3));
    const optimizer = await Optimizer.create(flatModel, (loss) => loss, { updater: square, lr: 1, engine });
    await optimizer.step();
    expect((await flatModel.stateDict()).w!.data[0]).toBe(2);
  });

  test("is no rule for Muon's others", () => {
    expect(() => new MuonUpdater({ others: new StochasticHvUpdater() })).toThrow(/others must be an updater of single/);
  });

  test.each<[StochasticHvOptions, RegExp]>([
    [{ lr: 0 }, /StochasticHvUpdater: lr must be a number above 0; found 0/],
    [{ ridge: -1 }, /ridge must be a number of at least 0; found -1/],
  ])("%o is refused", (options, message) => {
    expect(() => new StochasticHvUpdater(options)).toThrow(message);
  });
});

describe("NewtonStochasticHv", () => {
  const own = { engine, periodHg: 3, log: () => {} };

  test("is NewtonSummary along a direction that is learned", async () => {
    const direction = { lr: 0.2, ridge: 0.5 };
    const [model, other] = [classifier(), classifier()];
    const learning = await NewtonStochasticHv.create(model, losses.nll, { ...own, direction });
    const updater = new StochasticHvUpdater(direction);
    const plain = await NewtonSummary.create(other, losses.nll, { ...own, updater });
    for (let i = 0; i < 7; i++) expect(await learning.step(labelled(6, i))).toEqual(await plain.step(labelled(6, i)));
    const state = await learning.state();
    expect(state).toEqual(await plain.state());
    await plain.restore(state);
  });

  test("takes groups, and trains", async () => {
    const model = classifier();
    const loss = (x: Tensor, y: Tensor) => losses.nll(model.forward(x), y);
    const learning = await NewtonStochasticHv.create(partition.canonical(model), loss, own);
    const found: number[] = [];
    for (let i = 0; i < 30; i++) found.push((await learning.step(labelled(20))).loss);
    expect(found[29]).toBeLessThan(found[0]! / 2);
  });

  test.each<[object, RegExp]>([
    [{ updater: square }, /updater would be ignored beside direction/],
    [{ momentum: 0.9 }, /momentum would be ignored beside direction/],
    [{ direction: { lr: -1 } }, /StochasticHvUpdater: lr must be/],
    [{ direction: { damping: 1 } }, /StochasticHvUpdater: unknown option "damping"/],
    [{ damp: 1 }, /NewtonStochasticHv: unknown option "damp"/],
  ])("%o is refused", async (options, message) => {
    await expect(NewtonStochasticHv.create(classifier(), losses.nll, { ...own, ...options })).rejects.toThrow(message);
  });

  test("refuses options that are none", async () => {
    const create = NewtonStochasticHv.create(classifier(), losses.nll, null as never);
    await expect(create).rejects.toThrow(/NewtonStochasticHv: expected an object of options/);
  });

  test("keeps its states apart from those of other directions", async () => {
    const learning = await NewtonStochasticHv.create(classifier(), losses.nll, own);
    const slower = await NewtonStochasticHv.create(classifier(), losses.nll, { ...own, direction: { lr: 0.05 } });
    const plain = await NewtonSummary.create(classifier(), losses.nll, own);
    const state = await learning.state();
    for (const optimizer of [slower, plain])
      await expect(optimizer.restore(state)).rejects.toThrow(/it is of another updater/);
  });
});
