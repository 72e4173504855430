import { describe, expect, test } from "vitest";
import { CenteredModel, classifier, labelLoss, labelled } from "../../test/support/models.ts";
import { Dataset } from "../datasets/index.ts";
import { type Engine, ReferenceEngine } from "../engine/index.ts";
import { models } from "../index.ts";
import { fromFunction, type Loss, losses, type Module, objective, type Parameter } from "../nn/index.ts";
import { DataError } from "../util/errors.ts";
import { ndarray } from "../util/ndarray.ts";
import { computeHg, computeHgFullbatch, fullbatchGradient, nameGroups, partition, valueAndGrad } from "./index.ts";
import { partSize } from "./run-parts.ts";
import { derivedOnce, deriveSummary, summarySource, traceLoss } from "./summary.ts";

const engine = new ReferenceEngine();
const scalar = (value: number) => ndarray(Float64Array.of(value), []);

describe("compiled programs are shared", () => {
  test("by batches of every size", async () => {
    const own = new ReferenceEngine();
    const model = classifier();
    const first = await computeHg(model, losses.nll, labelled(6), { engine: own });
    const { compiled } = own.sessions;
    for (const samples of [1, 3, 4, 5, 7]) await computeHg(model, losses.nll, labelled(samples), { engine: own });
    expect(own.sessions.compiled).toBe(compiled);
    expect(await computeHg(model, losses.nll, labelled(6), { engine: own })).toEqual(first);
    await own.dispose();
    expect(own.sessions.live).toBe(0);
  });

  test("but not by partitions that number the groups in another way", async () => {
    // The graph does not read c, so that it is the same for both.
    const model = fromFunction({ a: scalar(2), b: scalar(3), c: scalar(5) }, ({ a, b }) => a.square().mul(b));
    const [a, b, c] = model.parameters() as [Parameter, Parameter, Parameter];
    const g = async (...groups: Parameter[][]) => {
      const own = groups.map((params) => ({ params }));
      return [...(await computeHg(model, (loss) => loss, undefined, { engine, partition: own })).g];
    };
    expect(await g([a], [b], [c])).toEqual([144, 16, 0]);
    expect(await g([a], [c], [b])).toEqual([144, 0, 16]);
    expect(await g([c], [a], [b])).toEqual([0, 144, 16]);
    expect(await g([a, c], [b])).toEqual([144, 16]);
  });

  test("nor by losses that ask different things of the labels", async () => {
    const model = classifier();
    const unchecked: Loss = (output, target) => output.gather(1, target.unsqueeze(1)).sum([1]).mean().neg();
    const batch = { ...labelled(2), y: ndarray(Int32Array.of(0, 1), [2]) };
    const { loss } = await valueAndGrad(model, unchecked, batch, { engine });
    expect((await valueAndGrad(model, losses.nll, batch, { engine })).loss).toBe(loss);
    const wrong = { ...batch, y: ndarray(Int32Array.of(0, 3), [2]) };
    await expect(valueAndGrad(model, losses.nll, wrong, { engine })).rejects.toThrow(/label 3 of sample 1/);
  });
});

describe("what is derived from a loss is shared", () => {
  const model = classifier();
  const target = objective(model, losses.nll);
  const groups = nameGroups(partition.canonical(model), target.variables);
  const own = new ReferenceEngine();
  let derivations = 0;
  const derived = (samples: number, asked: unknown, loss: Loss = losses.nll, on: Engine = own) => {
    const batch = labelled(samples);
    const traced = traceLoss(objective(model, loss), batch);
    return derivedOnce(on, traced, asked, () => {
      derivations++;
      return deriveSummary(traced, groups);
    });
  };

  test("by equal losses that ask for the same", () => {
    const first = derived(3, "one");
    derivations = 0;
    expect(derived(3, "one")).toBe(first);
    expect(derivations).toBe(0);
  });

  test("but not by others, on other engines, or where what is trained changed", () => {
    derived(3, "one");
    derivations = 0;
    derived(4, "one");
    derived(3, "two");
    derived(3, "one", (output, labels) => losses.nll(output, labels).mul(2));
    derived(3, "one", losses.nll, new ReferenceEngine());
    expect(derivations).toBe(4);
    const [weight] = model.parameters();
    weight!.requiresGrad = false;
    derived(3, "one");
    weight!.requiresGrad = true;
    expect(derivations).toBe(5);
  });

  test("whatever becomes of an array that held a shape", async () => {
    const on = new ReferenceEngine();
    const lossOf = async (shape: number[]) => {
      const six = Float64Array.of(1, 2, 3, 4, 5, 6);
      const weights = { shape, data: six.slice() };
      const product = fromFunction({ a: { shape, data: six } }, ({ a }) => a.mul(weights).sum([1]).square().sum());
      return (await valueAndGrad(product, (output) => output, undefined, { engine: on })).loss;
    };
    const reused = [2, 3];
    const first = await lossOf(reused);
    reused.splice(0, 2, 3, 2);
    expect(await lossOf([2, 3])).toBe(first);
    expect(await lossOf(reused)).not.toBe(first);
  });

  test("and forgotten after 32 others", () => {
    derived(3, "one");
    for (let i = 0; i < 31; i++) derived(3, i);
    derivations = 0;
    derived(3, "one");
    expect(derivations).toBe(0);
    for (let i = 0; i < 32; i++) derived(3, i);
    derivations = 0;
    derived(3, "one");
    expect(derivations).toBe(1);
  });
});

