import { describe, expect, test } from "vitest";
import { labelled } from "../../test/support/models.ts";
import { StrictEngine } from "../../test/support/strict-engine.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { Buffer, evaluate, init, Linear, losses, Module, manualSeed, type Tensor } from "../nn/index.ts";
import { computeHg, computeHgFullbatch, partition, valueAndGrad } from "../summary/index.ts";
import { NonFiniteError, ShapeError, StateError } from "../util/errors.ts";
import { type Batch, ndarray } from "../util/ndarray.ts";
import { NewtonSummary, type NewtonSummaryOptions, Optimizer, SGDUpdater } from "./index.ts";

const engine = new ReferenceEngine();

/** In training mode it follows the mean of its inputs, and in evaluation mode takes it off. */
class Centered extends Module {
  readonly layer = new Linear(5, 3);
  readonly mean = new Buffer(init.zeros([5]));

  override forward(x: Tensor): Tensor {
    if (!this.training) return this.layer.forward(x.sub(this.mean));
    this.mean.assign(this.mean.mul(0.5).add(x.mean([0]).mul(0.5)));
    return this.layer.forward(x);
  }
}

class Model extends Module {
  readonly inner = new Centered();
  readonly gain = new Linear(3, 3, { bias: false });

  override forward(x: Tensor): Tensor {
    return this.gain.forward(this.inner.forward(x));
  }
}

function makeModel(): Model {
  manualSeed(3);
  return new Model();
}

const batches = [1, 2, 3, 4].map((seed) => labelled(6, seed));

/** What the buffer is after some batches, by its definition. */
function expectedMean(seen: readonly Batch[]): number[] {
  return seen.reduce<number[]>(
    (mean, { x }) =>
      mean.map((value, i) => {
        const column = [...Array(6).keys()].map((row) => Number(x.data[row * 5 + i]));
        return 0.5 * value + (0.5 * column.reduce((a, b) => a + b)) / 6;
      }),
    [0, 0, 0, 0, 0],
  );
}

const meanOf = async (model: Model): Promise<number[]> => [...(await model.inner.mean.variable.read()).data];

async function expectMean(model: Model, seen: readonly Batch[]): Promise<void> {
  const expected = expectedMean(seen);
  for (const [i, value] of (await meanOf(model)).entries()) expect(value).toBeCloseTo(expected[i]!, 12);
}

const create = (model: Module, options: NewtonSummaryOptions = {}): Promise<NewtonSummary> =>
  NewtonSummary.create(model, losses.crossEntropy, { engine, periodHg: 2, log: () => {}, ...options });
const plain = (model: Module): Promise<Optimizer> =>
  Optimizer.create(model, losses.crossEntropy, { engine, updater: new SGDUpdater(), lr: 0.1 });

