import { afterAll, describe, expect, test } from "vitest";
import { classifier, labelled } from "../../test/support/models.ts";
import { StrictEngine } from "../../test/support/strict-engine.ts";
import { Dataset, type Loader } from "../datasets/index.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { OrtNodeEngine } from "../engine/ort-node.ts";
import { evaluate, fromFunction, Linear, losses, Module, type Tensor } from "../nn/index.ts";
import { computeHg } from "../summary/index.ts";
import { DisposedError, NonFiniteError, OptionError, PartitionError, StateError } from "../util/errors.ts";
import { type Batch, type FloatData, isFloat, type NDArray, ndarray } from "../util/ndarray.ts";
import {
  AdamUpdater,
  AdamWUpdater,
  MuonUpdater,
  NewtonSummary,
  type NewtonSummaryOptions,
  Optimizer,
  ProdigyUpdater,
  RMSpropUpdater,
  ScheduleFreeAdamWUpdater,
  SGDUpdater,
  type TrainingOptimizer,
  type Updater,
} from "./index.ts";

const engine = new ReferenceEngine();
const double = new OrtNodeEngine({ precision: "float64", threads: 1 });
afterAll(() => double.dispose());

const data = Dataset.fromArrays(labelled(40, 5).x, labelled(40, 5).y);
const loader = (options: object = {}): Loader => data.loader({ batchSize: 12, shuffle: true, seed: 3, ...options });
const make = (model: Module, options: NewtonSummaryOptions = {}): Promise<NewtonSummary> =>
  NewtonSummary.create(model, losses.nll, { engine, periodHg: 3, log: () => {}, ...options });

/** A batch of which one input is NaN. */
function poisoned(batch: Batch = labelled(6)): Batch {
  if (!isFloat(batch.x)) throw new Error("not real");
  return { x: { ...batch.x, data: batch.x.data.map((value, i) => (i === 8 ? Number.NaN : value)) }, y: batch.y };
}

type Tree = Record<string, unknown>;
type Spoil = (state: Tree) => void;

/** All that a step may change. */
async function everything(optimizer: NewtonSummary, model: Module): Promise<unknown> {
  const weights = Object.entries(await model.stateDict()).map(([name, { data: values }]) => [name, [...values]]);
  return [await optimizer.state(), weights];
}

