import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { classifier, labelled } from "../../test/support/models.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { losses } from "../nn/index.ts";
import { NonFiniteError, OptionError, StateError } from "../util/errors.ts";
import {
  GeometricDamping,
  NewtonSummary,
  type NewtonSummaryOptions,
  Optimizer,
  type PlateauOptions,
  ReduceDampingOnPlateau,
  SGDUpdater,
} from "./index.ts";

const engine = new ReferenceEngine();
const make = (options: NewtonSummaryOptions = {}): Promise<NewtonSummary> =>
  NewtonSummary.create(classifier(), losses.nll, { engine, damping: 1, log: () => {}, ...options });

describe("ReduceDampingOnPlateau", () => {
  test("reduces after more bad steps than its patience, and its rates with it", async () => {
    const optimizer = await make();
    const { learningRates } = await optimizer.step(labelled(6));
    const schedule = new ReduceDampingOnPlateau(optimizer, { factor: 0.5, patience: 2, threshold: 0 });
    const seen = [3, 2, 2, 2.5, 2, 2].map((metric) => {
      schedule.step(metric);
      return optimizer.damping[0];
    });
    expect(seen).toEqual([1, 1, 1, 1, 0.5, 0.5]);
    expect([...optimizer.learningRates]).toEqual([...learningRates].map((rate) => rate / 2));
  });

  test("metrics that rise are those that fall, negated", async () => {
    const options = fc.record({
      patience: fc.nat(3),
      cooldown: fc.nat(3),
      threshold: fc.constantFrom(0, 0.01, 0.5),
    });
    const metrics = fc.array(fc.double({ min: -3, max: 3, noNaN: true }), { maxLength: 40 });
    const optimizers = [await make(), await make()] as const;
    fc.assert(
      fc.property(options, metrics, (each, values) => {
        const [falls, rises] = (["min", "max"] as const).map((mode, i) => {
          optimizers[i]!.damping = 1;
          return new ReduceDampingOnPlateau(optimizers[i]!, { ...each, mode, thresholdMode: "abs", factor: 0.9 });
        });
        for (const value of values) {
          falls!.step(value);
          rises!.step(-value);
          expect(optimizers[0].damping).toEqual(optimizers[1].damping);
        }
      }),
    );
  });

  test("keeps to a minimum for each group, and makes no changes below eps", async () => {
    const optimizer = await make();
    const schedule = new ReduceDampingOnPlateau(optimizer, { factor: 0.5, patience: 0, min: [0, 0.3, 2, 1], eps: 0.1 });
    for (let step = 0; step < 6; step++) schedule.step(1);
    expect([...optimizer.damping]).toEqual([0.125, 0.3, 1, 1]);
  });

  test("turns dampingInt up by default", async () => {
    const optimizer = await make({ nesterov: { dampingInt: 2 } });
    const schedule = new ReduceDampingOnPlateau(optimizer, { patience: 0, applyTo: "dampingInt" });
    for (let step = 0; step < 3; step++) schedule.step(1);
    expect([optimizer.dampingInt, optimizer.damping[0]]).toEqual([200, 1]);
  });

  test("refuses a metric that is no number, and then nothing changed", async () => {
    const optimizer = await make();
    const schedule = new ReduceDampingOnPlateau(optimizer, { patience: 0 });
    schedule.step(1);
    const before = schedule.state;
    expect(() => schedule.step(Number.NaN)).toThrow(NonFiniteError);
    expect([schedule.state, optimizer.damping[0]]).toEqual([before, 1]);
  });

  test.each<[PlateauOptions, RegExp]>([
    [{ factor: 2 }, /factor must be below 1 for damping, and not 1; found 2/],
    [{ factor: 1, applyTo: "dampingInt" }, /factor must be below 1 for damping, and not 1; found 1/],
    [{ factor: 0 }, /ReduceDampingOnPlateau: factor must be a number above 0; found 0/],
    [{ mode: "low" as never }, /mode must be one of min, max; found low/],
    [{ patience: -1 }, /patience must be a whole number, 0 or more; found -1/],
    [{ min: [1, 2] }, /min must be one number or 4; found 2/],
    [{ min: -1 }, /min must be a number of at least 0; found -1/],
    [{ applyTo: "dampingInt", min: 2 }, /min would be ignored with factor 10, which makes nothing smaller/],
    [{ patiense: 1 } as never, /unknown option "patiense"/],
  ])("%j is refused", async (options, message) => {
    const optimizer = await make();
    expect(() => new ReduceDampingOnPlateau(optimizer, options)).toThrow(message);
    expect(() => new ReduceDampingOnPlateau(optimizer, options)).toThrow(OptionError);
    expect((await optimizer.state()).schedules).toEqual([]);
  });

  test("is refused for the dampingInt of an optimiser that has none", async () => {
    const optimizer = await make({ nesterov: { use: false } });
    const act = () => new ReduceDampingOnPlateau(optimizer, { applyTo: "dampingInt" });
    expect(act).toThrow(/applyTo "dampingInt" would be ignored by an optimiser with nesterov.use false/);
  });
});

