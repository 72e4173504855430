import { describe, expect, test } from "vitest";
import { classifier, labelled } from "../../test/support/models.ts";
import { StrictEngine } from "../../test/support/strict-engine.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { constant, fromFunction, losses, type Module, Parameter, type Tensor } from "../nn/index.ts";
import { OptionError } from "../util/errors.ts";
import { ndarray } from "../util/ndarray.ts";
import {
  type AdamOptions,
  AdamUpdater,
  AdamWUpdater,
  type EvaluationInputs,
  LBFGS,
  LionUpdater,
  MuonUpdater,
  Optimizer,
  ProdigyUpdater,
  RMSpropUpdater,
  ScheduleFreeAdamWUpdater,
  type SGDOptions,
  SGDUpdater,
  StochasticHvUpdater,
  type Updater,
  type UpdaterInputs,
} from "./index.ts";

const engine = new ReferenceEngine();
const START = 1.5;
const LR = 0.1;

/** L = w⁴ / 4, whose gradient is w³. */
const model = () => fromFunction({ w: ndarray(Float64Array.of(START), []) }, ({ w }) => w.pow(4).mul(0.25));

async function trajectory(updater: Updater): Promise<number[]> {
  const own = model();
  const optimizer = await Optimizer.create(own, (loss) => loss, { updater, lr: LR, engine });
  const path: number[] = [];
  for (let i = 0; i < 6; i++) {
    await optimizer.step();
    path.push((await own.stateDict()).w!.data[0]!);
  }
  await optimizer.dispose();
  return path;
}

/** torch.optim.SGD as its documentation states it. */
function sgd({
  momentum = 0,
  dampening = 0,
  nesterov = false,
  weightDecay = 0,
  maximize = false,
}: SGDOptions): number[] {
  let [w, buffer] = [START, 0];
  return Array.from({ length: 6 }, (_, step) => {
    const g = (maximize ? -(w ** 3) : w ** 3) + weightDecay * w;
    buffer = step === 0 ? g : momentum * buffer + (1 - dampening) * g;
    w -= LR * (momentum === 0 ? g : nesterov ? g + momentum * buffer : buffer);
    return w;
  });
}

/** torch.optim.Adam as its documentation states it. */
function adam(options: AdamOptions): number[] {
  const { betas: [b1, b2] = [0.9, 0.999], eps = 1e-8, amsgrad = false, weightDecay = 0, maximize = false } = options;
  let [w, m, v, most] = [START, 0, 0, 0];
  return Array.from({ length: 6 }, (_, i) => {
    const g = (maximize ? -(w ** 3) : w ** 3) + weightDecay * w;
    m = b1 * m + (1 - b1) * g;
    v = b2 * v + (1 - b2) * g * g;
    most = amsgrad ? Math.max(most, v) : v;
    w -= (LR * (m / (1 - b1 ** (i + 1)))) / (Math.sqrt(most / (1 - b2 ** (i + 1))) + eps);
    return w;
  });
}

/** A rule that keeps nothing. */
function result(direction: (inputs: UpdaterInputs) => Tensor): Updater["update"] {
  return (inputs) => ({ direction: direction(inputs), state: {} });
}

function expectPath(actual: number[], expected: number[]): void {
  for (const [i, value] of expected.entries()) expect(actual[i]).toBeCloseTo(value, 12);
}

describe("SGD", () => {
  test.each<SGDOptions>([
    {},
    { momentum: 0.9 },
    { momentum: 0.9, dampening: 0.9 },
    { momentum: 0.8, nesterov: true },
    { momentum: 0.5, weightDecay: 0.1 },
    { weightDecay: 0.2 },
    { momentum: 0.5, dampening: 0.2, maximize: true, weightDecay: 0.1 },
  ])("%o is as in PyTorch", async (options) => {
    expectPath(await trajectory(new SGDUpdater(options)), sgd(options));
  });

  test.each<[SGDOptions, RegExp]>([
    [{ momentum: 1 }, /momentum must be/],
    [{ momentum: -0.1 }, /momentum must be/],
    [{ dampening: 0.5 }, /dampening would be ignored without momentum/],
    [{ nesterov: true }, /nesterov needs momentum/],
    [{ weightDecay: -1 }, /weightDecay must be/],
  ])("%o is refused", (options, message) => {
    expect(() => new SGDUpdater(options)).toThrow(message);
    expect(() => new SGDUpdater(options)).toThrow(OptionError);
  });
});

describe("Adam", () => {
  test.each<AdamOptions>([
    {},
    { betas: [0.5, 0.6] },
    { amsgrad: true, betas: [0.5, 0.3] },
    { weightDecay: 0.1, eps: 1e-3 },
    { maximize: true },
  ])("%o is as in PyTorch", async (options) => {
    expectPath(await trajectory(new AdamUpdater(options)), adam(options));
  });
});