describe("a saved state", () => {
  test("taken before the first step, or after a probe or a failed step, can be restored", async () => {
    const optimizer = await make(classifier(), { hgLoader: loader(), updater: new AdamUpdater() });
    const states = [await optimizer.state()];
    await optimizer.probe(labelled(6));
    states.push(await optimizer.state());
    await expect(optimizer.step(poisoned())).rejects.toThrow(NonFiniteError);
    states.push(await optimizer.state());
    for (const state of states) {
      expect(state).toEqual(states[0]);
      await optimizer.restore(state);
    }
  });

  test.each([null, 3, {}, []])("%j is none", async (state) => {
    await expect((await make(classifier())).restore(state)).rejects.toThrow(StateError);
  });

  test("is a copy, and restoring copies it", async () => {
    const optimizer = await make(classifier(), { engine: double });
    await optimizer.step(labelled(6));
    const state = await optimizer.state();
    const copy = structuredClone(state);
    await optimizer.restore(state);
    for (let i = 0; i < 4; i++) await optimizer.step(labelled(6, i));
    expect(state).toEqual(copy);
  });

  test.each<[string, (state: Record<string, unknown>) => void, RegExp]>([
    ["of another version", (state) => (state.format = "grnewt-optimizer-0"), /another version/],
    ["of a plain optimiser", (state) => (state.kind = "Optimizer"), /another optimiser/],
    [
      "with an updater's tensor missing",
      tensors("s:momentum:layers.0.bias", undefined),
      /layers.0.bias must be a tensor of shape \[4\], all finite; found nothing/,
    ],
    [
      "with one of another shape",
      tensors("s:momentum:layers.0.bias", ndarray(new Float64Array(3), [3])),
      /layers.0.bias must be a tensor of shape \[4\]/,
    ],
    [
      "with one too many",
      tensors("s:other:w", ndarray(new Float64Array(1), [1])),
      /stepper.tensors.s:other:w is unknown/,
    ],
    ["of a loader with other options", (state) => (state.hgLoader = loader({ seed: 4 }).state), /seed is 4/],
    ["without the loader's place", (state) => (state.hgLoader = undefined), /saved without the place of an hgLoader/],
    [
      "with rates for other groups",
      rates({ smoothed: new Float64Array(3) }),
      /rates.smoothed must be a Float64Array of 4, all finite; found a Float64Array of 3/,
    ],
    [
      "with rates that are NaN",
      moments({ H: new Float64Array(16).fill(Number.NaN) }),
      /rates.average.current.H must be a Float64Array of 16, all finite/,
    ],
    ["with rates that JSON took apart", moments({ g: { 0: 1, 1: 1, 2: 1, 3: 1 } }), /g must be a Float64Array/],
    ["with averages of no number of summaries", average({ count: 0.5 }), /rates.average.count must be 1; found 0.5/],
    ["without rates", (state) => (state.rates = null), /rates must be an object; found null/],
    ["with a step that is none", (state) => (state.step = -1), /step must be a whole number, 0 or more; found -1/],
    [
      "with a damping that is none",
      (state) => (state.damping = new Float64Array(4)),
      /damping must be a Float64Array of 4, all finite and above 0; .*: 0,0,0,0/,
    ],
    [
      "with dampings for other groups",
      (state) => (state.damping = Float64Array.of(1)),
      /damping must be a Float64Array of 4/,
    ],
    [
      "without a dampingInt",
      (state) => delete state.dampingInt,
      /dampingInt must be a number, finite and at least 0; found nothing/,
    ],
    ["of normalised directions", rates({ scale: new Float64Array(4) }), /rates.scale is unknown/],
    ["without what the updater remembers", (state) => delete state.stepper, /stepper must be an object; found nothing/],
    [
      "with a step of the updater that is none",
      stepper({ updates: 0.5 }),
      /stepper.updates must be a whole number from 1 to 2; found 0.5/,
    ],
    [
      "with an updater's tensor that is NaN",
      tensors("s:momentum:layers.0.bias", ndarray(new Float64Array(4).fill(Number.NaN), [4])),
      /layers.0.bias must be a tensor of shape \[4\], all finite/,
    ],
    [
      "with one that JSON took apart",
      tensors("s:momentum:layers.0.bias", { shape: [4], data: { 0: 1, 1: 1, 2: 1, 3: 1 } }),
      /layers.0.bias must be a tensor of shape \[4\], all finite/,
    ],
    [
      "with a dampingInt that is none",
      (state) => (state.dampingInt = Number.NaN),
      /dampingInt must be a number.*; found NaN/,
    ],
    [
      "of other schedules",
      (state) => (state.schedules = [{ name: "other" }]),
      /other schedules: expected none, found other/,
    ],
  ])("%s is refused, and nothing changes", async (_what, spoil, message) => {
    const model = classifier();
    const optimizer = await make(model, { hgLoader: loader() });
    for (let i = 0; i < 2; i++) await optimizer.step(labelled(6, i));
    const state = structuredClone(await optimizer.state()) as unknown as Record<string, unknown>;
    for (let i = 2; i < 5; i++) await optimizer.step(labelled(6, i));
    const before = await everything(optimizer, model);
    spoil(state);
    await expect(optimizer.restore(state)).rejects.toThrow(message);
    await expect(optimizer.restore(state)).rejects.toThrow(StateError);
    expect(await everything(optimizer, model)).toEqual(before);
  });

  const UNIFORM: NewtonSummaryOptions = { uniformAvg: { period: 2 } };
  const AVERAGE: NewtonSummaryOptions = { clipRates: { by: "average" } };

  /** Changes a part of a state, by its path. */
  const at =
    (path: string, change: (value: never) => unknown): Spoil =>
    (state) => {
      const names = path.split(".");
      const last = names.pop()!;
      const owner = names.reduce((part, name) => part[name] as Tree, state);
      owner[last] = change(owner[last] as never);
    };
  const gone = (path: string): Spoil => at(path, () => undefined);

  test.each<[string, NewtonSummaryOptions, Spoil, RegExp]>([
    ["no running D", { nesterov: { momOrder3: 0.5 } }, gone("rates.D"), /rates.D must be/],
    ["no rates", {}, gone("rates.smoothed"), /rates.smoothed must be .*; found nothing/],
    [
      "no medians' rates",
      {},
      at("rates.solved", () => []),
      /the length of rates.solved must be a whole number from 1 to 4/,
    ],
    ["no average", {}, at("rates.average", () => null), /rates.average must be an object; found null/],
    ["no sums", UNIFORM, gone("rates.average.current"), /rates.average.current must be an object; found nothing/],
    ["no sum of H̄", UNIFORM, gone("rates.average.current.H"), /rates.average.current.H must be/],
    ["no previous period", UNIFORM, gone("rates.average.previous"), /rates.average.previous must be an object/],
    ["more than a period", UNIFORM, at("rates.average.count", () => 7), /rates.average.count must be 2; found 7/],
    ["an average of nothing", { movavg: 0.5 }, at("rates.average.count", () => 0), /count must be 4; found 0/],
    ["too many summaries", {}, at("rates.summaries", () => 5), /rates.summaries must be a whole number from 0 to 4/],
    [
      "no summary",
      {},
      at("rates.summaries", () => 0),
      /rates.\w+ is unknown: nothing of that name is kept at that point/,
    ],
    ["more misses than summaries", {}, at("rates.misses", () => 5), /rates.misses must be .* from 0 to 4; found 5/],
    ["no thirds", { periodOrder3: 3 }, gone("rates.order3"), /rates.order3 must be/],
    ["no clipped rates", AVERAGE, gone("rates.clipped"), /rates.clipped must be a list; found nothing/],
    [
      "a list of no clipped rates",
      AVERAGE,
      at("rates.clipped", () => []),
      /the length of rates.clipped must be 1; found 0/,
    ],
    ["two averages", AVERAGE, at("rates.clipped", ([x]: [never]) => [x, x]), /the length of rates.clipped must be 1/],
    [
      "more than a window",
      { clipRates: { by: "median", window: 2 } },
      at("rates.clipped", ([x]: [never]) => [x, x, x]),
      /the length of rates.clipped must be a whole number from 1 to 2; found 3/,
    ],
    ["no period", { periodHg: "auto", hgLoader: loader() }, gone("period"), /period must be a whole number, 1 or more/],
    ["more updates than steps", {}, at("stepper.updates", () => 5), /stepper.updates must be a whole number|must be 4/],
    ["fewer updates than summaries", {}, at("stepper.updates", () => 1), /stepper.updates must be/],
    ["random numbers that stand still", {}, at("stepper.random.words", () => [0, 0, 0, 0]), /words must be four words/],
    ["too many watches", {}, at("auto.watches", ([x]: [never]) => Array(3000).fill(x)), /the length of auto.watches/],
    ["a negative decrease", {}, at("auto.watches.0.decrement", () => -5), /auto.watches\[0\].decrement must be/],
    ["no watch", {}, at("auto.watches", () => []), /the length of auto.watches must be/],
    ["what nobody knows", {}, at("rates.more", () => 1), /rates.more is unknown: nothing of that name is kept/],
  ])("with %s is refused, and nothing changes", async (_what, options, spoil, message) => {
    const model = classifier();
    const optimizer = await make(model, { periodHg: 1, ...options });
    for (let i = 0; i < 4; i++) await optimizer.step(labelled(6, i));
    const before = await everything(optimizer, model);
    const state = structuredClone(await optimizer.state());
    await optimizer.restore(state);
    spoil(state as unknown as Tree);
    await expect(optimizer.restore(state)).rejects.toThrow(message);
    await expect(optimizer.restore(state)).rejects.toThrow(StateError);
    expect(await everything(optimizer, model)).toEqual(before);
  });

  const plain = (updater: Updater) => (model: Module) =>
    Optimizer.create(model, losses.nll, { engine, updater, lr: 0.1 });

  test.each<[string, (model: Module) => Promise<TrainingOptimizer>, string]>([
    ["Adam", plain(new AdamUpdater()), "s:square:layers.0.bias"],
    ["Adam in NewtonSummary", (model) => make(model, { updater: new AdamUpdater() }), "s:square:layers.0.bias"],
    ["AMSGrad", plain(new AdamWUpdater({ amsgrad: true })), "s:largest:layers.0.bias"],
    ["RMSprop", plain(new RMSpropUpdater()), "s:square:layers.0.bias"],
    ["Prodigy", plain(new ProdigyUpdater()), "s:square:layers.0.bias"],
    ["Prodigy, its distance", plain(new ProdigyUpdater()), "a:d"],
    ["schedule-free AdamW", plain(new ScheduleFreeAdamWUpdater()), "s:square:layers.0.bias"],
    ["Muon's other rule", plain(new MuonUpdater({ others: new AdamUpdater() })), "s:square:layers.0.bias"],
  ])("of %s with what is never below 0 below it is refused, and nothing changes", async (_what, create, name) => {
    const optimizer = await create(classifier());
    for (let i = 0; i < 2; i++) await optimizer.step(labelled(6, i));
    const before = await optimizer.state();
    const state = structuredClone(before) as { stepper: { tensors: Record<string, NDArray<FloatData>> } };
    await optimizer.restore(state);
    state.stepper.tensors[name]!.data[0] = -1e-9;
    await expect(optimizer.restore(state)).rejects.toThrow(`${name} must be a tensor without negative numbers`);
    await expect(optimizer.restore(state)).rejects.toThrow(StateError);
    expect(await optimizer.state()).toEqual(before);
  });

  test("of Muon may have a momentum below 0 whatever its other rule says of its own", async () => {
    const others: Updater = { ...momentumOfSizes, nonNegative: ["momentum"] };
    const optimizer = await plain(new MuonUpdater({ others }))(classifier());
    for (let i = 0; i < 2; i++) await optimizer.step(labelled(6, i));
    await optimizer.restore(await optimizer.state());
  });

  /** Momentum of the gradient's absolute values. */
  const momentumOfSizes: Updater = {
    name: "MomentumOfSizes",
    options: {},
    stateNames: ["momentum"],
    update: ({ gradient, state }) => {
      const momentum = state.momentum!.mul(0.9).add(gradient.abs());
      return { direction: momentum, state: { momentum } };
    },
  };

  test("with a loader's place is refused where there is no loader", async () => {
    const state = await (await make(classifier(), { hgLoader: loader() })).state();
    await expect((await make(classifier())).restore(state)).rejects.toThrow(/saved with the place .* has none/);
  });

  function tensors(name: string, value: unknown): (state: Record<string, unknown>) => void {
    return (state) => {
      const own = (state.stepper as { tensors: Record<string, unknown> }).tensors;
      if (value === undefined) delete own[name];
      else own[name] = value;
    };
  }

  function stepper(change: object): (state: Record<string, unknown>) => void {
    return (state) => Object.assign(state.stepper as object, change);
  }

  function rates(change: object): (state: Record<string, unknown>) => void {
    return (state) => Object.assign(state.rates as object, change);
  }

  function average(change: object): (state: Record<string, unknown>) => void {
    return (state) => Object.assign((state.rates as { average: object }).average, change);
  }

  function moments(change: object): (state: Record<string, unknown>) => void {
    return (state) => Object.assign((state.rates as { average: { current: object } }).average.current, change);
  }
});

