import { afterAll, describe, expect, test } from "vitest";
import { CenteredModel, classifier, labelLoss, labelled } from "../../test/support/models.ts";
import { StrictEngine } from "../../test/support/strict-engine.ts";
import { Dataset } from "../datasets/index.ts";
import { type Engine, ReferenceEngine } from "../engine/index.ts";
import { OrtNodeEngine } from "../engine/ort-node.ts";
import { models } from "../index.ts";
import { fromFunction, losses, type Module } from "../nn/index.ts";
import { computeHg, partition, valueAndGrad } from "../summary/index.ts";
import { DisposedError, NonFiniteError, OptionError, PartitionError } from "../util/errors.ts";
import { type Batch, ndarray } from "../util/ndarray.ts";
import { Random } from "../util/random.ts";
import { AdamUpdater, NewtonSummary, type NewtonSummaryOptions, SGDUpdater } from "./index.ts";

const oracle = new ReferenceEngine();
const double = new OrtNodeEngine({ precision: "float64", threads: 1 });
afterAll(() => double.dispose());

/** Newton's rates with nothing added. */
const PLAIN: NewtonSummaryOptions = {
  updater: new SGDUpdater(),
  damping: 1,
  periodHg: 1,
  momLrs: 0,
  removeNegative: false,
  noregul: true,
};

const data = Dataset.fromArrays(labelled(40, 5).x, labelled(40, 5).y);
const hgLoader = () => data.loader({ batchSize: 12, shuffle: true, seed: 3 });

async function losses20(optimizer: NewtonSummary, from = 0, to = 20): Promise<number[]> {
  const found: number[] = [];
  for (let i = from; i < to; i++) found.push((await optimizer.step(labelled(6, 100 + i))).loss);
  return found;
}

/** Every parameter's numbers, whatever precision they are held in. */
async function valuesOf(model: Module): Promise<Record<string, number[]>> {
  const state = Object.entries(await model.stateDict());
  return Object.fromEntries(state.map(([name, { data: values }]) => [name, Array.from(values)]));
}