/** A constructor of an updater whose options need not be right. */
type Maker = new (options: object) => Updater;
test.each<[Maker, object, RegExp]>([
  [AdamUpdater, { betas: [1, 0.9] }, /AdamUpdater: betas\[0\] must be at least 0 and below 1; found 1/],
  [AdamUpdater, { betas: 0.9 }, /betas must be a list of 2; found 0.9/],
  [AdamUpdater, { betas: [0.9] }, /betas must be a list of 2/],
  [AdamUpdater, { eps: 0 }, /eps must be a number above 0; found 0/],
  [AdamUpdater, { maximize: 1 }, /maximize must be true or false/],
  [AdamWUpdater, { weightDecay: Number.NaN }, /AdamWUpdater: weightDecay must be/],
  [AdamWUpdater, { lr: 1 }, /AdamWUpdater: unknown option "lr"/],
  [RMSpropUpdater, { alpha: 1 }, /RMSpropUpdater: alpha must be/],
  [RMSpropUpdater, { momentum: -1 }, /momentum must be/],
  [RMSpropUpdater, { eps: Number.POSITIVE_INFINITY }, /eps must be/],
  [MuonUpdater, { nsCoefficients: [1, 2] }, /MuonUpdater: nsCoefficients must be a list of 3/],
  [MuonUpdater, { nsCoefficients: [1, 2, Number.NaN] }, /nsCoefficients\[2\] must be a finite number/],
  [MuonUpdater, { nsSteps: 100 }, /nsSteps must be below 100/],
  [MuonUpdater, { nsSteps: 1.5 }, /nsSteps must be a whole number/],
  [MuonUpdater, { adjustLrFn: "none" }, /adjustLrFn must be one of original, match_rms_adamw, spectral_unclamped/],
  [MuonUpdater, { others: "AdamW" }, /MuonUpdater: others must be an updater; found AdamW/],
  [
    MuonUpdater,
    { others: new ScheduleFreeAdamWUpdater() },
    /others must be an updater of single parameters that gives/,
  ],
  [
    ScheduleFreeAdamWUpdater,
    { warmupSteps: -1 },
    /ScheduleFreeAdamWUpdater: warmupSteps must be a whole number, 0 or more/,
  ],
  [ScheduleFreeAdamWUpdater, { betas: [1, 0.9] }, /betas\[0\] must be/],
  [LionUpdater, { betas: [0.9, 2] }, /LionUpdater: betas\[1\] must be/],
])("%o refuses %o", (Kind, options, message) => {
  expect(() => new Kind(options)).toThrow(message);
  expect(() => new Kind(options)).toThrow(OptionError);
});

describe("a rule of one's own", () => {
  /** Momentum of which only the sign counts, weighted by the number of the step. */
  const signs: Updater = {
    name: "Signs",
    options: {},
    stateNames: ["average"],
    scalars: (step) => ({ weight: step + 1 }),
    update({ gradient, parameter, state, scalars }) {
      const average = state.average!.mul(0.75).add(gradient.mul(0.25));
      return { direction: average.sign().mul(scalars.weight!).add(parameter), state: { average } };
    },
  };

  test("is compiled into the step", async () => {
    let [w, m] = [START, 0];
    const expected = Array.from({ length: 6 }, (_, step) => {
      m = 0.75 * m + 0.25 * w ** 3;
      w -= LR * (Math.sign(m) * (step + 1) + w);
      return w;
    });
    expectPath(await trajectory(signs), expected);
  });

  test("needs neither state nor scalars", async () => {
    const plain: Updater = {
      name: "Plain",
      options: {},
      stateNames: [],
      update: ({ gradient }) => ({ direction: gradient, state: {} }),
    };
    expectPath(await trajectory(plain), sgd({}));
  });

  test("takes its state along", async () => {
    const make = (own: Module) => Optimizer.create(own, (loss) => loss, { updater: signs, lr: LR, engine });
    const first = model();
    const optimizer = await make(first);
    for (let i = 0; i < 3; i++) await optimizer.step();
    const [weights, state] = [await first.stateDict(), await optimizer.state()];
    await optimizer.step();
    const second = model();
    second.loadStateDict(weights);
    const resumed = await make(second);
    await resumed.restore(state);
    await resumed.step();
    expect(await second.stateDict()).toEqual(await first.stateDict());
  });

  const zero = (): Tensor => constant(ndarray(new Float64Array(1), []));
  test.each<[string, Partial<Updater>, RegExp]>([
    [
      "whose direction has another shape",
      { update: result(({ gradient }) => gradient.unsqueeze(0)) },
      /expected float\[\], found float\[1\]/,
    ],
    ["whose direction is no real number", { update: result(({ gradient }) => gradient.gt(0)) }, /found bool\[\]/],
    [
      "whose direction is no tensor",
      { update: result(() => 1 as never) },
      /direction of w must be a tensor; found number/,
    ],
    [
      "that draws random numbers of its own",
      { stateNames: [], update: result(({ gradient }) => gradient.mul(Math.random())) },
      /two traces of its rule differ/,
    ],
    [
      "that draws them for its state",
      { update: ({ gradient }) => ({ direction: gradient, state: { average: gradient.mul(Math.random()) } }) },
      /two traces of its rule differ/,
    ],
    [
      "that leaves out its state",
      { update: result(({ gradient }) => gradient) },
      /state "average" of w must be a tensor/,
    ],
    ["without a name", { name: undefined as never }, /updater: its name must be text; found undefined/],
    ["without options", { options: undefined as never }, /updater Signs: its options must be an object, {} for none/],
    [
      "without stateNames",
      { stateNames: undefined as never },
      /updater Signs: its stateNames must be a list, \[\] for none/,
    ],
    [
      "that returns nothing",
      { update: () => undefined as never },
      /updater Signs: what it gives for w has no direction: expected { direction, state }/,
    ],
    [
      "that returns its direction alone",
      { update: ({ gradient }) => ({ direction: gradient }) as never },
      /updater Signs: what it gives for w has no state: expected { direction, state }/,
    ],
    [
      "that keeps what it has not named",
      { update: ({ gradient }) => ({ direction: gradient, state: { average: zero(), other: zero() } }) },
      /state "other" is not among those that it names/,
    ],
    [
      "that uses a parameter it was not given",
      { update: result(({ gradient }) => gradient.mul(new Parameter(ndarray(new Float64Array(1), [])))) },
      /only the tensors that are given/,
    ],
  ])("%s is refused by name", async (_what, own, message) => {
    await expect(trajectory({ ...signs, ...own })).rejects.toThrow(message);
  });
});