describe("numbers that are not finite leave everything as it was", () => {
  test.each([0, 1, 3])("in the batch of step %i", async (steps) => {
    const model = classifier();
    const optimizer = await make(model, { hgLoader: loader() });
    for (let i = 0; i < steps; i++) await optimizer.step(labelled(6, i));
    const before = await everything(optimizer, model);
    await expect(optimizer.step(poisoned())).rejects.toThrow("batch x: entry 8 is NaN in sample 1");
    expect(await everything(optimizer, model)).toEqual(before);
  });

  test("which is told before a label that is out of range", async () => {
    const optimizer = await make(classifier(), { hgLoader: loader() });
    const { x, y } = poisoned();
    y.data[0] = 99;
    await expect(optimizer.step({ x, y })).rejects.toThrow("batch x: entry 8 is NaN in sample 1");
  });

  /** Summaries whose second batch is spoiled, with a place to go back to. */
  class Spoiled {
    state = 0;
    async draw(): Promise<Batch> {
      this.state++;
      return this.state === 2 ? poisoned() : labelled(12, this.state);
    }
  }

  test("in the batch of a summary", async () => {
    const model = classifier();
    const hgLoader = new Spoiled();
    const optimizer = await make(model, { hgLoader });
    for (let i = 0; i < 3; i++) await optimizer.step(labelled(6, i));
    const before = await everything(optimizer, model);
    await expect(optimizer.step(labelled(6))).rejects.toThrow("batch x: entry 8 is NaN");
    expect(hgLoader.state).toBe(1);
    expect(await everything(optimizer, model)).toEqual(before);
  });

  test("and where steps are skipped, a summary's batch counts as used, or it would come again for ever", async () => {
    const model = classifier();
    const hgLoader = new Spoiled();
    const optimizer = await make(model, { hgLoader, periodHg: 1, onNonFinite: "skip" });
    const results = [];
    for (let i = 0; i < 3; i++) results.push(await optimizer.step(labelled(6, i)));
    expect(results.map(({ skipped }) => skipped !== undefined)).toEqual([false, true, false]);
    expect([...results[1]!.learningRates]).toEqual([...results[0]!.learningRates]);
    expect(hgLoader.state).toBe(3);
  });

  test("a summary that was skipped before there were rates is taken by the next step", async () => {
    const optimizer = await make(classifier(), { onNonFinite: "skip" });
    expect((await optimizer.step(poisoned())).skipped).toBeDefined();
    const { update, learningRates } = await optimizer.step(labelled(6));
    expect(update).toBeDefined();
    expect(Math.max(...learningRates)).toBeGreaterThan(0);
    expect((await optimizer.step(labelled(6))).update).toBeUndefined();
    expect((await optimizer.step(labelled(6))).update).toBeDefined();
  });

  test("in a plain optimiser", async () => {
    const model = classifier();
    const messages: string[] = [];
    const options = { engine, updater: new SGDUpdater({ momentum: 0.9 }), lr: 0.1 };
    const skipping = await Optimizer.create(model, losses.nll, {
      ...options,
      onNonFinite: "skip",
      log: (message) => messages.push(message),
    });
    await skipping.step(labelled(6));
    const before = [await skipping.state(), await model.stateDict()];
    const { loss, skipped } = await skipping.step(poisoned());
    expect([loss, skipped]).toEqual([Number.NaN, "batch x: entry 8 is NaN in sample 1"]);
    expect(messages).toEqual([`step 1 was left out: ${skipped}`]);
    const { step, ...state } = await skipping.state();
    expect([{ step: step - 1, ...state }, await model.stateDict()]).toEqual(before);
    const throwing = await Optimizer.create(model, losses.nll, options);
    await expect(throwing.step(poisoned())).rejects.toThrow(NonFiniteError);
  });
});

