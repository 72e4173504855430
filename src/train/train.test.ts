import { describe, expect, test } from "vitest";
import { Dataset, type Loader } from "../datasets/index.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { perceptron } from "../models/index.ts";
import { evaluate, losses } from "../nn/index.ts";
import {
  GeometricDamping,
  NewtonSummary,
  Optimizer,
  ReduceDampingOnPlateau,
  ScheduleFreeAdamWUpdater,
  type TrainingOptimizer,
} from "../optim/index.ts";
import { DataError, NonFiniteError, OptionError, StateError } from "../util/errors.ts";
import { Random } from "../util/random.ts";
import { decodeTree, encodeTree } from "./checkpoint.ts";
import type { EpochEvent, TrainEvent } from "./metrics.ts";
import { type RunState, type TrainOptions, train } from "./train.ts";

const SAMPLES = 22;
const BATCH = 5;
const STEPS = 5;

function dataset(): Dataset {
  const random = new Random(5);
  const x = Array.from({ length: SAMPLES }, () => Array.from({ length: 3 }, () => random.normal()));
  return Dataset.fromArrays(
    x,
    x.map(([a, b]) => Number(a! * b! > 0)),
  );
}

/** A run put together anew, as after a restart. */
async function setup(): Promise<TrainOptions & { trainLoader: Loader }> {
  const data = dataset();
  const engine = new ReferenceEngine();
  const model = perceptron({ layers: [3, 4, 2], seed: 1 });
  const optimizer = await NewtonSummary.create(model, losses.nll, {
    engine,
    hgLoader: data.loader({ batchSize: 8, shuffle: true, seed: 2 }),
    damping: 0.3,
    periodHg: 3,
    log: () => {},
  });
  const evaluations = { train: data.loader({ batchSize: 10 }), test: data.take(7).loader({ batchSize: 10 }) };
  return {
    model,
    loss: losses.nll,
    optimizer,
    engine,
    evaluations,
    epochs: 3,
    trainLoader: data.loader({ batchSize: BATCH, shuffle: true, seed: 3 }),
  };
}

/** Events without what a clock says. */
function timeless(events: readonly TrainEvent[]): unknown[] {
  const clocks = ["time", "seconds", "evaluationSeconds", "date"];
  return events.map((event) => Object.fromEntries(Object.entries(event).filter(([name]) => !clocks.includes(name))));
}

/** The events of a run up to the first that `stopAt` picks, where it is stopped, or to its end; and its last state. */
async function record(options: TrainOptions, stopAt: (event: TrainEvent) => boolean = () => false) {
  const events: TrainEvent[] = [];
  const abort = new AbortController();
  const states: Uint8Array[] = [];
  const result = await train({
    ...options,
    signal: abort.signal,
    on: (event) => {
      events.push(event);
      if (stopAt(event)) abort.abort();
    },
    checkpoint: (state) => void states.push(encodeTree(state)),
  });
  return { events, result, states, state: decodeTree(states.at(-1)!) as RunState };
}

test("a run tells what happens, in order, in plain numbers", async () => {
  const { events, result, states } = await record({ ...(await setup()), epochs: 2, config: { note: "a" } });
  const types = events.map(({ type }) => type).filter((type) => type !== "update");
  const epoch = [...new Array(STEPS).fill("step"), "epoch"];
  expect(types).toEqual(["start", ...epoch, ...epoch, "end"]);
  expect(events[0]).toMatchObject({
    config: { note: "a" },
    epochs: 2,
    stepsPerEpoch: STEPS,
    samples: SAMPLES,
    step: 0,
  });
  expect(events.filter(({ type }) => type === "update").map((event) => "step" in event && event.step)).toEqual([
    0, 3, 6, 9,
  ]);
  expect(events.find(({ type }) => type === "epoch")).toMatchObject({
    epoch: 0,
    step: STEPS,
    testAccuracy: expect.any(Number),
  });
  expect(events.at(-1)).toMatchObject({ how: "done", epochs: 2, steps: 2 * STEPS });
  expect(result).toEqual({ how: "done", epochs: 2, steps: 2 * STEPS });
  expect(states).toHaveLength(2);
  expect(JSON.parse(JSON.stringify(events))).toEqual(events);
});

