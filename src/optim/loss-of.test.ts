import { expect, test } from "vitest";
import { labelled } from "../../test/support/models.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { BatchNorm1d, Dropout, Linear, losses, manualSeed, objective, Sequential, Tanh } from "../nn/index.ts";
import { nameGroups, partition, valueAndGrad } from "../summary/index.ts";
import { Random } from "../util/random.ts";
import { lossOf } from "./loss-of.ts";
import { PartedBatch } from "./parted-batch.ts";
import { Stepper } from "./stepper.ts";
import { SGDUpdater } from "./updater.ts";

const engine = new ReferenceEngine();
const weighted = { weight: [0.2, 1, 5] };

function made(coupled: boolean) {
  manualSeed(2);
  const model = new Sequential(
    new Linear(5, 4),
    coupled ? new BatchNorm1d(4) : new Dropout(0.5),
    new Tanh(),
    new Linear(4, 3),
  );
  const loss = (o: Parameters<typeof losses.crossEntropy>[0], t: typeof o) => losses.crossEntropy(o, t, weighted);
  const target = objective(model, loss);
  const groups = nameGroups(partition.canonical(model), target.variables);
  return { model, loss, stepper: new Stepper(engine, { objective: target, groups, updater: new SGDUpdater() }, {}) };
}

const batches = [labelled(4, 1), labelled(3, 2)];
const random = new Random(0).state;
const watched = (parts: number[]) => {
  const { x, y } = new PartedBatch(batches);
  return { batch: { x, y }, parts, random };
};

test("masks are those of the whole batch, in one run as in several", async () => {
  const { model, loss, stepper } = made(false);
  const { loss: expected } = await valueAndGrad(model, loss, watched([7]).batch, { engine, seed: 0 });
  expect(await lossOf(stepper, watched([7]))).toBe(expected);
  expect(await lossOf(stepper, watched([2, 2, 3]))).toBeCloseTo(expected, 13);
});

test("samples are coupled within parts, weights of classes totalled over all", async () => {
  const { model, loss, stepper } = made(true);
  let [sum, total] = [0, 0];
  for (const batch of batches) {
    const weight = [...batch.y.data].reduce<number>((all, label) => all + weighted.weight[Number(label)]!, 0);
    sum += weight * (await valueAndGrad(model, loss, batch, { engine })).loss;
    total += weight;
  }
  expect(await lossOf(stepper, watched([4, 3]))).toBeCloseTo(sum / total, 13);
  // In evaluation mode nothing is coupled.
  const used = await lossOf(stepper, watched([7]), { mode: "eval" });
  expect(await lossOf(stepper, watched([4, 3]), { mode: "eval" })).toBeCloseTo(used, 13);
});