describe("the model", () => {
  /** In training mode it doubles its output. */
  class Moody extends Module {
    readonly layer = new Linear(5, 3);
    override forward(x: Tensor): Tensor {
      return this.layer.forward(x).mul(this.training ? 2 : 1);
    }
  }

  test.each(["step", "summary"])("is followed from mode to mode by a %s", async (kind) => {
    const model = new Moody();
    const options = { engine, periodHg: kind === "step" ? 100 : 1 };
    const optimizer = await NewtonSummary.create(model, losses.crossEntropy, options);
    await optimizer.step(labelled(6));
    for (const training of [true, false, true]) {
      model.train(training);
      const expected = (await evaluate(model, losses.crossEntropy, [labelled(6)], { engine })).loss;
      const { loss, update } = await optimizer.step(labelled(6));
      expect(loss).toBeCloseTo(expected, 12);
      if (kind === "summary") expect(update!.loss).toBeCloseTo(expected, 12);
    }
  });

  test("must not freeze or unfreeze parameters under an optimiser", async () => {
    const model = classifier();
    const [weight] = model.parameters();
    const optimizer = await make(model);
    await optimizer.step(labelled(6));
    weight!.requiresGrad = false;
    await expect(optimizer.step(labelled(6))).rejects.toThrow(
      "layers.0.weight was frozen after the optimiser was made",
    );
    await expect(optimizer.probe(labelled(6))).rejects.toThrow(PartitionError);
    const other = await make(model);
    weight!.requiresGrad = true;
    await expect(other.step(labelled(6))).rejects.toThrow(/layers.0.weight was unfrozen/);
    await optimizer.step(labelled(6));
  });
});