describe("a run that was stopped and resumed is the run that was not", () => {
  test.each<[string, (event: TrainEvent) => boolean]>([
    ["within an epoch", (event) => event.type === "step" && event.step === 6],
    ["at the first step", (event) => event.type === "step" && event.step === 0],
    ["with an epoch's last step", (event) => event.type === "step" && event.step === STEPS - 1],
    ["after an epoch", (event) => event.type === "epoch" && event.epoch === 1],
  ])("%s", async (_where, stopAt) => {
    const whole = await record(await setup());
    const first = await record(await setup(), stopAt);
    expect(first.result.how).toBe("aborted");
    expect(first.events.at(-1)).toMatchObject({ type: "end", how: "aborted" });
    const second = await record({ ...(await setup()), resume: first.state });
    const joined = [...first.events.slice(0, -1), ...second.events.slice(1)];
    expect(timeless(joined)).toEqual(timeless(whole.events));
    expect(second.state.model).toEqual(whole.state.model);
  });

  test("in its evaluations", async () => {
    const whole = await record(await setup());
    const options = await setup();
    const abort = new AbortController();
    const stopping = {
      async *[Symbol.asyncIterator]() {
        for await (const batch of options.evaluations!.test!) {
          abort.abort();
          yield batch;
        }
      },
    };
    let state: RunState | undefined;
    const checkpoint = (saved: RunState): void => {
      state = saved;
    };
    const evaluations = { ...options.evaluations, test: stopping };
    await train({ ...options, evaluations, signal: abort.signal, checkpoint });
    const second = await record({ ...(await setup()), resume: state! });
    expect(timeless(second.events.slice(1))).toEqual(timeless(whole.events.slice(-second.events.length + 1)));
  });

  test.each<[string, (options: TrainOptions) => void]>([
    [
      "by a batch that cannot be read",
      ({ trainLoader }) => {
        const { dataset } = trainLoader;
        const whole = dataset.batch.bind(dataset);
        dataset.batch = (positions, draw) => {
          if (draw.epoch === 1 && positions.length < BATCH) throw new DataError("b.png: expected a PNG image");
          return whole(positions, draw);
        };
      },
    ],
    [
      "by a step",
      ({ trainLoader }) => {
        const { dataset } = trainLoader;
        const whole = dataset.batch.bind(dataset);
        let drawn = 0;
        dataset.batch = async (positions, draw) => {
          const batch = await whole(positions, draw);
          if (draw.epoch === 1 && ++drawn === 3) batch.x.data.fill(Number.NaN as never);
          return batch;
        };
      },
    ],
  ])("%s", async (_how, spoil) => {
    const whole = await record(await setup());
    const options = await setup();
    spoil(options);
    const events: TrainEvent[] = [];
    const states: RunState[] = [];
    const failing = train({
      ...options,
      on: (event) => void events.push(event),
      checkpoint: (state) => void states.push(decodeTree(encodeTree(state)) as RunState),
    });
    await expect(failing).rejects.toThrow(/b.png|NaN/);
    expect(events.at(-1)).toMatchObject({ type: "end", how: "error" });
    expect(states).toHaveLength(2);
    const second = await record({ ...(await setup()), resume: states.at(-1)! });
    expect(timeless([...events.slice(0, -1), ...second.events.slice(1)])).toEqual(timeless(whole.events));
    expect(second.state.model).toEqual(whole.state.model);
  });

  test("for more epochs than it was to have", async () => {
    const whole = await record(await setup());
    const first = await record({ ...(await setup()), epochs: 1 });
    const second = await record({ ...(await setup()), resume: first.state });
    expect(second.state.model).toEqual(whole.state.model);
    await expect(train({ ...(await setup()), epochs: 1, resume: first.state })).rejects.toThrow(StateError);
  });
});