describe("a buffer", () => {
  test("is found in fields, and in states after the module's own parameters; it is no parameter", async () => {
    const model = makeModel();
    expect(model.namedBuffers().map(([name]) => name)).toEqual(["inner.mean"]);
    expect(model.namedParameters().map(([name]) => name)).not.toContain("inner.mean");
    expect(Object.keys(await model.stateDict())).toEqual([
      "inner.mean",
      "inner.layer.weight",
      "inner.layer.bias",
      "gain.weight",
    ]);
    expect(partition.canonical(model).map(({ name }) => name)).not.toContain("inner.mean");
  });

  test("goes out and in with a state, whole numbers too; a bad one is named", async () => {
    const model = makeModel();
    const state = await model.stateDict();
    const counts = { shape: [5], data: BigInt64Array.from([1n, 2n, 3n, 4n, 5n]) };
    model.loadStateDict({ ...state, "inner.mean": counts });
    expect(await meanOf(model)).toEqual([1, 2, 3, 4, 5]);
    const { "inner.mean": _, ...rest } = state;
    expect(() => model.loadStateDict(rest)).toThrow(new StateError("state: buffer inner.mean is missing"));
    const short = ndarray(new Float32Array(4), [4]);
    expect(() => model.loadStateDict({ ...state, "inner.mean": short })).toThrow(
      new ShapeError("state: buffer inner.mean: expected shape [5], found [4]"),
    );
    expect(await meanOf(model)).toEqual([1, 2, 3, 4, 5]);
  });

  test.each<[string, (model: Module) => Promise<NewtonSummary | Optimizer>]>([
    ["NewtonSummary", create],
    ["Optimizer", plain],
  ])("is written by the steps of %s in training mode, with and without a summary", async (_what, make) => {
    const model = makeModel();
    const optimizer = await make(model);
    for (const [i, batch] of batches.entries()) {
      await optimizer.step(batch);
      await expectMean(model, batches.slice(0, i + 1));
    }
    model.eval();
    await optimizer.step(batches[0]!);
    await expectMean(model, batches);
  });

  test("is written by the step's batch, not by the summary's", async () => {
    const model = makeModel();
    const optimizer = await create(model, { hgLoader: { draw: async () => labelled(6, 9) } });
    for (const batch of batches) await optimizer.step(batch);
    await expectMean(model, batches);
  });

  test("is left alone by everything else", async () => {
    const model = makeModel();
    const optimizer = await create(model);
    await optimizer.step(batches[0]!);
    const before = await model.stateDict();
    await optimizer.probe(batches[1]!);
    await valueAndGrad(model, losses.crossEntropy, batches[1]!, { engine });
    await computeHg(model, losses.crossEntropy, batches[1]!, { engine });
    await computeHgFullbatch(model, losses.crossEntropy, batches, { engine });
    await evaluate(model, losses.crossEntropy, batches, { engine });
    await model.predict(batches[1]!.x, { engine });
    const { gradient } = await valueAndGrad(model, losses.crossEntropy, batches[1]!, { engine });
    expect(await model.stateDict()).toEqual(before);
    await (await plain(model)).step({ gradient });
    await expectMean(model, batches.slice(0, 1));
  });

  test("counts from its assignment on within a forward, as a constant", async () => {
    class Twice extends Module {
      readonly w = new Linear(1, 1, { bias: false });
      readonly sum = new Buffer(init.zeros([]));
      override forward(x: Tensor): Tensor {
        const add = () => this.sum.assign(this.sum.add(this.w.forward(x).sum()));
        add();
        add();
        return this.w.forward(x).mul(this.sum);
      }
    }
    const model = new Twice();
    model.loadStateDict({ "w.weight": ndarray(Float64Array.of(3), [1, 1]), sum: ndarray(Float64Array.of(5), []) });
    const batch = { x: ndarray(Float64Array.of(2), [1, 1]), y: ndarray(Float64Array.of(0), [1, 1]) };
    const loss = (output: Tensor): Tensor => output.sum();
    const found = await valueAndGrad(model, loss, batch, { engine });
    expect(found.loss).toBe(6 * (5 + 6 + 6));
    expect([...found.gradient["w.weight"]!.data]).toEqual([2 * (5 + 6 + 6)]);
    const optimizer = await Optimizer.create(model, loss, { engine, updater: new SGDUpdater(), lr: 0.1 });
    await optimizer.step(batch);
    expect((await model.stateDict()).sum!.data[0]).toBe(5 + 6 + 6);
  });

  test("is refused a value of another shape or dtype", async () => {
    const of = (assign: (b: Buffer, x: Tensor) => void): Promise<unknown> => {
      class Wrong extends Module {
        readonly b = new Buffer(init.zeros([5]));
        override forward(x: Tensor): Tensor {
          assign(this.b, x);
          return x;
        }
      }
      return new Wrong().predict(labelled(2).x, { engine });
    };
    await expect(of((b, x) => b.assign(x))).rejects.toThrow(
      "Wrong: assign: expected real numbers of shape [5], found float[batch, 5]",
    );
    await expect(of((b, x) => b.assign(x.sum([0]).gt(0)))).rejects.toThrow(ShapeError);
  });
});

