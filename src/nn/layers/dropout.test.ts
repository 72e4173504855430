import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { labelled } from "../../../test/support/models.ts";
import { ReferenceEngine } from "../../engine/index.ts";
import { OrtNodeEngine } from "../../engine/ort-node.ts";
import { NewtonSummary, type NewtonSummaryOptions, Optimizer, SGDUpdater } from "../../optim/index.ts";
import { computeHg, computeHgFullbatch, fullbatchGradient, partition, valueAndGrad } from "../../summary/index.ts";
import { NonFiniteError, OptionError, StateError } from "../../util/errors.ts";
import { type Batch, type FloatData, type NDArray, ndarray } from "../../util/ndarray.ts";
import * as nn from "../index.ts";

const engine = new ReferenceEngine();
const double = new OrtNodeEngine({ precision: "float64", threads: 1 });
afterAll(() => double.dispose());

const loss = nn.losses.crossEntropy;
const ones = (...shape: number[]) => ndarray(new Float64Array(shape.reduce((a, b) => a * b)).fill(1), shape);

function makeModel(): nn.Sequential {
  nn.manualSeed(4);
  const [first, last] = [new nn.Linear(5, 8), new nn.Linear(8, 3)];
  return new nn.Sequential(new nn.Dropout(0.2), first, new nn.Tanh(), new nn.Dropout(0.4), last);
}

describe("Dropout", () => {
  test("keeps entries with the probability 1 − p, divided by it; evaluation passes x on", async () => {
    const layer = new nn.Dropout(0.3);
    const { data } = await layer.predict(ones(500, 40), { engine });
    const kept = Array.from(data, Number).filter((value) => value !== 0);
    expect(new Set(kept)).toEqual(new Set([1 / 0.7]));
    // 20000 draws: four standard deviations are 0.013.
    expect(Math.abs(kept.length / 20000 - 0.7)).toBeLessThan(0.013);
    const passed = await layer.eval().predict(ones(5, 4), { engine });
    expect(new Set(Array.from(passed.data, Number))).toEqual(new Set([1]));
  });

  test("draws by the seed, anew for each place of use and each part", async () => {
    const twice = Object.assign(new nn.Lambda((x) => nn.cat([layer.forward(x), layer.forward(x)], 1)), {});
    const layer = new nn.Dropout();
    const draw = async (seed?: number) =>
      (await twice.predict(ones(8, 20), { engine, ...(seed === undefined ? {} : { seed }) })).data.join();
    expect(await draw()).toBe(await draw(0));
    expect(await draw(1)).not.toBe(await draw(0));
    const { data } = await twice.predict(ones(8, 20), { engine, batchSize: 4 });
    const rows = Array.from({ length: 16 }, (_, i) => data.slice(i * 20, (i + 1) * 20).join());
    expect(new Set(rows).size).toBe(16);
  });

  test("with p = 1 drops all, with p = 0 nothing; others are refused", async () => {
    for (const [p, left] of [
      [1, 0],
      [0, 1],
    ] as const) {
      const { data } = await new nn.Dropout(p).predict(ones(4, 5), { engine });
      expect(new Set(Array.from(data, Number))).toEqual(new Set([left]));
    }
    expect(() => new nn.Dropout(1.5)).toThrow(new OptionError("Dropout: p must be from 0 to 1; found 1.5"));
    expect(() => new nn.MultiHeadAttention(4, 2, { dropout: -1 })).toThrow(
      "MultiHeadAttention: dropout must be from 0 to 1",
    );
  });

  test("of attention drops weights in training mode only", async () => {
    const layer = new nn.MultiHeadAttention(4, 2, { dropout: 0.5 });
    const x = ndarray(
      Float64Array.from({ length: 24 }, (_, i) => Math.sin(i)),
      [2, 3, 4],
    );
    const run = async (seed: number) => (await layer.predict(x, { engine, seed })).data.join();
    expect(await run(1)).not.toBe(await run(2));
    layer.eval();
    expect(await run(1)).toBe(await run(2));
  });
});