describe("a damaged state is refused, and model and optimiser stay", () => {
  const AT = 2;

  test.each<[string, object, RegExp]>([
    [
      "no number of batches",
      { batches: Number.NaN },
      /progress.batches must be 2, as many as its loader gave; found NaN/,
    ],
    ["other batches than its loader", { batches: 1, step: STEPS + 1 }, /progress.batches must be 2, .*; found 1/],
    ["more batches than an epoch", { batches: STEPS + AT, step: 2 * STEPS + AT }, /progress.batches must be 2/],
    ["no batches", { batches: undefined }, /progress.batches must be 2, .*; found nothing/],
    ["part of an epoch", { epoch: 0.5 }, /progress.epoch must be a whole number, 0 or more; found 0.5/],
    ["a step of another epoch", { step: AT }, /progress.step must be 7; found 2/],
    ["no loss", { lossSum: "1" }, /progress.lossSum must be a number; found 1/],
    ["negative samples", { sampleSum: -1 }, /progress.sampleSum must be a whole number, 0 or more; found -1/],
    ["time that runs back", { seconds: -1 }, /progress.seconds must be a number, finite and at least 0; found -1/],
    ["an epoch without time", { epochSeconds: null }, /progress.epochSeconds must be a number/],
    ["a word for a flag", { evaluated: "no" }, /progress.evaluated must be true or false; found no/],
    ["too few rates", { learningRates: new Float64Array(1) }, /progress.learningRates must be a Float64Array of 4/],
    ["what nobody knows", { more: 1 }, /progress.more is unknown/],
  ])("with %s", async (_what, change, message) => {
    const { state } = await record({ ...(await setup()), steps: STEPS + AT });
    await refused({ ...state, progress: { ...state.progress, ...change } }, message);
  });

  test("between two epochs, with batches of part of one", async () => {
    const { state } = await record({ ...(await setup()), epochs: 1 });
    expect(state.progress).toMatchObject({ epoch: 1, batches: 0 });
    const changed = { ...state.progress, batches: 1, step: STEPS + 1 };
    await refused(
      { ...state, progress: changed },
      /progress.batches must be 0 or 5, as many as its loader gave; found 1/,
    );
  });

  test.each([
    ["its progress", { progress: null }, /progress must be an object; found null/],
    ["its model", { progress: {} }, /model must be an object; found nothing/],
  ])("without %s", (_what, state, message) => refused(state, message));

  async function refused(state: unknown, message: RegExp): Promise<void> {
    const options = await setup();
    const everything = async () => [await options.model.stateDict(), await options.optimizer.state()];
    const before = await everything();
    // Unchecked, batches that are none would make an epoch without end.
    const resumed = train({ ...options, steps: 3 * STEPS, resume: state as RunState });
    await expect(resumed).rejects.toThrow(message);
    await expect(resumed).rejects.toThrow(StateError);
    expect(await everything()).toEqual(before);
  }
});

describe("a run of so many steps", () => {
  const epochEvents = (events: readonly TrainEvent[]) => events.filter(({ type }) => type === "epoch");

  test("ends within an epoch, is evaluated there, and goes on exactly", async () => {
    const whole = await record(await setup());
    const first = await record({ ...(await setup()), steps: STEPS + 2 });
    expect(first.result).toEqual({ how: "done", epochs: 1, steps: STEPS + 2 });
    expect(epochEvents(first.events)).toMatchObject([
      { epoch: 0, step: STEPS },
      { epoch: 1, step: STEPS + 2, testLoss: expect.any(Number) },
    ]);
    const second = await record({ ...(await setup()), resume: first.state });
    const joined = [...first.events.slice(0, -2), ...second.events.slice(1)];
    const withoutSteps = timeless(joined).map((event) => ({ ...(event as object), steps: undefined }));
    const expected = timeless(whole.events).map((event) => ({ ...(event as object), steps: undefined }));
    expect(withoutSteps).toEqual(expected);
    expect(second.state.model).toEqual(whole.state.model);
  });

  test("may end with an epoch, and is as long as its epochs at most", async () => {
    const first = await record({ ...(await setup()), steps: STEPS });
    expect(first.result).toEqual({ how: "done", epochs: 1, steps: STEPS });
    expect(epochEvents(first.events)).toHaveLength(1);
    const long = await record({ ...(await setup()), epochs: 1, steps: 100 });
    expect(long.result).toEqual({ how: "done", epochs: 1, steps: STEPS });
  });

  test("stopped in its last evaluation it is evaluated when it goes on; done, it is refused", async () => {
    const options = { ...(await setup()), steps: 2 };
    const first = await record(options, (event) => event.type === "step" && event.step === 1);
    expect([first.result.how, epochEvents(first.events)]).toEqual(["aborted", []]);
    const second = await record({ ...(await setup()), steps: 2, resume: first.state });
    expect(second.events.map(({ type }) => type)).toEqual(["resume", "epoch", "end"]);
    await expect(train({ ...(await setup()), steps: 2, resume: second.state })).rejects.toThrow(
      "2 steps are done already",
    );
  });
});