test("Muon refuses what is no matrix, unless there is a rule for it", async () => {
  await expect(trajectory(new MuonUpdater())).rejects.toThrow(
    /expected matrices alone, found a parameter of shape \[\]/,
  );
  expectPath(await trajectory(new MuonUpdater({ others: new SGDUpdater({ momentum: 0.9 }) })), sgd({ momentum: 0.9 }));
});

describe("every optimiser compiles one program and keeps no more tensors from step to step", () => {
  const updaters: readonly Updater[] = [
    new SGDUpdater({ momentum: 0.9 }),
    new AdamUpdater({ amsgrad: true }),
    new AdamWUpdater(),
    new RMSpropUpdater({ centered: true, momentum: 0.9 }),
    new LionUpdater(),
    new MuonUpdater({ others: new AdamWUpdater() }),
    new ProdigyUpdater(),
    new ScheduleFreeAdamWUpdater({ warmupSteps: 3 }),
    new StochasticHvUpdater(),
  ];
  const own = { ...Object.fromEntries(updaters.map((updater) => [updater.name, updater])), LBFGS: undefined };
  test.each(Object.entries(own))("%s", async (_name, updater) => {
    const strict = new StrictEngine();
    const net = classifier();
    const optimizer = updater
      ? await Optimizer.create(net, losses.nll, { updater, lr: 1e-3, engine: strict })
      : await LBFGS.create(net, losses.nll, { engine: strict, maxIter: 3 });
    await optimizer.step(labelled(6));
    const { tensors, sessions } = strict;
    for (let i = 1; i < 4; i++) await optimizer.step(labelled(6 + i, i));
    expect(strict).toMatchObject({ tensors, sessions });
    // Beside its program of loss and gradient, L-BFGS has one that takes a step's end over.
    expect(sessions.compiled).toBe(updater ? 1 : 2);
    await optimizer.dispose();
    expect(strict.tensors.live).toBeLessThanOrEqual(net.parameters().length);
  });
});

