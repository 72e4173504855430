import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { assertClose } from "../../test/support/close.ts";
import { classifier, labelled } from "../../test/support/models.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { fromFunction, Linear, losses, Module, manualSeed, type Parameter, type Tensor } from "../nn/index.ts";
import { computeHg, partition, valueAndGrad } from "../summary/index.ts";
import { type FloatData, type NDArray, ndarray } from "../util/ndarray.ts";
import {
  AdamUpdater,
  AdamWUpdater,
  LBFGS,
  NewtonSummary,
  type NewtonSummaryOptions,
  Optimizer,
  SGDUpdater,
  type TrainingOptimizer,
} from "./index.ts";

const engine = new ReferenceEngine();
const share = fc.double({ min: 0.001, max: 0.5, noNaN: true });

describe("clipping by norm comes first, then weight decay", () => {
  /** What SGD makes of the gradient: clipped as one vector, and decayed. */
  async function directionOf(model: Module, bound: number, decay: number): Promise<Record<string, number[]>> {
    const { gradient } = await valueAndGrad(model, losses.nll, labelled(8), { engine });
    const norm = Math.hypot(...Object.values(gradient).flatMap(({ data }) => [...data]));
    // As torch.nn.utils.clip_grad_norm_ has it.
    const factor = Math.min(1, bound / (norm + 1e-6));
    const state = await model.stateDict();
    return Object.fromEntries(
      Object.entries(gradient).map(([name, { data }]) => [
        name,
        Array.from(data, (value, i) => factor * value + decay * Number(state[name]!.data[i])),
      ]),
    );
  }

  const dampings = fc.array(share, { minLength: 4, maxLength: 4 });

  test("with a fixed rate, and with rates from summaries, damped group by group", async () => {
    const property = fc.asyncProperty(
      share,
      share,
      dampings,
      fc.boolean(),
      async (bound, weightDecay, damping, fixed) => {
        const model = classifier();
        const direction = await directionOf(model, bound, weightDecay);
        const before = await model.stateDict();
        const own = { engine, updater: new SGDUpdater({ weightDecay }), clipGradNorm: bound };
        const optimizer = fixed
          ? await Optimizer.create(model, losses.nll, { ...own, lr: 0.1 })
          : await NewtonSummary.create(model, losses.nll, { ...own, damping, momLrs: 0, log: () => {} });
        const along = Object.fromEntries(
          Object.entries(direction).map(([name, u]) => [name, ndarray(Float64Array.from(u), before[name]!.shape)]),
        );
        const summary = await computeHg(model, losses.nll, labelled(8), { engine, direction: along });
        const { learningRates, update } = await optimizer.step(labelled(8));
        const after = await model.stateDict();
        for (const [s, [name, u]] of Object.entries(direction).entries()) {
          const expected = u.map((value, i) => Number(before[name]!.data[i]) - learningRates[s]! * value);
          assertClose(after[name]!.data as FloatData, expected, { relative: 1e-12 }, name);
        }
        if (fixed) return;
        // The summary is that of the loss, along what is stepped along.
        for (const key of ["g", "H"] as const) assertClose(update![key], summary[key], { relative: 1e-12 }, key);
        assertClose(
          learningRates,
          update!.rates.map((rate, s) => rate * damping[s]!),
          { relative: 1e-12 },
          "damped rates",
        );
      },
    );
    await fc.assert(property, { numRuns: 10 });
  });
});

/** A layer whose weight is used twice, once under the name of another layer. */
class Tied extends Module {
  readonly first: Linear = new Linear(5, 5);
  readonly second: Linear = new Linear(5, 5);
  readonly head: Linear = new Linear(5, 3);

  constructor(tied: boolean) {
    super();
    if (tied) Object.assign(this.second, { weight: this.first.weight });
  }

  override forward(x: Tensor): Tensor {
    return this.head.forward(this.second.forward(this.first.forward(x).tanh()).tanh());
  }
}

function made(tied: boolean): Tied {
  manualSeed(4);
  return new Tied(tied);
}