describe("a summary with masks", () => {
  const batch = labelled(7, 2);

  test("is that of one function: the loss with the masks of its seed", async () => {
    const model = makeModel();
    const options = { engine: double, seed: 5 };
    const { gradient, loss: value } = await valueAndGrad(model, loss, batch, options);
    const summary = await computeHg(model, loss, batch, options);
    expect(summary.loss).toBeCloseTo(value, 12);
    const start = await model.stateDict();
    const at = async (name: string, step: number): Promise<number> => {
      const moved = { shape: start[name]!.shape, data: Float64Array.from(start[name]!.data) };
      for (const [i, slope] of gradient[name]!.data.entries()) moved.data[i]! += step * slope;
      model.loadStateDict({ ...start, [name]: moved });
      return (await nn.evaluate(model, loss, [batch], options)).loss;
    };
    const h = 1e-2;
    for (const [s, name] of partition
      .canonical(model)
      .map(({ name }) => name!)
      .entries()) {
      const square = Array.from(gradient[name]!.data, Number).reduce((sum: number, g) => sum + g * g, 0);
      expect(summary.g[s]).toBeCloseTo(square, 10);
      const [low, middle, high] = [await at(name, -h), await at(name, 0), await at(name, h)];
      expect((high - low) / (2 * h)).toBeCloseTo(summary.g[s]!, 4);
      expect((high - 2 * middle + low) / h ** 2).toBeCloseTo(summary.H[s * 5]!, 4);
    }
  });

  test("does not depend on its parts, whatever the masks' axes", async () => {
    /** Masks with the batch in front, behind another axis, merged with another, and without it. */
    class Axes extends nn.Module {
      readonly layer = new nn.Linear(5, 3);
      readonly drop = new nn.Dropout(0.4);
      override forward(x: nn.Tensor): nn.Tensor {
        const [samples] = x.shape;
        const dropped = this.drop.forward(x);
        const turned = this.drop.forward(x.t()).t();
        const merged = this.drop.forward(x.reshape(-1)).reshape(samples!, 5);
        const weight = this.drop.forward(this.layer.weight);
        const centred = dropped.sub(dropped.mean([0], true));
        return nn.linear(
          nn
            .cat([centred, turned.add(merged)], 1)
            .reshape(samples!, 2, 5)
            .sum([1]),
          weight,
          this.layer.bias,
        );
      }
    }
    const model = new Axes();
    const whole = await computeHg(model, loss, batch, { engine });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 7 }), async (microbatch) => {
        const parts = await computeHg(model, loss, batch, { engine, microbatch });
        for (const key of ["g", "H", "order3"] as const)
          for (const [i, value] of whole[key].entries()) expect(parts[key][i]).toBeCloseTo(value, 12);
        expect(parts.loss).toBeCloseTo(whole.loss, 12);
      }),
      { numRuns: 7 },
    );
  });

  test("over a data set goes with the gradient's masks, batch by batch", async () => {
    const model = makeModel();
    const batches = [labelled(7, 2), labelled(3, 3)];
    const { gradient } = await fullbatchGradient(model, loss, batches, { engine, seed: 2 });
    const { g } = await computeHgFullbatch(model, loss, batches, { engine, seed: 2 });
    Object.values(gradient).forEach(({ data }, s) => {
      expect(g[s]).toBeCloseTo(
        Array.from(data, Number).reduce((sum: number, value) => sum + value * value, 0),
        12,
      );
    });
  });
});

const create = (model: nn.Module, options: NewtonSummaryOptions = {}): Promise<NewtonSummary> =>
  NewtonSummary.create(model, loss, { engine: double, periodHg: 2, log: () => {}, ...options });
const plain = (model: nn.Module, options: object = {}): Promise<Optimizer> =>
  Optimizer.create(model, loss, { engine: double, updater: new SGDUpdater({ momentum: 0.9 }), lr: 0.1, ...options });

