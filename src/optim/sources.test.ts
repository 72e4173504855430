import { describe, expect, test } from "vitest";
import { classifier, labelled } from "../../test/support/models.ts";
import { Dataset } from "../datasets/index.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { losses } from "../nn/index.ts";
import { computeHgFullbatch, fullbatchGradient, valueAndGrad } from "../summary/index.ts";
import { DataError, OptionError } from "../util/errors.ts";
import type { Batch } from "../util/ndarray.ts";
import { type HgSource, NewtonSummary, type NewtonSummaryOptions } from "./index.ts";

const engine = new ReferenceEngine();
const make = (options: NewtonSummaryOptions): Promise<NewtonSummary> =>
  NewtonSummary.create(classifier(), losses.nll, { engine, periodHg: 1, log: () => {}, ...options });

/** Batches of unequal sizes. */
const batches: readonly Batch[] = [labelled(5, 11), labelled(2, 12), labelled(7, 13)];

/** These batches in order, over and over. */
function cycle(): HgSource & { state: number } {
  return {
    state: 0,
    async draw() {
      return batches[this.state++ % batches.length]!;
    },
  };
}

/** What the first summary must be: along the gradient of the step's batch, over some batches. */
async function expected(over: readonly Batch[]) {
  const model = classifier();
  const { gradient: direction } = await valueAndGrad(model, losses.nll, labelled(6), { engine });
  return await computeHgFullbatch(model, losses.nll, over, { engine, direction });
}

describe("a summary is taken", () => {
  const cases: [string, NewtonSummaryOptions, readonly Batch[]][] = [
    ["from one batch of a loader", { hgLoader: cycle() }, batches.slice(0, 1)],
    ["from two of them, averaged", { hgLoader: cycle(), hgBatches: 2 }, batches.slice(0, 2)],
    ["from five, some of them twice", { hgLoader: cycle(), hgBatches: 5 }, [...batches, ...batches.slice(0, 2)]],
    ["over all of an array", { hgData: batches }, batches],
    ["from the step's batch", {}, [labelled(6)]],
  ];
  test.each(cases)("%s", async (_, options, over) => {
    const optimizer = await make(options);
    const { loss, g, H, order3 } = await expected(over);
    const probed = await optimizer.probe(labelled(6));
    const { update } = await optimizer.step(labelled(6));
    expect(probed).toEqual(update);
    const close = (values: ArrayLike<number>) => Array.from(values, (value) => expect.closeTo(value, 12));
    expect(update).toMatchObject({ loss: expect.closeTo(loss, 12) });
    expect([...update!.g]).toEqual(close(g));
    expect([...update!.H]).toEqual(close(H));
    expect([...update!.order3]).toEqual(close(order3));
  });

  test("over all of a loader, again and again", async () => {
    const data = Dataset.fromArrays(labelled(20, 5).x, labelled(20, 5).y);
    const optimizer = await make({ hgData: data.loader({ batchSize: 6 }) });
    const first = await optimizer.probe(labelled(6));
    expect(await optimizer.probe(labelled(6))).toEqual(first);
    const { g } = await expected([labelled(20, 5)]);
    expect([...first.g]).toEqual(Array.from(g, (value) => expect.closeTo(value, 12)));
  });

  test("along the full gradient, where that is what the step is given", async () => {
    const optimizer = await make({ hgData: batches });
    const model = classifier();
    const { gradient } = await fullbatchGradient(model, losses.nll, batches, { engine });
    const { g } = await computeHgFullbatch(model, losses.nll, batches, { engine });
    const { update } = await optimizer.step({ gradient });
    expect([...update!.g]).toEqual(Array.from(g, (value) => expect.closeTo(value, 12)));
  });
});

test("a run that draws several batches goes on exactly from a saved state", async () => {
  const data = Dataset.fromArrays(labelled(40, 5).x, labelled(40, 5).y);
  const options = () => ({ hgLoader: data.loader({ batchSize: 7, shuffle: true, seed: 1 }), hgBatches: 3 });
  const first = await make(options());
  await first.step(labelled(6, 0));
  const saved = await first.state();
  const next = (await first.step(labelled(6, 1))).update;
  // Another optimiser at the same point, its loader elsewhere.
  const again = await make(options());
  await again.step(labelled(6, 0));
  await again.probe(labelled(6, 0));
  await again.restore(saved);
  expect((await again.step(labelled(6, 1))).update).toEqual(next);
});

test("no batch at all is an error, and nothing changes", async () => {
  const optimizer = await make({ hgData: [] });
  const before = await optimizer.state();
  await expect(optimizer.step(labelled(6))).rejects.toThrow(DataError);
  expect(await optimizer.state()).toEqual(before);
});

test.each<[NewtonSummaryOptions, RegExp]>([
  [{ hgBatches: 0, hgLoader: cycle() }, /hgBatches must be a whole number, 1 or more; found 0/],
  [{ hgData: 3 as never }, /hgData must be batches: an array of them, or a loader/],
])("contradictory sources are refused: %#", async (options, message) => {
  await expect(make(options)).rejects.toThrow(message);
  await expect(make(options)).rejects.toThrow(OptionError);
});