describe("the method", () => {
  test("solves a strictly convex quadratic in one step with one group for each number", async () => {
    const model = fromFunction(
      { a: ndarray(Float64Array.of(3), []), b: ndarray(Float64Array.of(-1), []) },
      ({ a, b }) => a.sub(1).square().add(b.add(2).square().mul(3)).add(a.mul(b)),
    );
    const optimizer = await NewtonSummary.create(model, (loss) => loss, { ...PLAIN, engine: oracle });
    await optimizer.step();
    const { gradient } = await valueAndGrad(model, (loss) => loss, undefined, { engine: oracle });
    for (const { data: slope } of Object.values(gradient)) expect(slope[0]).toBeCloseTo(0, 12);
    await optimizer.dispose();
  });

  test("takes Cauchy's step with a single group", async () => {
    const model = fromFunction({ w: ndarray(Float64Array.of(1, 2), [2]) }, ({ w }) =>
      w
        .square()
        .mul(ndarray(Float64Array.of(1, 5), [2]))
        .sum(),
    );
    const optimizer = await NewtonSummary.create(model, (loss) => loss, { ...PLAIN, engine: oracle });
    const { learningRates } = await optimizer.step();
    // g = (2, 20), H = diag(2, 10): ‖g‖² / gᵀHg.
    expect(learningRates[0]).toBeCloseTo(404 / (2 * 4 + 10 * 400), 12);
    await optimizer.dispose();
  });

  test("rates follow from the summary: damping · (H + ridge)⁻¹ g, smoothed", async () => {
    const model = classifier();
    const batch = labelled(30);
    const options = { ...PLAIN, noregul: false, ridge: 0.1, damping: 0.2, momLrs: 0.25, engine: oracle };
    const optimizer = await NewtonSummary.create(model, losses.nll, {
      ...options,
      partition: partition.trivial(model),
    });
    let smoothed: number | undefined;
    for (let i = 0; i < 4; i++) {
      const { g, H } = await computeHg(model, losses.nll, batch, {
        engine: oracle,
        partition: partition.trivial(model),
      });
      const raw = g[0]! / (H[0]! + 0.1);
      smoothed = smoothed === undefined ? raw : 0.25 * smoothed + 0.75 * raw;
      const { learningRates } = await optimizer.step(batch);
      expect(learningRates[0]).toBeCloseTo(0.2 * smoothed, 12);
    }
  });

  test("normalised directions change nothing where nothing depends on their scale", async () => {
    const run = async (normalizeDirs: boolean): Promise<number[]> => {
      const options = {
        ...PLAIN,
        noregul: false,
        nesterov: {},
        damping: 0.3,
        periodHg: 3,
        normalizeDirs,
        engine: oracle,
      };
      return await losses20(await NewtonSummary.create(classifier(), losses.nll, options));
    };
    const [normalised, plain] = [await run(true), await run(false)];
    for (const [i, loss] of normalised.entries()) expect(loss).toBeCloseTo(plain[i]!, 9);
  });

  test("dampingMul multiplies the rates at once, and for good", async () => {
    const optimizer = await NewtonSummary.create(classifier(), losses.nll, { periodHg: 5, engine: oracle });
    const { learningRates } = await optimizer.step(labelled(30));
    optimizer.dampingMul(0.5);
    expect([...optimizer.damping]).toEqual([0.15, 0.15, 0.15, 0.15]);
    const after = (await optimizer.step(labelled(30))).learningRates;
    expect([...after]).toEqual([...learningRates].map((rate) => rate / 2));
    expect(() => optimizer.dampingMul(0)).toThrow(OptionError);
  });

  test("damping may differ from group to group, and be set", async () => {
    const options = { periodHg: 5, engine: oracle };
    const plain = await NewtonSummary.create(classifier(), losses.nll, { ...options, damping: 1 });
    const rates = (await plain.step(labelled(30))).learningRates;
    const damping = [0.1, 0.2, 0.3, 0.4];
    const optimizer = await NewtonSummary.create(classifier(), losses.nll, { ...options, damping });
    const { learningRates } = await optimizer.step(labelled(30));
    expect([...learningRates]).toEqual([...rates].map((rate, s) => rate * damping[s]!));
    optimizer.damping = 0.5;
    expect([...optimizer.learningRates]).toEqual([...rates].map((rate) => rate * 0.5));
    optimizer.damping = [1, 2, 3, 4];
    expect([...optimizer.learningRates]).toEqual([...rates].map((rate, s) => rate * (s + 1)));
    const refused = (value: unknown, found: string): void =>
      expect(() => (optimizer.damping = value as number)).toThrow(
        new OptionError(`damping must be a number above 0, or a list of one for each of 4 groups; found ${found}`),
      );
    refused([1, 2], "1,2");
    refused([1, 2, 0, 1], "1,2,0,1");
    refused("auto", "auto");
    refused(null, "null");
    refused(["1", 2, 3, 4], "1,2,3,4");
    expect([...optimizer.damping]).toEqual([1, 2, 3, 4]);
    const wrong = NewtonSummary.create(classifier(), losses.nll, { ...options, damping: [1] });
    await expect(wrong).rejects.toThrow(OptionError);
  });

  test("dampingInt that is set counts from the next summary on", async () => {
    const make = (dampingInt: number) =>
      NewtonSummary.create(classifier(), losses.nll, { periodHg: 1, engine: oracle, nesterov: { dampingInt } });
    const [changed, expected] = [await make(1), await make(7)];
    changed.dampingInt = 7;
    expect((await changed.step(labelled(30))).learningRates).toEqual((await expected.step(labelled(30))).learningRates);
    expect(() => (changed.dampingInt = -1)).toThrow(/dampingInt must be a number of at least 0; found -1/);
    const plain = await NewtonSummary.create(classifier(), losses.nll, { engine: oracle, nesterov: { use: false } });
    expect(plain.dampingInt).toBeUndefined();
    expect(() => (plain.dampingInt = 1)).toThrow(/dampingInt would be ignored with nesterov.use false/);
  });
});