describe("a step that is refused writes no buffer", () => {
  /** The buffer becomes NaN where the inputs are negative on the mean; the loss stays finite. */
  class Logarithm extends Module {
    readonly layer = new Linear(5, 3);
    readonly log = new Buffer(init.zeros([]));
    override forward(x: Tensor): Tensor {
      this.log.assign(x.mean().log());
      return this.layer.forward(x);
    }
  }
  const shifted = (amount: number): Batch => {
    const { x, y } = labelled(6);
    return { x: { ...x, data: Float64Array.from(x.data as Float64Array, (value) => value + amount) }, y };
  };

  test.each<[string, (model: Module) => Promise<NewtonSummary | Optimizer>, number]>([
    ["by a plain optimiser", plain, 1],
    ["by NewtonSummary in a step with a summary", create, 2],
    ["by NewtonSummary in a step without", create, 1],
  ])("%s", async (_what, make, steps) => {
    const model = new Logarithm();
    const optimizer = await make(model);
    for (let i = 0; i < steps; i++) await optimizer.step(shifted(10));
    const before = [await model.stateDict(), await optimizer.state()];
    await expect(optimizer.step(shifted(-10))).rejects.toThrow(
      new NonFiniteError("the step would make parameters or buffers NaN or infinite"),
    );
    expect([await model.stateDict(), await optimizer.state()]).toEqual(before);
  });

  test("and all tensors are freed", async () => {
    const strict = new StrictEngine();
    const optimizer = await create(new Logarithm(), { engine: strict });
    for (let i = 0; i < 2; i++) await optimizer.step(shifted(10));
    const live = strict.tensors.live;
    for (let i = 0; i < 2; i++) {
      await expect(optimizer.step(shifted(-10))).rejects.toThrow(NonFiniteError);
      expect(strict.tensors.live).toBe(live);
      await optimizer.step(shifted(10));
      expect(strict.tensors.live).toBe(live);
    }
  });
});

describe("groups with a loss that contains the model", () => {
  test("are the model with a loss: buffers, modes and frozen parameters too, and nothing is compiled twice", async () => {
    const run = async (whole: boolean) => {
      const own = new ReferenceEngine();
      const model = makeModel();
      model.gain.weight.requiresGrad = false;
      const options = { engine: own, damping: 0.3, periodHg: 2, log: () => {} };
      const optimizer = whole
        ? await NewtonSummary.create(model, losses.crossEntropy, options)
        : await NewtonSummary.create(
            partition.canonical(model),
            (x, y) => losses.crossEntropy(model.forward(x), y),
            options,
          );
      const results = [];
      const compiled: number[] = [];
      for (const training of [true, false, true]) {
        model.train(training);
        for (const batch of batches) {
          results.push((await optimizer.step(batch)).loss);
          compiled.push(own.sessions.compiled);
        }
      }
      return { results, compiled, state: await model.stateDict() };
    };
    const [whole, grouped] = [await run(true), await run(false)];
    expect(grouped).toEqual(whole);
    expect(whole.compiled).toEqual([3, 4, 4, 4, 6, 7, 7, 7, 7, 7, 7, 7]);
  });

  test("take a parameter in no group as it is", async () => {
    const model = makeModel();
    const [group] = partition.canonical(model);
    const optimizer = await NewtonSummary.create([group!], (x, y) => losses.crossEntropy(model.forward(x), y), {
      engine,
      log: () => {},
    });
    const before = await model.stateDict();
    await optimizer.step(batches[0]!);
    const saved = await optimizer.state();
    await optimizer.step(batches[1]!);
    const after = await model.stateDict();
    const changed = Object.keys(after).filter((name) => after[name]!.data.join() !== before[name]!.data.join());
    expect(changed).toEqual(["inner.mean", "inner.layer.weight"]);
    await optimizer.restore(saved);
  });
});

describe("summaryMode", () => {
  test("eval takes summaries of the model as it is used, and train as it is trained", async () => {
    const model = makeModel();
    const optimizers = await Promise.all(
      [undefined, "train", "eval"].map((summaryMode) =>
        create(model, { ...(summaryMode && { summaryMode }) } as NewtonSummaryOptions),
      ),
    );
    await optimizers[0]!.step(batches[0]!);
    const found = [];
    for (const optimizer of optimizers) found.push((await optimizer.probe(batches[1]!)).loss);
    const loss = async (mode: "train" | "eval") =>
      (await evaluate(model, losses.crossEntropy, [batches[1]!], { engine, mode })).loss;
    const [train, used] = [await loss("train"), await loss("eval")];
    expect(Math.abs(train - used)).toBeGreaterThan(1e-3);
    for (const [i, expected] of [train, train, used].entries()) expect(found[i]).toBeCloseTo(expected, 12);
    expect(model.modules().every(({ training }) => training)).toBe(true);
    await expect(create(model, { summaryMode: "test" } as object)).rejects.toThrow(
      "summaryMode must be one of train, eval; found test",
    );
  });
});