/** The same as a function in which the weight has one name. */
async function written(): Promise<Module> {
  const values = (await made(true).stateDict()) as Record<string, NDArray<FloatData>>;
  delete values["second.weight"];
  return fromFunction(values, (p, x) => {
    const layer = (input: Tensor, weight: string, bias: string): Tensor =>
      input.matmul(p[weight]!.t()).add(p[`${bias}.bias`]!);
    const hidden = layer(x!, "first.weight", "first").tanh();
    return layer(layer(hidden, "first.weight", "second").tanh(), "head.weight", "head");
  });
}

describe("a weight that is used twice", () => {
  test("is one parameter, in one group, with one state", async () => {
    const model = made(true);
    const names = model.namedParameters().map(([name]) => name);
    expect(names).toEqual(["first.weight", "first.bias", "second.bias", "head.weight", "head.bias"]);
    const optimizer = await NewtonSummary.create(model, losses.crossEntropy, { engine, updater: new AdamUpdater() });
    await optimizer.step(labelled(6));
    expect(optimizer.groups.map(({ members }) => members)).toEqual(names.map((name) => [name]));
    const { stepper } = await optimizer.state();
    expect(Object.keys(stepper.tensors)).toHaveLength(2 * names.length);
  });

  type Make = (model: Module) => Promise<TrainingOptimizer>;
  const newton: NewtonSummaryOptions = { engine, periodHg: 2, log: () => {} };
  test.each<[string, Make]>([
    [
      "Optimizer",
      (model) =>
        Optimizer.create(model, losses.crossEntropy, {
          engine,
          updater: new AdamWUpdater({ weightDecay: 0.1 }),
          lr: 0.05,
        }),
    ],
    ["NewtonSummary", (model) => NewtonSummary.create(model, losses.crossEntropy, newton)],
    ["LBFGS", (model) => LBFGS.create(model, losses.crossEntropy, { engine, maxIter: 5 })],
  ])("trains with %s as where it is written so", async (_what, make) => {
    const [tied, plain] = [made(true), await written()];
    const [one, other] = [await make(tied), await make(plain)];
    for (let i = 0; i < 4; i++)
      expect(await one.step([labelled(4, i), labelled(3, i)])).toEqual(
        await other.step([labelled(4, i), labelled(3, i)]),
      );
    const weights = async (model: Module) =>
      model.parameters().map((parameter: Parameter) => parameter.variable.read());
    expect(await Promise.all(await weights(tied))).toEqual(await Promise.all(await weights(plain)));
  });

  test("has the gradient and the summary of two weights that move together", async () => {
    const [tied, untied] = [made(true), made(false)];
    untied.second.weight.variable.write(await untied.first.weight.variable.read());
    const values = (await tied.stateDict()) as Record<string, NDArray<FloatData>>;
    for (const [name, parameter] of untied.namedParameters())
      parameter.variable.write(values[name === "second.weight" ? "first.weight" : name]!);
    const batch = labelled(7);
    const { gradient: own } = await valueAndGrad(tied, losses.crossEntropy, batch, { engine });
    const { gradient: both } = await valueAndGrad(untied, losses.crossEntropy, batch, { engine });
    const [first, second] = [both["first.weight"]!.data, both["second.weight"]!.data];
    assertClose(
      own["first.weight"]!.data,
      Array.from(first, (value, i) => value + second[i]!),
      { relative: 1e-13 },
      "gradient",
    );
    const direction = { ...own, "second.weight": own["first.weight"]! };
    const { first: layer, second: next, head } = untied;
    const together = [
      { params: [layer.weight, next.weight] },
      ...[layer.bias, next.bias, head.weight, head.bias].map((parameter) => ({ params: [parameter!] })),
    ];
    const found = await computeHg(tied, losses.crossEntropy, batch, { engine, direction: own });
    const expected = await computeHg(untied, losses.crossEntropy, batch, { engine, direction, partition: together });
    for (const key of ["g", "H", "order3"] as const) assertClose(found[key], expected[key], { relative: 1e-12 }, key);
    expect(partition.scalars(tied)).toHaveLength(25 + 5 + 5 + 15 + 3);
  });
});