describe("after dispose", () => {
  test.each<[string, () => Promise<NewtonSummary | Optimizer>]>([
    ["NewtonSummary", () => make(classifier())],
    ["Optimizer", () => Optimizer.create(classifier(), losses.nll, { engine, updater: new SGDUpdater(), lr: 1 })],
  ])("%s refuses everything but dispose", async (_name, create) => {
    const optimizer = await create();
    await optimizer.step(labelled(6));
    const state = await optimizer.state();
    const running = optimizer.step(labelled(6));
    await optimizer.dispose();
    await running;
    await expect(optimizer.step(labelled(6))).rejects.toThrow(DisposedError);
    await expect(optimizer.state()).rejects.toThrow(DisposedError);
    await expect(optimizer.restore(state)).rejects.toThrow(DisposedError);
    if (optimizer instanceof NewtonSummary) await expect(optimizer.probe(labelled(6))).rejects.toThrow(DisposedError);
    await optimizer.dispose();
  });

  test("`await using` disposes", async () => {
    const own = new OrtNodeEngine({ threads: 1 });
    {
      await using optimizer = await make(classifier(), { engine: own });
      await optimizer.step(labelled(6));
      expect(own.sessions.live).toBeGreaterThan(0);
    }
    expect(own.sessions.live).toBe(0);
    await own.dispose();
  });
});