test("a schedule's state is the optimiser's, so that a resumed run goes on as it would have", async () => {
  const scheduled = async (): Promise<Omit<TrainOptions, "optimizer"> & { readonly optimizer: NewtonSummary }> => {
    const options = await setup();
    const optimizer = options.optimizer as NewtonSummary;
    const plateau = new ReduceDampingOnPlateau(optimizer, { factor: 0.5, patience: 0, threshold: 0.2 });
    const geometric = new GeometricDamping(optimizer, { warmup: 7, factor: 0.9 });
    return {
      ...options,
      optimizer,
      on: (event) => {
        if (event.type === "step") geometric.step();
        if (event.type === "epoch") plateau.step(event.testLoss as number);
      },
    };
  };
  const states: RunState[] = [];
  const checkpoint = (state: RunState): void => void states.push(decodeTree(encodeTree(state)) as RunState);
  await train({ ...(await scheduled()), epochs: 1, checkpoint });
  const resumed = await scheduled();
  await train({ ...resumed, resume: states.at(-1)! });
  const whole = await scheduled();
  await train(whole);
  expect(await resumed.optimizer.state()).toEqual(await whole.optimizer.state());
  expect(await resumed.model.stateDict()).toEqual(await whole.model.stateDict());
  const { schedules } = await whole.optimizer.state();
  expect(schedules).toMatchObject([
    { name: "ReduceDampingOnPlateau", state: { best: expect.any(Number) } },
    { name: "GeometricDamping", state: { steps: expect.any(Number) } },
  ]);
});

test("the weights to use are evaluated, those that are trained are saved", async () => {
  const { optimizer: _, ...options } = await setup();
  const { model, loss, engine } = options;
  const updater = new ScheduleFreeAdamWUpdater();
  const optimizer = await Optimizer.create(model, loss, { updater, lr: 0.1, engine: engine! });
  const { events, state } = await record({ ...options, optimizer, epochs: 1 });
  const own = await model.stateDict();
  expect(state.model).toEqual(own);
  const batches = dataset().loader({ batchSize: 10 });
  const measured = events.find((event): event is EpochEvent => event.type === "epoch")!.trainLoss;
  expect(measured).not.toBe((await evaluate(model, loss, batches, { engine: engine! })).loss);
  model.loadStateDict(await optimizer.evaluationWeights());
  expect(measured).toBe((await evaluate(model, loss, batches, { engine: engine! })).loss);
});

test("an error ends the run and is told", async () => {
  const options = await setup();
  const { optimizer } = options;
  const failing: TrainingOptimizer = {
    groups: optimizer.groups,
    state: () => optimizer.state(),
    restore: (state) => optimizer.restore(state),
    dispose: () => optimizer.dispose(),
    step: async () => {
      throw new NonFiniteError("the loss is NaN");
    },
    // biome-ignore lint/correctness/useYield: it fails before
    steps: async function* () {
      throw new NonFiniteError("the loss is NaN");
    },
  };
  const events: TrainEvent[] = [];
  const run = train({ ...options, optimizer: failing, on: (event) => void events.push(event) });
  await expect(run).rejects.toThrow("the loss is NaN");
  expect(events.at(-1)).toMatchObject({ type: "end", how: "error", message: "the loss is NaN", steps: 0 });
});

test("options that make no sense are refused", async () => {
  const options = await setup();
  await expect(train({ ...options, epochs: 0 })).rejects.toThrow(OptionError);
  await expect(train({ ...options, evaluations: { test: options.trainLoader } })).rejects.toThrow(
    "a loader of its own",
  );
  await expect(train({ ...options, epoch: 1 } as TrainOptions)).rejects.toThrow('unknown option "epoch"');
});
