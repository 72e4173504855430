import { afterAll, describe, expect, test } from "vitest";
import { labelled } from "../../test/support/models.ts";
import { type Engine, ReferenceEngine } from "../engine/index.ts";
import { OrtNodeEngine } from "../engine/ort-node.ts";
import { models } from "../index.ts";
import { fromFunction, type Loss, losses, type Module, softmax, type Tensor } from "../nn/index.ts";
import { partition } from "../summary/index.ts";
import { type Batch, type FloatData, type NDArray, ndarray } from "../util/ndarray.ts";
import { Random } from "../util/random.ts";
import { NewtonSummary, type NewtonSummaryOptions, SGDUpdater } from "./index.ts";

const oracle = new ReferenceEngine();
const double = new OrtNodeEngine({ precision: "float64", threads: 1 });
const single = new OrtNodeEngine({ threads: 1 });
afterAll(() => Promise.all([double.dispose(), single.dispose()]));

const scalar = (value: number) => ndarray(Float64Array.of(value), []);

/** Draws parameters of these shapes, the same for the same names. */
function draw(shapes: Record<string, readonly number[]>): Record<string, NDArray<FloatData>> {
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => {
      const random = new Random([...name].reduce((sum, letter) => 31 * sum + letter.charCodeAt(0), 7));
      const data = Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => 0.5 * random.normal());
      return [name, ndarray(data, shape)];
    }),
  );
}

type Record_ = Record<string, Tensor>;

/** A network of x in 5 dimensions, and the parameter of it that changes nothing. */
interface EffectCase {
  readonly shapes: Record<string, readonly number[]>;
  readonly idle: string;
  readonly forward: (p: Record_, x: Tensor, idle: Tensor) => Tensor;
}

const cases: Record<string, EffectCase> = {
  "a parameter that is not used": {
    shapes: { w: [3, 5], b: [3], idle: [4, 2] },
    idle: "idle",
    forward: (p, x) => x.matmul(p.w!.t()).add(p.b!),
  },
  "a bias before the mean over the batch is taken off": {
    shapes: { w1: [4, 5], idle: [4], w2: [3, 4] },
    idle: "idle",
    forward: (p, x, idle) => {
      const z = x.matmul(p.w1!.t()).add(idle);
      return z
        .sub(z.mean([0], true))
        .tanh()
        .matmul(p.w2!.t());
    },
  },
  "a shift of all scores": {
    shapes: { w: [3, 5], b: [3], idle: [] },
    idle: "idle",
    forward: (p, x, idle) => x.matmul(p.w!.t()).add(p.b!).add(idle),
  },
  "the bias of attention's keys": {
    shapes: { q: [4, 5], qb: [4], k: [4, 5], idle: [4], v: [3, 5] },
    idle: "idle",
    forward: (p, x, idle) => {
      const queries = x.matmul(p.q!.t()).add(p.qb!);
      const keys = x.matmul(p.k!.t()).add(idle);
      return softmax(queries.matmul(keys.t()), 1).matmul(x.matmul(p.v!.t()));
    },
  },
};

describe.each([
  ["the oracle", oracle, 1e-9],
  ["float64", double, 1e-9],
  ["float32", single, 2e-3],
] as [string, Engine, number][])(
  "on %s a group without effect has rate 0, and the others' rates are as without it",
  (_name, engine, tolerance) => {
    test.each(Object.entries(cases))("%s", async (_what, { shapes, idle, forward }) => {
      const values = draw(shapes);
      const { [idle]: _, ...rest } = values;
      const zero = (x: Tensor) => x.sum().mul(0).detach();
      const withIt = fromFunction(values, (p, x) => forward(p, x!, p[idle]!));
      const without = fromFunction(rest, (p, x) => forward(p, x!, zero(x!)));
      const messages: string[] = [];
      const options: NewtonSummaryOptions = { engine, periodHg: 1, momLrs: 0, removeNegative: false };
      const a = await NewtonSummary.create(withIt, losses.crossEntropy, { ...options, log: (m) => messages.push(m) });
      const b = await NewtonSummary.create(without, losses.crossEntropy, { ...options, log: () => {} });
      const at = Object.keys(values).indexOf(idle);
      for (let step = 0; step < 2; step++) {
        const [{ update, learningRates }, other] = [await a.step(labelled(24, step)), await b.step(labelled(24, step))];
        expect(update!.noEffect).toEqual([at]);
        expect(other.update!.noEffect).toEqual([]);
        expect(learningRates[at]).toBe(0);
        const most = Math.max(...other.learningRates.map(Math.abs));
        for (const [s, rate] of [...learningRates].toSpliced(at, 1).entries())
          expect(Math.abs(rate - other.learningRates[s]!), `rate ${s}`).toBeLessThanOrEqual(tolerance * most);
      }
      const named = messages.filter((message) => message.startsWith("group idle "));
      expect(named).toHaveLength(1);
      expect(named[0]).toMatch(/(has no effect on the loss|its direction is 0): its learning rate is 0/);
      await Promise.all([a.dispose(), b.dispose()]);
    });
  },
);