describe("tensors", () => {
  test("are all freed, also where something fails", async () => {
    const strict = new StrictEngine();
    const model = classifier();
    const optimizer = await make(model, { engine: strict, hgLoader: loader(), microbatch: 4 });
    await optimizer.step(labelled(6));
    const live = strict.tensors.live;
    const aborted = AbortSignal.abort(new Error("enough"));
    const stopAfter = (parts: number) => {
      const stop = { reads: 0, throwIfAborted: () => void (stop.reads++ > parts && aborted.throwIfAborted()) };
      return stop as unknown as AbortSignal;
    };
    const weighted = (o: Tensor, t: Tensor) => losses.nll(o, t, { weight: [1, 2, 3] });
    const runs: [string, () => Promise<unknown>, boolean][] = [
      ["step", () => optimizer.step(labelled(6)), true],
      ["poisoned step", () => optimizer.step(poisoned()), false],
      ["probe", () => optimizer.probe(labelled(6)), true],
      ["poisoned probe", () => optimizer.probe(labelled(6), { hgBatch: poisoned() }), false],
      ["aborted probe", () => optimizer.probe(labelled(6), { signal: stopAfter(2) }), false],
      ["wrong batch", () => optimizer.step({ ...labelled(6), x: ndarray(new Float64Array(6), [6, 1]) }), false],
      ["restore", async () => optimizer.restore(await optimizer.state()), true],
      ["predict", () => model.predict(labelled(9).x, { engine: strict, batchSize: 4 }), true],
      ["evaluate", () => evaluate(model, losses.nll, [labelled(9)], { engine: strict }), true],
      ["computeHg", () => computeHg(model, weighted, labelled(9), { engine: strict, microbatch: 4 }), true],
      [
        "aborted computeHg",
        () => computeHg(model, weighted, labelled(9), { engine: strict, microbatch: 2, signal: stopAfter(2) }),
        false,
      ],
    ];
    for (const [what, run, fine] of runs) {
      if (fine) await run();
      else await expect(run(), what).rejects.toThrow();
      expect(strict.tensors.live, what).toBe(live);
    }
    await optimizer.dispose();
    expect(strict.tensors.live).toBe(4);
  });
});

