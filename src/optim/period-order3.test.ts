import { expect, test } from "vitest";
import { assertClose } from "../../test/support/close.ts";
import { classifier, labelled } from "../../test/support/models.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { losses, type Module } from "../nn/index.ts";
import { computeHg, valueAndGrad } from "../summary/index.ts";
import type { FloatData } from "../util/ndarray.ts";
import { NewtonSummary, type NewtonSummaryOptions, SGDUpdater } from "./index.ts";

const engine = new ReferenceEngine();
const make = (model: Module, options: NewtonSummaryOptions = {}): Promise<NewtonSummary> =>
  NewtonSummary.create(model, losses.nll, {
    engine,
    damping: 0.3,
    periodHg: 2,
    periodOrder3: 3,
    updater: new SGDUpdater(),
    log: () => {},
    ...options,
  });

/** Σ u² of each group for the gradient of a batch, and the exact summary along it. */
async function along(model: Module, seed: number) {
  const { gradient: direction } = await valueAndGrad(model, losses.nll, labelled(6, seed), { engine });
  const norms = Object.values(direction).map(({ data }) =>
    Array.from(data).reduce((sum, value) => sum + value ** 2, 0),
  );
  return { norms, exact: await computeHg(model, losses.nll, labelled(6, seed), { engine, direction }) };
}

test.each([false, true])("every third summary takes third derivatives, normalizeDirs %s", async (normalizeDirs) => {
  const model = classifier();
  const optimizer = await make(model, { normalizeDirs });
  let last: { order3: Float64Array; norms: number[] } | undefined;
  for (let i = 0; i < 14; i++) {
    const { norms, exact } = await along(model, i);
    const { update } = await optimizer.step(labelled(6, i));
    if (!update) continue;
    if (i % 6 === 0) last = { order3: exact.order3, norms };
    const scale = (s: number): number => (normalizeDirs ? norms[s]! ** -1.5 : 1);
    const expected = last!.order3.map((value, s) => value * (norms[s]! / last!.norms[s]!) ** 1.5 * scale(s));
    // Powers and another order of sums: rounding only.
    assertClose(update.order3, expected, { relative: 1e-12 }, `order3 at step ${i}`);
    assertClose(update.D, expected.map(Math.abs).map(Math.cbrt), { relative: 1e-12 }, `D at step ${i}`);
    const H = exact.H.map((value, j) => value * Math.cbrt(scale(Math.floor(j / 4)) * scale(j % 4)));
    assertClose(update.H, H, { relative: 1e-12 }, `H at step ${i}`);
  }
});

test("two programs serve all summaries, and with the period 1 one does", async () => {
  for (const [periodOrder3, programs] of [
    [1, 1],
    [3, 2],
  ] as const) {
    const own = new ReferenceEngine();
    const optimizer = await make(classifier(), { engine: own, periodOrder3, periodHg: 1 });
    for (let i = 0; i < 8; i++) await optimizer.step(labelled(6, i));
    // A step with a summary has two of its own.
    expect(own.sessions.compiled).toBe(2 + programs);
    expect("order3" in (await optimizer.state()).rates).toBe(periodOrder3 > 1);
  }
});

test("a probe takes what the next step would, and a saved state goes on from there", async () => {
  const [model, other] = [classifier(), classifier()];
  const optimizer = await make(model, { periodHg: 1 });
  for (let i = 0; i < 7; i++) {
    const resumed = await make(other, { periodHg: 1 });
    other.loadStateDict(await model.stateDict());
    await resumed.restore(await optimizer.state());
    const probed = await optimizer.probe(labelled(6, i));
    const result = await optimizer.step(labelled(6, i));
    expect(result.update).toEqual(probed);
    expect(await resumed.step(labelled(6, i))).toEqual(result);
  }
});

test("a state that was saved with another period is refused", async () => {
  const before = await make(classifier(), { periodOrder3: 1, periodHg: 1 });
  await before.step(labelled(6));
  const restored = (await make(classifier(), { periodHg: 1 })).restore(await before.state());
  await expect(restored).rejects.toThrow(/settings.periodOrder3: expected 3, found 1/);
});

test.each([0, 1.5, -1, "2"])("periodOrder3 %s is refused", async (periodOrder3) => {
  await expect(make(classifier(), { periodOrder3: periodOrder3 as number })).rejects.toThrow(
    "periodOrder3 must be a whole number, 1 or more",
  );
});

test("a direction that is next to 0 leaves a state that can be restored", async () => {
  const model = classifier();
  const optimizer = await make(model, { periodHg: 1 });
  const small = labelled(6);
  (small.x.data as FloatData).fill(1e-110);
  for (let i = 0; i < 3; i++) expect((await optimizer.step(i === 0 ? small : labelled(6, i))).loss).toBeGreaterThan(0);
  const again = await make(model, { periodHg: 1 });
  await optimizer.step(small);
  const state = await optimizer.state();
  expect(state.rates.order3!.every(Number.isFinite)).toBe(true);
  await again.restore(state);
});