describe("ordinary cases that break a naive solver", () => {
  test.each([1, 2, 3, 4, 5, 6])("a ReLU perceptron with MSE trains, with seed %i", async (seed) => {
    const options = { layers: [4, 8, 8, 1], activation: "relu", classification: false, sigmaW: 1.4, seed } as const;
    const random = new Random(11);
    const x = Float64Array.from({ length: 160 }, () => random.normal());
    const target = Float64Array.from({ length: 40 }, (_, i) => Math.sin(x[4 * i]!) + x[4 * i + 1]!);
    const batch: Batch = { x: ndarray(x, [40, 4]), y: ndarray(target, [40, 1]) };
    const optimizer = await NewtonSummary.create(models.perceptron(options), losses.mse, {
      engine: double,
      damping: 0.3,
      log: () => {},
    });
    let loss = Number.NaN;
    for (let i = 0; i < 150; i++) loss = (await optimizer.step(batch)).loss;
    // A constant output has 1.74; all of 84 runs with these settings and others end below 0.05.
    expect(loss).toBeLessThan(0.1);
    await optimizer.dispose();
  });

  test("the reference's policy sets the rates to zero and stands still", async () => {
    const model = models.perceptron({ layers: [5, 8, 2], activation: "relu", classification: false, seed: 3 });
    const batch: Batch = { x: labelled(10).x, y: ndarray(new Float64Array(20), [10, 2]) };
    const options = { engine: oracle, notFound: "compatible", log: () => {} } as const;
    const optimizer = await NewtonSummary.create(model, losses.mse, options);
    const { update, learningRates } = await optimizer.step(batch);
    if (!update!.found) expect([...learningRates]).toEqual([0, 0, 0, 0]);
  });

  test.each([oracle, double] as Engine[])(
    "a group without effect leaves the others' rates alone ($name)",
    async (engine) => {
      const [biased, plain] = [new CenteredModel(true), new CenteredModel(false)];
      const state = await biased.stateDict();
      delete state["first.bias"];
      plain.loadStateDict(state);
      const messages: string[] = [];
      const options = { periodHg: 1, engine, log: (message: string) => messages.push(message) };
      const with_ = await NewtonSummary.create(biased, labelLoss, options);
      const without = await NewtonSummary.create(plain, labelLoss, options);
      for (let i = 0; i < 3; i++) {
        const [a, b] = [await with_.step(labelled(30, i)), await without.step(labelled(30, i))];
        expect(a.update!.noEffect).toEqual([1]);
        expect(a.learningRates[1]).toBe(0);
        for (const [s, rate] of [...a.learningRates].toSpliced(1, 1).entries())
          expect(Math.abs(rate - b.learningRates[s]!)).toBeLessThanOrEqual(1e-9 * Math.max(...b.learningRates));
      }
      expect(messages.filter((message) => /first.bias has no effect/.test(message))).toHaveLength(1);
    },
  );
});