describe("GeometricDamping", () => {
  test("warms up evenly, and then falls by a factor as far as its minimum", async () => {
    const optimizer = await make();
    const schedule = new GeometricDamping(optimizer, { warmup: 3, factor: 0.5, min: 0.2 });
    const seen = [optimizer.damping[0]];
    for (let step = 0; step < 7; step++) {
      schedule.step();
      seen.push(optimizer.damping[0]);
    }
    expect(seen).toEqual([0.25, 0.5, 0.75, 1, 0.5, 0.25, 0.2, 0.2]);
  });

  test("never raises damping to its minimum, which says nothing to a factor of 1 or more", async () => {
    const optimizer = await make({ damping: 0.1 });
    for (const factor of [1, 2])
      expect(() => new GeometricDamping(optimizer, { factor, min: 0.5 })).toThrow(
        `GeometricDamping: min would be ignored with factor ${factor}`,
      );
    const schedule = new GeometricDamping(optimizer, { factor: 0.9, min: 0.5 });
    schedule.step();
    expect(optimizer.damping[0]).toBe(0.1);
  });
});

describe.each([ReduceDampingOnPlateau, GeometricDamping])("%o", (Kind) => {
  test("turns λ_int alone beside automatic damping", async () => {
    const optimizer = await make({ damping: "auto" });
    expect(() => new Kind(optimizer)).toThrow(/applyTo "damping" would be undone by automatic damping/);
    new Kind(optimizer, { applyTo: "dampingInt" });
  });

  test("refuses what has no damping", async () => {
    const plain = await Optimizer.create(classifier(), losses.nll, { engine, updater: new SGDUpdater(), lr: 1 });
    for (const other of [plain, undefined, classifier()])
      expect(() => new Kind(other as never)).toThrow(/expected an optimiser with a damping to turn/);
  });
});

describe("a saved state", () => {
  test("of a damaged schedule is refused, and nothing changes", async () => {
    const optimizer = await make();
    const plateau = new ReduceDampingOnPlateau(optimizer, { patience: 0, factor: 0.5 });
    const geometric = new GeometricDamping(optimizer, { factor: 0.9 });
    for (const metric of [3, 2, 2]) plateau.step(metric);
    geometric.step();
    const saved = await optimizer.state();
    plateau.step(1);
    const before = await optimizer.state();
    const [first, second] = saved.schedules;
    for (const schedules of [
      [],
      [second, first],
      [first, { ...second, state: { steps: -1 } }],
      [first, { ...second, state: null }],
      [{ ...first, state: { best: Number.NaN, badSteps: 0, cooldown: 0 } }, second],
      [{ ...first, state: { best: 1, cooldown: 0 } }, second],
      [{ ...first, state: { best: 1, badSteps: 1, cooldown: 0 } }, second],
      [{ ...first, state: { badSteps: 0, cooldown: 1 } }, second],
      [{ ...first, options: { ...first!.options, mode: "max" } }, second],
      [first, { ...second, options: { ...second!.options, warmup: 3 } }],
      [first, { name: second!.name, state: second!.state }],
      undefined,
    ]) {
      await expect(optimizer.restore({ ...saved, schedules })).rejects.toThrow(StateError);
      expect(await optimizer.state()).toEqual(before);
    }
    await optimizer.restore(saved);
    expect(await optimizer.state()).toEqual(saved);
    expect([plateau.state, geometric.state]).toEqual([{ best: 2, badSteps: 0, cooldown: 0 }, { steps: 1 }]);
  });
});