describe("the parts of a batch", () => {
  function sizeFor(model: Module, loss: Loss, samples: number, microbatch?: number): number {
    const target = objective(model, loss);
    const batch = {
      x: ndarray(new Float64Array(samples * 5), [samples, 5]),
      y: ndarray(new Int32Array(samples), [samples]),
    };
    const groups = nameGroups(partition.canonical(model), target.variables);
    return partSize(summarySource(target, groups, batch).plan, samples, engine, microbatch);
  }

  test("are smaller for a wider model, and of nearly equal size", () => {
    const wide = models.perceptron({ layers: [5, 400, 400, 3] });
    // Stacks of some groups times 400 numbers of 8 bytes are to fit into 5.5 MB: some hundred samples.
    const size = sizeFor(wide, losses.nll, 1000);
    expect(size).toBeGreaterThan(100);
    expect(size).toBeLessThan(1000);
    expect(1000 / size).toBeGreaterThan(Math.ceil(1000 / size) - 0.1);
    expect(sizeFor(classifier(), losses.nll, 1000)).toBe(1000);
    expect(sizeFor(classifier(), losses.nll, 1000, 300)).toBe(250);
    expect(sizeFor(classifier(), losses.nll, 10, 300)).toBe(10);
  });

  test("are the whole batch where its samples are coupled", () => {
    expect(sizeFor(new CenteredModel(true), labelLoss, 5000)).toBe(5000);
  });
});

describe("whole data sets", () => {
  const model = classifier();
  const data = Dataset.fromArrays(labelled(11).x, labelled(11).y);

  test("come from loaders, with a smaller last batch, and are what one batch gives", async () => {
    const loader = data.loader({ batchSize: 4, shuffle: true });
    const parts = await computeHgFullbatch(model, losses.nll, loader, { engine, microbatch: 3 });
    const whole = await computeHg(model, losses.nll, labelled(11), { engine });
    expect(parts.loss).toBeCloseTo(whole.loss, 12);
    for (const key of ["g", "H", "order3"] as const) {
      const most = Math.max(...whole[key].map(Math.abs));
      for (const [i, value] of whole[key].entries())
        expect(Math.abs(parts[key][i]! - value), `${key}[${i}]`).toBeLessThanOrEqual(1e-12 * most);
    }
  });

  test("leave frozen parameters out, and name what a gradient belongs to", async () => {
    const frozen = classifier();
    frozen.parameters()[0]!.requiresGrad = false;
    const { gradient } = await fullbatchGradient(frozen, losses.nll, data.loader({ batchSize: 4 }), { engine });
    expect(Object.keys(gradient)).toEqual(["layers.0.bias", "layers.1.weight", "layers.1.bias"]);
    expect(gradient["layers.1.weight"]!.shape).toEqual([3, 4]);
    const direction = { ...gradient, "layers.0.weight": ndarray(new Float64Array(20), [4, 5]) };
    const run = computeHg(frozen, losses.nll, labelled(3), { engine, direction });
    await expect(run).rejects.toThrow("direction: layers.0.weight is not a trainable parameter of the model");
  });

  test("a group has no effect only where no batch shows one", async () => {
    const gated = fromFunction({ a: scalar(1), b: scalar(1) }, ({ a, b }, x) => x!.mul(b).square().add(a.square()));
    const batch = (value: number) => ({ x: ndarray(Float64Array.of(value), [1]), y: ndarray(Float64Array.of(0), [1]) });
    const direction = { a: scalar(1), b: scalar(1) };
    const idle = async (...values: number[]) => {
      const loss: Loss = (output) => output.mean();
      return (await computeHgFullbatch(gated, loss, values.map(batch), { engine, direction })).noEffect;
    };
    expect(await idle(0, 0)).toEqual([1]);
    expect(await idle(0, 1)).toEqual([]);
    expect(await idle(1, 0)).toEqual([]);
  });

  test("stop between two batches", async () => {
    const stop = new AbortController();
    function* batches() {
      yield labelled(3);
      stop.abort(new Error("enough"));
      yield labelled(3);
    }
    const options = { engine, signal: stop.signal };
    await expect(fullbatchGradient(model, losses.nll, batches(), options)).rejects.toThrow("enough");
    await expect(computeHgFullbatch(model, losses.nll, [labelled(3)], options)).rejects.toThrow("enough");
  });

  test("can be empty at the second look only where they can be gone through once", async () => {
    function* once() {
      yield labelled(3);
    }
    const { gradient: direction } = await valueAndGrad(model, losses.nll, labelled(3), { engine });
    await computeHgFullbatch(model, losses.nll, once(), { engine, direction });
    await expect(computeHgFullbatch(model, losses.nll, once(), { engine })).rejects.toThrow(DataError);
  });
});