describe("stepping", () => {
  test("on a batch and on its gradient is the same", async () => {
    const [a, b] = [classifier(), classifier()];
    const options = () => ({ engine: oracle, periodHg: 2, hgLoader: hgLoader() });
    const onBatch = await NewtonSummary.create(a, losses.nll, options());
    const onGradient = await NewtonSummary.create(b, losses.nll, options());
    for (let i = 0; i < 5; i++) {
      const { gradient } = await valueAndGrad(b, losses.nll, labelled(6, i), { engine: oracle });
      await onBatch.step(labelled(6, i));
      const { loss } = await onGradient.step({ gradient });
      expect(loss).toBeNaN();
    }
    expect(await b.stateDict()).toEqual(await a.stateDict());
    await expect(onGradient.step({ gradient: {} })).rejects.toThrow("gradient: layers.0.weight is missing");
  });

  test("a gradient given without a loader for summaries is refused", async () => {
    const model = classifier();
    const optimizer = await NewtonSummary.create(model, losses.nll, { engine: oracle });
    const { gradient } = await valueAndGrad(model, losses.nll, labelled(6), { engine: oracle });
    await expect(optimizer.step({ gradient })).rejects.toThrow(
      "hgLoader or hgData is needed where steps are given gradients",
    );
  });

  test("clips the gradient", async () => {
    const model = classifier();
    const before = await model.stateDict();
    const options = { ...PLAIN, noregul: false, ridge: 1e12, damping: 1e12, clipGradNorm: 1e-3, engine: oracle };
    const optimizer = await NewtonSummary.create(model, losses.nll, {
      ...options,
      partition: partition.trivial(model),
    });
    const { learningRates } = await optimizer.step(labelled(20));
    const after = await model.stateDict();
    const moved = Object.keys(before).flatMap((name) =>
      Array.from(after[name]!.data, (value, i) => (value - before[name]!.data[i]!) / learningRates[0]!),
    );
    // PyTorch divides by the norm plus 1e-6.
    expect(Math.hypot(...moved)).toBeCloseTo(1e-3, 8);
  });

  test("a loader may use the model, on the same engine", async () => {
    const model = classifier();
    const looking = {
      draw: async () => {
        await model.predict(labelled(3).x, { engine: oracle });
        return labelled(12);
      },
    };
    const optimizer = await NewtonSummary.create(model, losses.nll, { engine: oracle, hgLoader: looking });
    expect((await optimizer.step(labelled(6))).update).toBeDefined();
  });

  test("calls go one after the other", async () => {
    const together = await NewtonSummary.create(classifier(), losses.nll, {
      engine: oracle,
      periodHg: 3,
      hgLoader: hgLoader(),
    });
    const alone = await NewtonSummary.create(classifier(), losses.nll, {
      engine: oracle,
      periodHg: 3,
      hgLoader: hgLoader(),
    });
    const results = await Promise.all([0, 1, 2, 3].map((i) => together.step(labelled(6, 100 + i))));
    expect(results.map(({ loss }) => loss)).toEqual(await losses20(alone, 0, 4));
  });

  test("frozen parameters stay, and are in no group", async () => {
    const model = classifier();
    const frozen = model.parameters()[0]!;
    frozen.requiresGrad = false;
    const before = await valuesOf(model);
    const optimizer = await NewtonSummary.create(model, losses.nll, { engine: oracle });
    await optimizer.step(labelled(6));
    expect(optimizer.groups.map(({ name }) => name)).toEqual(["layers.0.bias", "layers.1.weight", "layers.1.bias"]);
    const after = await valuesOf(model);
    expect(after["layers.0.weight"]).toEqual(before["layers.0.weight"]);
    expect(after["layers.1.weight"]).not.toEqual(before["layers.1.weight"]);
    const partitionOf = [{ params: model.parameters() }];
    const refused = NewtonSummary.create(model, losses.nll, { engine: oracle, partition: partitionOf });
    await expect(refused).rejects.toThrow(PartitionError);
  });

  test("reports each step, and a summary with all that it found", async () => {
    const seen: number[] = [];
    const options = { engine: oracle, periodHg: 2, onStep: ({ step }: { step: number }) => seen.push(step) };
    const optimizer = await NewtonSummary.create(classifier(), losses.nll, options);
    const { update } = await optimizer.step(labelled(20));
    expect(update!.H).toHaveLength(16);
    for (const key of ["g", "order3", "D", "rates", "rawRates"] as const) expect(update![key]).toHaveLength(4);
    expect(update!.r).toBeGreaterThan(0);
    expect((await optimizer.step(labelled(20))).update).toBeUndefined();
    expect(seen).toEqual([0, 1]);
  });
});

describe("probe", () => {
  test("leaves no trace", async () => {
    const run = async (probes: boolean): Promise<number[]> => {
      const optimizer = await NewtonSummary.create(classifier(), losses.nll, {
        engine: oracle,
        periodHg: 3,
        hgLoader: hgLoader(),
      });
      const found: number[] = [];
      for (let i = 0; i < 10; i++) {
        if (probes) await optimizer.probe(labelled(6, 7));
        found.push(...(await losses20(optimizer, i, i + 1)));
      }
      return found;
    };
    expect(await run(true)).toEqual(await run(false));
  });

  test("tells what the next summary would find", async () => {
    const optimizer = await NewtonSummary.create(classifier(), losses.nll, {
      engine: oracle,
      periodHg: 1,
      hgLoader: hgLoader(),
    });
    const seen = await optimizer.probe(labelled(6));
    expect((await optimizer.step(labelled(6))).update).toEqual(seen);
  });
});