test("a group that stands still at first, behind weights of 0, moves later", async () => {
  const { w, b } = draw({ w: [4, 5], b: [3] });
  const out = ndarray(new Float64Array(12), [3, 4]);
  const model = fromFunction({ w: w!, b: b!, out }, (p, x) => x!.matmul(p.w.t()).tanh().matmul(p.out.t()).add(p.b));
  const messages: string[] = [];
  const options = { engine: oracle, periodHg: 1, log: (message: string) => messages.push(message) };
  const optimizer = await NewtonSummary.create(model, losses.crossEntropy, options);
  expect((await optimizer.step(labelled(24))).learningRates[0]).toBe(0);
  expect(messages).toEqual(["group w does not move, its direction is 0: its learning rate is 0"]);
  const rates = [];
  for (let i = 0; i < 4; i++) rates.push((await optimizer.step(labelled(24))).learningRates[0]!);
  expect(Math.max(...rates)).toBeGreaterThan(0);
});

describe("where there are no rates", () => {
  /** L = mean(x) w²: curved as the summary's batch says, with D = 0. */
  const curved: Loss = (output) => output.mean();
  const model = () => fromFunction({ w: scalar(1) }, ({ w }, x) => x!.mul(w.square()));
  const batch = (x: number): Batch => ({
    x: ndarray(Float64Array.of(x, x), [2]),
    y: ndarray(new Float64Array(2), [2]),
  });

  /** Rates and outcomes over summaries whose curvature is up or down. */
  async function run(
    signs: readonly number[],
    options: NewtonSummaryOptions,
  ): Promise<{ rates: number[]; log: string[] }> {
    const log: string[] = [];
    let at = 0;
    const optimizer = await NewtonSummary.create(model(), curved, {
      engine: oracle,
      hgLoader: { draw: async () => batch(signs[at++]!) },
      updater: new SGDUpdater(),
      damping: 1e-3,
      periodHg: 1,
      momLrs: 0,
      removeNegative: false,
      log: (message) => log.push(message),
      ...options,
    });
    const rates = [];
    for (const sign of signs) {
      const { learningRates, update } = await optimizer.step(batch(1));
      expect(update!.found).toBe(sign > 0);
      rates.push(learningRates[0]! / 1e-3);
    }
    return { rates, log };
  }

  const expectRates = (found: readonly number[], expected: readonly number[]): void => {
    for (const [i, rate] of expected.entries()) expect(found[i], `rate ${i}`).toBeCloseTo(rate, 10);
  };

  test("the last ones are kept once, and then a damped Newton step's are taken; the reason is logged", async () => {
    const { rates, log } = await run([1, -1, -1, -1, 1, -1], {});
    // H = 8 w² up or down, g = 4 w²: 1/2; and damped, (−8 + 2 · 8) η = −4.
    expectRates(rates, [0.5, 0.5, -0.5, -0.5, 0.5, 0.5]);
    const reason =
      "no learning rates from the summary (H is not positive definite beyond rounding where D is 0 (groups 0): nothing bounds their rates)";
    expect(log).toEqual([`${reason}: kept the last`, `${reason}: took a damped Newton step's`]);
  });

  test("a damped Newton step's are taken where there are no last ones", async () => {
    expectRates((await run([-1, -1, 1], {})).rates, [-0.5, -0.5, 0.5]);
  });

  test("they are smoothed like any other", async () => {
    expectRates((await run([1, -1, -1], { momLrs: 0.5 })).rates, [0.5, 0.5, 0]);
  });

  test("the reference's policy takes 0, whatever came before", async () => {
    expectRates((await run([-1, 1, -1, -1, 1], { notFound: "compatible" })).rates, [0, 0.5, 0, 0, 0.5]);
    expectRates((await run([1, -1], { notFound: "compatible", momLrs: 0.5 })).rates, [0.5, 0.25]);
  });
});

test.each([
  ["float32", single],
  ["the oracle", oracle],
] as [string, Engine][])("a ReLU perceptron with MSE, whose D is 0, trains on %s", async (_name, engine) => {
  const net: Module = models.perceptron({ layers: [5, 10, 6, 1], activation: "relu", classification: false, seed: 2 });
  const { x } = labelled(64, 4);
  const rows = Array.from({ length: 64 }, (_, i) => x.data.slice(5 * i, 5 * i + 5) as Float64Array);
  const y = ndarray(
    Float64Array.from(rows, ([a, b]) => Math.abs(a!) - b!),
    [64, 1],
  );
  const options = { engine, periodHg: 5, log: () => {}, partition: partition.canonical(net) };
  const optimizer = await NewtonSummary.create(net, losses.mse, options);
  const found: number[] = [];
  for (let i = 0; i < 80; i++) found.push((await optimizer.step({ x, y })).loss);
  expect(found.at(-1)!).toBeLessThan(0.3 * found[0]!);
  await optimizer.dispose();
});