describe("options", () => {
  test.each<[object, RegExp]>([
    [{ momLrs: "0.5" }, /momLrs must be/],
    [{ hgLoader: [labelled(6)] }, /hgLoader must have a method draw/],
    [{ hgLoader: null }, /hgLoader must have/],
    [{ updater: "adam" }, /updater must be one/],
    [{ momentum: 1 }, /momentum must be/],
    [{ onStep: true }, /onStep must be a function/],
    [{ log: "x" }, /log must be a function/],
    [{ ridge: Number.NaN, nesterov: { use: false } }, /ridge must be/],
    [{ nesterov: { use: "yes" } }, /nesterov.use must be true or false/],
    [{ damping: Number.POSITIVE_INFINITY }, /damping must be/],
    [{ periodHg: 2.5 }, /periodHg must be/],
  ])("%o is refused by name", async (options, message) => {
    const made = make(classifier(), options);
    await expect(made).rejects.toThrow(message);
    await expect(made).rejects.toThrow(OptionError);
  });

  test("a microbatch for a loss that cannot be split, or has no batch, is refused at the first summary", async () => {
    const bare = fromFunction({ w: ndarray(Float64Array.of(1), []) }, ({ w }) => w.square());
    const alone = await NewtonSummary.create(bare, (loss) => loss, { engine, microbatch: 2 });
    await expect(alone.step()).rejects.toThrow("microbatch: this loss cannot be split, since there is no batch");
    const model = classifier();
    const coupled = (o: Tensor) =>
      o
        .sub(o.mean([0], true))
        .square()
        .sum()
        .sqrt();
    const optimizer = await NewtonSummary.create(model, coupled, { engine, microbatch: 2 });
    const before = await everything(optimizer, model);
    await expect(optimizer.step(labelled(6))).rejects.toThrow(/microbatch: this loss cannot be split, since .* mixes/);
    expect(await everything(optimizer, model)).toEqual(before);
  });

  test("plain optimisers refuse what they do not know", async () => {
    const create = (options: object) =>
      Optimizer.create(classifier(), losses.nll, { engine, updater: new SGDUpdater(), lr: 1, ...options });
    await expect(create({ damping: 1 })).rejects.toThrow('Optimizer: unknown option "damping"');
    await expect(create({ updater: undefined })).rejects.toThrow("updater must be one");
    await expect(create({ lr: -1 })).rejects.toThrow("lr must be a number above 0; found -1");
    await expect(create({ lr: "1" })).rejects.toThrow("lr must be a number above 0");
  });
});