describe("resume", () => {
  const updaters = [new SGDUpdater({ momentum: 0.9, dampening: 0.9 }), new AdamUpdater({ amsgrad: true })];
  test.each(updaters)("goes on bit for bit ($name)", async (updater) => {
    const options = () => ({ engine: double, periodHg: 3, movavg: 0.5, updater, hgLoader: hgLoader(), damping: 0.05 });
    const model = classifier();
    const whole = await NewtonSummary.create(model, losses.nll, options());
    await losses20(whole, 0, 7);
    const [state, weights] = [await whole.state(), await model.stateDict()];
    const expected = await losses20(whole, 7, 20);
    const other = classifier(2);
    other.loadStateDict(weights);
    const resumed = await NewtonSummary.create(other, losses.nll, options());
    await resumed.restore(state);
    expect(await losses20(resumed, 7, 20)).toEqual(expected);
    await Promise.all([whole.dispose(), resumed.dispose()]);
  });

  test("from a partition with other parts is refused, with the same ones not", async () => {
    const of = (model: Module, entry: number) => {
      const [first, ...rest] = model.parameters();
      const part = (entries: number[]) => ({ variable: first!.variable, entries });
      const others = Array.from({ length: 20 }, (_, i) => i).filter((i) => i !== entry);
      return NewtonSummary.create(
        [
          { name: "one", params: [part([entry])] },
          { name: "others", params: [part(others), ...rest] },
        ],
        (x, y) => losses.nll(model.forward(x), y),
        { engine: oracle, periodHg: 1 },
      );
    };
    const [model, again] = [classifier(), classifier(2)];
    const own = await of(model, 3);
    await own.step(labelled(6));
    const [state, weights] = [await own.state(), await model.stateDict()];
    await expect((await of(again, 4)).restore(state)).rejects.toThrow(/another partition/);
    again.loadStateDict(weights);
    const resumed = await of(again, 3);
    await resumed.restore(state);
    expect(await resumed.step(labelled(6, 2))).toEqual(await own.step(labelled(6, 2)));
    expect(await again.stateDict()).toEqual(await model.stateDict());
  });
});

describe("numbers that are not finite", () => {
  const poisoned = (): Batch => {
    const { x, y } = labelled(6);
    return {
      x: { ...x, data: Float64Array.from(x.data as Float64Array, (value, i) => (i === 8 ? Number.NaN : value)) },
      y,
    };
  };
  const huge = (): Batch => ({ x: { ...labelled(6).x, data: new Float64Array(30).fill(1e308) }, y: labelled(6).y });

  test.each([
    ["NaN in the data, at a summary", poisoned, 0],
    ["NaN in the data, between summaries", poisoned, 1],
    ["an overflow, at a summary", huge, 0],
    ["an overflow, between summaries", huge, 1],
  ])("throw and change nothing: %s", async (_what, batch, steps) => {
    const model = models.perceptron({ layers: [5, 4, 3], activation: "identity", classification: false });
    const loader = hgLoader();
    const target = (from: Batch): Batch => ({ x: from.x, y: ndarray(new Float64Array(18), [6, 3]) });
    const options = { engine: oracle, periodHg: 2, log: () => {} };
    const optimizer = await NewtonSummary.create(model, losses.mse, options);
    await losses20Mse(optimizer, target, steps);
    const [state, weights] = [await optimizer.state(), await valuesOf(model)];
    await expect(optimizer.step(target(batch()))).rejects.toThrow(NonFiniteError);
    expect(await valuesOf(model)).toEqual(weights);
    expect(await optimizer.state()).toEqual(state);
    expect(loader.state.position).toBe(0);
  });

  async function losses20Mse(optimizer: NewtonSummary, target: (from: Batch) => Batch, steps: number): Promise<void> {
    for (let i = 0; i < steps; i++) await optimizer.step(target(labelled(6, i)));
  }

  test("can be skipped and logged", async () => {
    const model = classifier();
    const messages: string[] = [];
    const options = { engine: oracle, onNonFinite: "skip", log: (message: string) => messages.push(message) } as const;
    const optimizer = await NewtonSummary.create(model, losses.nll, options);
    const before = await valuesOf(model);
    const { skipped, loss } = await optimizer.step(poisoned());
    expect(skipped).toMatch(/batch x: entry 8 is NaN in sample 1/);
    expect(loss).toBeNaN();
    expect(await valuesOf(model)).toEqual(before);
    expect(messages).toEqual([`step 0 was left out: ${skipped}`]);
    expect((await optimizer.step(labelled(6))).skipped).toBeUndefined();
  });

  test("an abort in a summary leaves everything as it was", async () => {
    const model = classifier();
    const loader = hgLoader();
    const optimizer = await NewtonSummary.create(model, losses.nll, {
      engine: oracle,
      hgLoader: loader,
      microbatch: 1,
    });
    const before = [await valuesOf(model), loader.state];
    const stop = new AbortController();
    const step = optimizer.step(labelled(6), { signal: stop.signal });
    queueMicrotask(() => stop.abort(new Error("enough")));
    await expect(step).rejects.toThrow("enough");
    expect([await valuesOf(model), loader.state]).toEqual(before);
  });
});