describe("numbers for all parameters together", () => {
  const START_OF = { u: 1.5, v: -0.5 };
  const pair = () =>
    fromFunction(
      Object.fromEntries(Object.entries(START_OF).map(([name, value]) => [name, ndarray(Float64Array.of(value), [])])),
      ({ u, v }) => u!.pow(4).add(v!.pow(4)).mul(0.25),
    );
  /** Steps as long as the root of all squared gradients so far, over all parameters. */
  const normed: Updater = {
    name: "Normed",
    options: {},
    stateNames: [],
    shared: { names: ["total"], next: ({ shared, sums }) => ({ total: shared.total!.add(sums.squares!) }) },
    update: ({ gradient, shared }) => ({
      direction: gradient.mul(shared.total!.sqrt()),
      state: {},
      sums: { squares: gradient.mul(gradient).sum() },
    }),
  };
  const make = (own: Module, updater: Updater = normed) =>
    Optimizer.create(own, (loss) => loss, { updater, lr: LR, engine });

  test("follow from sums over them, and are saved", async () => {
    const [own, other] = [pair(), pair()];
    let { u, v } = START_OF;
    let total = 0;
    let optimizer = await make(own);
    for (let i = 0; i < 6; i++) {
      await optimizer.step();
      const [du, dv] = [u ** 3, v ** 3];
      [u, v] = [u - LR * Math.sqrt(total) * du, v - LR * Math.sqrt(total) * dv];
      total += du ** 2 + dv ** 2;
      const next = await (i % 2 === 0 ? own : other).stateDict();
      expect(next.u!.data[0]).toBeCloseTo(u, 12);
      expect(next.v!.data[0]).toBeCloseTo(v, 12);
      const goes = i % 2 === 0 ? other : own;
      goes.loadStateDict(next);
      const state = await optimizer.state();
      optimizer = await make(goes);
      await optimizer.restore(state);
    }
  });

  test.each<[string, Partial<Updater>, RegExp]>([
    [
      "whose sums are no numbers",
      { update: ({ gradient }) => ({ direction: gradient, state: {}, sums: { squares: gradient.unsqueeze(0) } }) },
      /the sum "squares" of u: expected float\[\]/,
    ],
    [
      "that leave one out",
      { shared: { names: ["total"], next: () => ({}) } },
      /shared number "total" must be a tensor/,
    ],
    [
      "that keep one without a name",
      {
        shared: { names: [], next: ({ sums }) => ({ other: sums.squares! }) },
        update: ({ gradient }) => ({ direction: gradient, state: {}, sums: { squares: gradient.sum() } }),
      },
      /its shared number "other" is not among those that it names/,
    ],
  ])("%s are refused by name", async (_what, own, message) => {
    await expect((await make(pair(), { ...normed, ...own })).step()).rejects.toThrow(message);
  });
});

test("Prodigy stands still where there is nothing to estimate from", async () => {
  const flat = fromFunction({ w: ndarray(Float64Array.of(START), []) }, ({ w }) => w!.mul(0));
  const optimizer = await Optimizer.create(flat, (loss) => loss, { updater: new ProdigyUpdater(), lr: 1, engine });
  for (let i = 0; i < 3; i++) await optimizer.step();
  expect((await flat.stateDict()).w!.data[0]).toBe(START);
});

describe("weights to use", () => {
  const make = (own: Module, updater: Updater) => Optimizer.create(own, (loss) => loss, { updater, lr: LR, engine });

  test("are the model's own before the first step, and its own still afterwards", async () => {
    const own = model();
    const optimizer = await make(own, new ScheduleFreeAdamWUpdater());
    expect(await optimizer.evaluationWeights()).toEqual(await own.stateDict());
    for (let i = 0; i < 3; i++) await optimizer.step();
    const trained = await own.stateDict();
    const weights = await optimizer.evaluationWeights();
    expect(weights.w!.data[0]).not.toBe(trained.w!.data[0]);
    expect(await own.stateDict()).toEqual(trained);
    own.loadStateDict(weights);
    expect((await own.stateDict()).w!.data[0]).toBe(weights.w!.data[0]);
  });

  test("are the model's while a task runs, also where it fails", async () => {
    const own = model();
    const optimizer = await make(own, new ScheduleFreeAdamWUpdater());
    for (let i = 0; i < 3; i++) await optimizer.step();
    const [trained, weights] = [await own.stateDict(), await optimizer.evaluationWeights()];
    expect(await optimizer.withEvaluationWeights(() => own.stateDict())).toEqual(weights);
    expect(await own.stateDict()).toEqual(trained);
    await expect(optimizer.withEvaluationWeights(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(await own.stateDict()).toEqual(trained);
  });

  test("come with the saved state", async () => {
    const [own, other] = [model(), model()];
    const [optimizer, resumed] = [
      await make(own, new ScheduleFreeAdamWUpdater()),
      await make(other, new ScheduleFreeAdamWUpdater()),
    ];
    for (let i = 0; i < 3; i++) await optimizer.step();
    other.loadStateDict(await own.stateDict());
    await resumed.restore(await optimizer.state());
    expect(await resumed.evaluationWeights()).toEqual(await optimizer.evaluationWeights());
  });

  test("of another shape are refused by name", async () => {
    const odd: Updater = Object.assign(new SGDUpdater(), {
      evaluation: ({ parameter }: EvaluationInputs) => parameter.unsqueeze(0),
    });
    const optimizer = await make(model(), odd);
    await expect(optimizer.evaluationWeights()).rejects.toThrow(/updater SGD: the evaluation of w: expected float\[\]/);
  });
});

test("a learning rate must be above 0", async () => {
  const options = { updater: new SGDUpdater(), lr: 0, engine };
  await expect(Optimizer.create(model(), (loss) => loss, options)).rejects.toThrow(
    "lr must be a number above 0; found 0",
  );
});
