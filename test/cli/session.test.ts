import { expect, test } from "vitest";
import { openSession } from "../../src/cli/session.ts";
import { trainRequest } from "../../src/cli/train-options.ts";
import type { NewtonSummary } from "../../src/index.ts";

const SMALL = "--dataset toy-regression --limit 60 --layers 4 --batch-norm --batch-size 20 --threads 1";

/** What comes of the first step of a run, and the optimiser's state after it. */
async function firstStep(optimizer: string, options: string) {
  const request = trainRequest(`${SMALL} --optimizer ${optimizer} ${options}`.trim().split(" "));
  if (request.kind !== "new") throw new Error("no run");
  const session = await openSession(request.settings, request.given);
  try {
    const { optimizer: own, trainLoader } = session.options;
    const { loss } = await own.step(await trainLoader.draw());
    return { loss, state: await (own as NewtonSummary).state() };
  } finally {
    await session.dispose();
  }
}

test("what belongs to newton and newton-hv is given to them", async () => {
  const options =
    "--summary-batch-size 30 --step-microbatch 12 --period-order3 2 --direction-lr 0.5 --direction-ridge 2";
  const { updater, auto, rates } = (await firstStep("newton-hv", options)).state;
  expect(updater).toEqual({ name: "StochasticHv", options: { lr: 0.5, ridge: 2 } });
  expect(auto!.watches.map(({ parts }) => parts)).toEqual([[10, 10, 10]]);
  expect(rates.order3).toBeDefined();
  const plain = (await firstStep("newton", "--summary-batch-size 30")).state;
  expect(plain.updater.name).toBe("SGD");
  expect(plain.auto!.watches.map(({ parts }) => parts)).toEqual([[30]]);
  expect(plain.rates.order3).toBeUndefined();
});

test.each(["newton", "sgd", "lbfgs"])(
  "%s runs its steps in parts, of which each has a batch norm of its own",
  async (optimizer) => {
    const [whole, parts] = await Promise.all(["", "--step-microbatch 5"].map((each) => firstStep(optimizer, each)));
    expect(parts!.loss).not.toBeCloseTo(whole!.loss, 3);
  },
);
