import { describe, expect, test } from "vitest";
import { classifier, labelled } from "../../test/support/models.ts";
import { StrictEngine } from "../../test/support/strict-engine.ts";
import { type EngineTensor, ReferenceEngine } from "../engine/index.ts";
import { losses, Module, Parameter, type Tensor } from "../nn/index.ts";
import type { NDArray } from "../util/ndarray.ts";
import { GeometricDamping, NewtonSummary, type NewtonSummaryOptions, ReduceDampingOnPlateau } from "./index.ts";

const make = (options: NewtonSummaryOptions): Promise<NewtonSummary> =>
  NewtonSummary.create(classifier(), losses.nll, { engine: new ReferenceEngine(), log: () => {}, ...options });

/** Does something when it is read from the n-th time on, once. */
class Interrupted extends ReferenceEngine {
  reads = 0;
  at = Number.POSITIVE_INFINITY;
  interrupt: () => void = () => {};

  override read(tensor: EngineTensor): Promise<NDArray> {
    if (this.reads++ === this.at) this.interrupt();
    return super.read(tensor);
  }
}

describe("set while something is under way", () => {
  test.each([0.3, "auto"] as const)("damping %s is not lost to any part of a step", async (damping) => {
    const engine = new Interrupted();
    const whole = await make({ engine, damping, periodHg: 1 });
    const { update } = await whole.step(labelled(12));
    const reads = engine.reads;
    expect(reads).toBeGreaterThan(3);
    const rates = update!.rates;
    for (let at = 0; at < reads; at++) {
      const optimizer = await make({ engine, damping, periodHg: 1 });
      engine.interrupt = () => {
        optimizer.damping = 0.1;
        optimizer.dampingInt = 5;
      };
      [engine.reads, engine.at] = [0, at];
      const { learningRates } = await optimizer.step(labelled(12));
      expect([optimizer.damping[0], optimizer.dampingInt]).toEqual([0.1, 5]);
      // The last reads come when the step's own rates are settled.
      if (at === reads - 1) expect([...learningRates]).toEqual([...rates].map((rate) => rate * 0.3));
    }
  });

  test("damping and dampingInt stand against a state that is being restored", async () => {
    const optimizer = await make({ damping: 0.3 });
    const saved = await optimizer.state();
    const restored = optimizer.restore(saved);
    optimizer.damping = 0.1;
    await restored;
    expect([optimizer.damping[0], optimizer.dampingInt]).toEqual([0.1, 1]);
    const again = optimizer.restore(saved);
    optimizer.dampingInt = 5;
    await again;
    expect([optimizer.damping[0], optimizer.dampingInt]).toEqual([0.3, 5]);
  });
});

describe("over runs of any length", () => {
  test.each([0.5, 2])("damping that is multiplied by %d stays a number above 0", async (factor) => {
    const optimizer = await make({ damping: 1 });
    const schedule = new GeometricDamping(optimizer, { factor });
    for (let i = 0; i < 1200; i++) schedule.step();
    expect(optimizer.damping.every((value) => value > 0 && Number.isFinite(value))).toBe(true);
    for (let i = 0; i < 1200; i++) optimizer.dampingMul(factor);
    await optimizer.restore(await optimizer.state());
    // And comes back from there.
    for (let i = 0; i < 1200; i++) optimizer.dampingMul(1 / factor);
    expect(optimizer.damping.every((value) => value > 0 && Number.isFinite(value))).toBe(true);
  });

  test("dampingInt too, and steps go on with it", async () => {
    const optimizer = await make({ damping: 0.3, periodHg: 1 });
    const schedule = new ReduceDampingOnPlateau(optimizer, { applyTo: "dampingInt", patience: 0 });
    for (let i = 0; i < 400; i++) schedule.step(1);
    expect(optimizer.dampingInt).toBe(Number.MAX_VALUE);
    const { learningRates } = await optimizer.step(labelled(12));
    expect(learningRates.every((rate) => rate >= 0 && rate < 1e-9)).toBe(true);
    const none = await make({ damping: 0.3, nesterov: { dampingInt: 0 } });
    new GeometricDamping(none, { applyTo: "dampingInt", factor: 2 }).step();
    expect(none.dampingInt).toBe(0);
  });
});

describe("an automatic step", () => {
  /** Throws at its n-th look. */
  class Stop {
    looks = 0;
    constructor(readonly at: number = Number.POSITIVE_INFINITY) {}
    throwIfAborted(): void {
      if (this.looks++ === this.at) throw new Error("enough");
    }
  }
  /** √(1 + w²), where a step of Newton's method from afar goes far beyond the minimum. */
  class Flattening extends Module {
    readonly w = new Parameter({ shape: [], data: Float64Array.of(10) });

    override forward(): Tensor {
      return this.w.square().add(1).sqrt();
    }
  }

  test("that is tried again stops where it is aborted, and leaves everything as it was", async () => {
    const engine = new StrictEngine();
    const options = { engine, periodHg: 1, nesterov: { dampingInt: 0 } };
    const optimize = async (damping: number) => {
      const model = new Flattening();
      const optimizer = await NewtonSummary.create(model, (output: Tensor) => output, options);
      optimizer.damping = damping;
      const step = (stop: Stop) => optimizer.step(undefined, { signal: stop as unknown as AbortSignal });
      return { model, optimizer, step };
    };
    const looks = async (damping: number): Promise<number> => {
      const stop = new Stop();
      await (await optimize(damping)).step(stop);
      return stop.looks;
    };
    const [once, more] = [await looks(0.3), await looks(2)];
    expect(more).toBeGreaterThan(once);
    const { model, optimizer, step } = await optimize(2);
    const before = await optimizer.state();
    // What the first step uploads, stays.
    await expect(step(new Stop(once))).rejects.toThrow("enough");
    const { live } = engine.tensors;
    for (let at = once; at < more; at++) {
      await expect(step(new Stop(at))).rejects.toThrow("enough");
      expect(await optimizer.state()).toEqual(before);
      expect([...(await model.stateDict()).w!.data]).toEqual([10]);
      expect(engine.tensors.live).toBe(live);
    }
  });

  test("takes the losses that it watches in runs no larger than those of summaries", async () => {
    const parts = async (options: NewtonSummaryOptions): Promise<readonly number[]> => {
      const optimizer = await make({ periodHg: 1, ...options });
      for (let i = 0; i < 3; i++) await optimizer.step(labelled(12, i));
      return (await optimizer.state()).auto!.watches[0]!.parts;
    };
    expect(await parts({})).toEqual([12]);
    expect(await parts({ microbatch: 5 })).toEqual([4, 4, 4]);
    expect(await parts({ microbatch: 5, stepMicrobatch: 4 })).toEqual([4, 4, 4]);
    expect(await parts({ microbatch: 5, stepMicrobatch: 3 })).toEqual([3, 3, 3, 3]);
    const end = async (options: NewtonSummaryOptions): Promise<number> => {
      const optimizer = await make({ periodHg: 2, ...options });
      for (let i = 0; i < 6; i++) await optimizer.step(labelled(12, i));
      return (await optimizer.step(labelled(12))).loss;
    };
    expect(await end({ microbatch: 5 })).toBeCloseTo(await end({}), 12);
  });
});