describe("options", () => {
  test.each<[object, RegExp]>([
    [{ dampning: 1 }, /unknown option "dampning"/],
    [{ damping: 0 }, /damping must be "auto", a number above 0, or a list of one for each of 4 groups; found 0/],
    [{ damping: Number.NaN }, /damping must be .*; found NaN/],
    [{ damping: null }, /damping must be "auto", .*; found null/],
    [{ damping: "AUTO" }, /damping must be "auto", .*; found AUTO/],
    [{ periodHg: 0 }, /periodHg must be "auto" or a whole number, 1 or more; found 0/],
    [{ periodHg: "AUTO" }, /periodHg must be "auto" or a whole number, 1 or more; found AUTO/],
    [{ nesterov: { dampingInt: null } }, /nesterov.dampingInt must be a number of at least 0; found null/],
    [{ nesterov: { dampingInt: "auto" } }, /nesterov.dampingInt must be a number of at least 0; found auto/],
    [{ nesterov: null }, /nesterov: expected an object of options \(use, dampingInt, momOrder3\); found null/],
    [{ diagonal: null }, /diagonal must be true or false; found null/],
    [{ momentum: null }, /momentum must be at least 0 and below 1; found null/],
    [{ hgData: "auto" }, /hgData must be batches/],
    [{ momLrs: 1 }, /momLrs must be at least 0 and below 1/],
    [{ movavg: -0.1 }, /movavg must be/],
    [{ ridge: -1, nesterov: { use: false } }, /ridge must be/],
    [{ nesterov: { dampingInt: -1 } }, /nesterov.dampingInt must be/],
    [{ nesterov: { momOrder3: 1 } }, /nesterov.momOrder3 must be/],
    [{ nesterov: { damping: 1 } }, /nesterov: unknown option "damping"/],
    [{ clipGradNorm: 0 }, /clipGradNorm must be/],
    [{ onNonFinite: "ignore" }, /onNonFinite must be one of throw, skip/],
    [{ notFound: "zero" }, /notFound must be one of/],
    [{ microbatch: 0 }, /microbatch must be/],
    [{ removeNegative: "yes" }, /removeNegative must be true or false/],
  ])("%o is refused by name", async (options, message) => {
    const made = NewtonSummary.create(classifier(), losses.nll, { engine: oracle, ...options });
    await expect(made).rejects.toThrow(message);
    await expect(made).rejects.toThrow(OptionError);
  });

  test("a partition beside parameter groups is refused", async () => {
    const model = classifier();
    const groups = partition.canonical(model);
    const options = { engine: oracle, partition: groups };
    await expect(NewtonSummary.create(groups, losses.nll, options)).rejects.toThrow(/partition would be ignored/);
  });
});

describe("resources", () => {
  test("nothing is compiled after the first epoch, and nothing is alive after dispose", async () => {
    const engine = new OrtNodeEngine({ threads: 1 });
    const model = models.perceptron({ layers: [5, 5, 5] });
    // Ten samples in batches of 4: the last one has 2; a summary's batches have 5 samples, like the classes and the width.
    const loader = data.take(10).loader({ batchSize: 4, shuffle: true });
    const summaries = data.loader({ batchSize: 5, shuffle: true });
    const optimizer = await NewtonSummary.create(model, losses.nll, { engine, hgLoader: summaries, periodHg: 2 });
    let first = 0;
    for (let epoch = 0; epoch < 10; epoch++) {
      for await (const batch of loader) await optimizer.step(batch);
      if (epoch === 0) first = engine.sessions.compiled;
    }
    expect(engine.sessions).toEqual({ compiled: first, live: first });
    await optimizer.dispose();
    expect(engine.sessions.live).toBe(0);
    await expect(optimizer.step(labelled(3))).rejects.toThrow(DisposedError);
    await engine.dispose();
  });

  test("the number of tensors stays the same from step to step", async () => {
    const engine = new StrictEngine();
    const optimizer = await NewtonSummary.create(classifier(), losses.nll, {
      engine,
      periodHg: 2,
      hgLoader: hgLoader(),
    });
    const counts: number[] = [];
    for (let i = 0; i < 8; i++) {
      await optimizer.step(labelled(6, i));
      if (i === 3) await expect(optimizer.step({ gradient: {} })).rejects.toThrow();
      counts.push(engine.tensors.live);
    }
    // Parameters and the momentum of each.
    expect(counts).toEqual(new Array(8).fill(8));
    await optimizer.dispose();
    expect(engine.tensors.live).toBe(4);
  });
});