describe("steps", () => {
  const batches = [1, 2, 3, 4, 5, 6].map((seed) => labelled(6, seed));
  type State = Record<string, NDArray<FloatData>>;
  const flat = (state: State) => Object.entries(state).map(([name, { data }]) => [name, ...data]);

  test.each<[string, (model: nn.Module, options?: object) => Promise<NewtonSummary | Optimizer>]>([
    ["NewtonSummary", create],
    ["Optimizer", plain],
  ])("of %s draw anew, by the seed, and go on exactly after a restart", async (_what, make) => {
    const run = async (count: number, options: object = {}) => {
      const model = makeModel();
      const optimizer = await make(model, options);
      const found = [];
      for (const batch of batches.slice(0, count)) found.push((await optimizer.step(batch)).loss);
      return { model, optimizer, found };
    };
    const whole = await run(6);
    expect((await run(6, { seed: 0 })).found).toEqual(whole.found);
    expect((await run(6, { seed: 1 })).found).not.toEqual(whole.found);
    const first = await run(3);
    const saved = structuredClone(await first.optimizer.state());
    const again = makeModel();
    again.loadStateDict(await first.model.stateDict());
    const optimizer = await make(again, { seed: 9 });
    await optimizer.restore(saved);
    const rest = [];
    for (const batch of batches.slice(3)) rest.push((await optimizer.step(batch)).loss);
    expect([...first.found, ...rest]).toEqual(whole.found);
    expect(flat(await again.stateDict())).toEqual(flat(await whole.model.stateDict()));
    const damaged = { ...saved, stepper: { ...saved.stepper, random: { words: [1, 2, 3] } } };
    await expect(optimizer.restore(damaged)).rejects.toThrow(StateError);
  });

  test("on the same batch see other masks each time", async () => {
    const model = makeModel();
    for (const parameter of model.parameters()) parameter.requiresGrad = false;
    const anchor = Object.assign(new nn.Lambda((x) => model.forward(x).add(w.mul(0))), { model });
    const w = new nn.Parameter(ones(1));
    const optimizer = await plain(Object.assign(anchor, { w }));
    const found = [];
    for (let i = 0; i < 4; i++) found.push((await optimizer.step(batches[0]!)).loss);
    expect(new Set(found).size).toBe(4);
  });

  test("that fail, and looks, leave the random numbers as they were", async () => {
    const run = async (disturb: (optimizer: NewtonSummary) => Promise<unknown>) => {
      const model = makeModel();
      const optimizer = await create(model);
      for (const batch of batches) {
        await disturb(optimizer);
        await optimizer.step(batch);
      }
      return flat(await model.stateDict());
    };
    const undisturbed = await run(async () => {});
    expect(await run((optimizer) => optimizer.probe(batches[5]!))).toEqual(undisturbed);
    const { x, y } = labelled(6, 9);
    const huge: Batch = { x: { ...x, data: Float64Array.from(x.data as Float64Array, (value) => value * 1e200) }, y };
    const overflow = (output: nn.Tensor, target: nn.Tensor) => loss(output, target);
    expect(overflow).toBeDefined();
    const refused = await run(async (optimizer) => {
      await expect(
        optimizer.step({ x: { ...huge.x, data: new Float64Array(30).fill(Number.NaN) }, y }),
      ).rejects.toThrow(NonFiniteError);
    });
    expect(refused).toEqual(undisturbed);
  });

  test("follow train and eval: evaluation draws nothing", async () => {
    const model = makeModel();
    const optimizer = await create(model);
    await optimizer.step(batches[0]!);
    model.eval();
    const expected = (await nn.evaluate(model, loss, [batches[1]!], { engine: double })).loss;
    const before = (await optimizer.state()).stepper.random;
    expect((await optimizer.step(batches[1]!)).loss).toBeCloseTo(expected, 12);
    expect((await optimizer.state()).stepper.random).toEqual(before);
  });
});
