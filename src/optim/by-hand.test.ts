import { expect, test } from "vitest";
import { classifier, labelled } from "../../test/support/models.ts";
import { type HandOptions, trainByHand } from "../../test/support/newton-by-hand.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { losses } from "../nn/index.ts";
import { NewtonSummary, type NewtonSummaryOptions, SGDUpdater } from "./index.ts";

const engine = new ReferenceEngine();
const STEPS = 12;
const batches = Array.from({ length: STEPS }, (_, i) => labelled(6, 100 + i));
const summaries = Array.from({ length: STEPS }, (_, i) => labelled(15, 200 + i));

const BASE: HandOptions = {
  damping: 0.3,
  periodHg: 3,
  momLrs: 0,
  movavg: 0,
  momOrder3: 0,
  cubic: true,
  strength: 1,
  diagonal: false,
  removeNegative: false,
  maintainTrueLrs: false,
  normalizeDirs: false,
  momentum: 0.9,
  dampening: 0.9,
  clip: Number.POSITIVE_INFINITY,
};

function optionsOf(hand: HandOptions): NewtonSummaryOptions {
  const { cubic, strength, momOrder3, momentum, dampening, clip, ...same } = hand;
  let at = 0;
  return {
    ...same,
    engine,
    hgLoader: { draw: async () => summaries[at++]! },
    updater: new SGDUpdater({ momentum, dampening }),
    ...(cubic ? { nesterov: { dampingInt: strength, momOrder3 } } : { nesterov: { use: false }, ridge: strength }),
    ...(Number.isFinite(clip) ? { clipGradNorm: clip } : {}),
  };
}

test.each<Partial<HandOptions>>([
  {},
  { damping: 0.7, periodHg: 1 },
  { momLrs: 0.6 },
  { momLrs: 0.6, removeNegative: true },
  { momLrs: 0.6, removeNegative: true, maintainTrueLrs: true },
  { movavg: 0.7 },
  { movavg: 0.5, momOrder3: 0.8, periodHg: 2 },
  { strength: 20 },
  { diagonal: true },
  { cubic: false, strength: 0.05 },
  { cubic: false, strength: 0.05, diagonal: true },
  { cubic: false, strength: 0, damping: 0.05, periodHg: 4 },
  { normalizeDirs: true },
  { normalizeDirs: true, cubic: false, strength: 0.05, momLrs: 0.5, movavg: 0.5 },
  { clip: 0.1 },
  { momentum: 0.5, dampening: 0.2 },
])("%o is the method as it is written", async (change) => {
  const hand = { ...BASE, ...change };
  const [model, expected] = [classifier(), classifier()];
  const optimizer = await NewtonSummary.create(model, losses.nll, optionsOf(hand));
  const rates = await trainByHand(engine, expected, losses.nll, batches, summaries, hand);
  for (const [i, batch] of batches.entries()) {
    const { learningRates } = await optimizer.step(batch);
    const most = Math.max(...rates[i]!.map(Math.abs));
    for (const [s, rate] of learningRates.entries())
      expect(Math.abs(rate - rates[i]![s]!), `rate ${s} of step ${i}`).toBeLessThanOrEqual(1e-7 * most);
  }
  const [found, wanted] = [await model.stateDict(), await expected.stateDict()];
  for (const [name, { data }] of Object.entries(wanted))
    for (const [i, value] of data.entries()) expect(found[name]!.data[i], name).toBeCloseTo(value, 6);
});

test("the settings make a difference: negative rates do occur", async () => {
  const rates = await trainByHand(engine, classifier(), losses.nll, batches, summaries, BASE);
  expect(rates.flat().some((rate) => rate < 0)).toBe(true);
});
