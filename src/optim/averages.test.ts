import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { classifier, labelled } from "../../test/support/models.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { losses, type Module } from "../nn/index.ts";
import { OptionError } from "../util/errors.ts";
import { type Averaging, nextAverage } from "./averages.ts";
import { NewtonSummary, type NewtonSummaryOptions } from "./index.ts";

const engine = new ReferenceEngine();

/** The averages after each of some numbers, in the place of H, g and order3. */
function averagesOf(samples: readonly number[], averaging: Averaging): number[] {
  let last: ReturnType<typeof nextAverage>["state"] | undefined;
  return samples.map((sample) => {
    const value = Float64Array.of(sample);
    const { mean, state } = nextAverage(last, { H: value, g: value, order3: value }, averaging);
    expect([mean.H, mean.g]).toEqual([mean.order3, mean.order3]);
    last = structuredClone(state);
    return mean.H[0]!;
  });
}

const samples = fc.array(fc.double({ min: -10, max: 10, noNaN: true }), { minLength: 1, maxLength: 30 });

function expectClose(found: readonly number[], expected: readonly number[]): void {
  found.forEach((value, i) => {
    expect(value, `[${i}]`).toBeCloseTo(expected[i]!, 10);
  });
}

describe("averages", () => {
  test("uniform ones are means since the beginning of the previous period", () => {
    fc.assert(
      fc.property(samples, fc.integer({ min: 1, max: 6 }), (values, period) => {
        const expected = values.map((_, i) => {
          const from = Math.max(0, (Math.floor(i / period) - 1) * period);
          const part = values.slice(from, i + 1);
          return part.reduce((sum, value) => sum + value, 0) / part.length;
        });
        expectClose(averagesOf(values, { kind: "uniform", period }), expected);
      }),
    );
  });

  test("polynomial ones weigh the i-th sample by i (i + 1) with power 2, all alike with power 0", () => {
    fc.assert(
      fc.property(samples, fc.constantFrom(0, 2), (values, power) => {
        const expected = values.map((_, last) => {
          const weights = values.slice(0, last + 1).map((__, i) => (power === 0 ? 1 : (i + 1) * (i + 2)));
          const total = weights.reduce((sum, weight) => sum + weight, 0);
          return weights.reduce((sum, weight, j) => sum + weight * values[j]!, 0) / total;
        });
        expectClose(averagesOf(values, { kind: "polynomial", power }), expected);
      }),
    );
  });

  test("exponential ones weigh a sample by keep to the power of its age", () => {
    fc.assert(
      fc.property(samples, fc.double({ min: 0, max: 0.99, noNaN: true }), fc.boolean(), (values, keep, corrected) => {
        const expected = values.map((_, i) => {
          const weights = values
            .slice(0, i + 1)
            .map((__, age) => keep ** (i - age) * (age > 0 || corrected ? 1 - keep : 1));
          const total = weights.reduce((sum, weight) => sum + weight, 0);
          return weights.reduce((sum, weight, j) => sum + weight * values[j]!, 0) / total;
        });
        expectClose(averagesOf(values, { kind: "exponential", keep, corrected }), expected);
      }),
    );
  });
});

describe("an optimiser", () => {
  const make = (options: NewtonSummaryOptions): Promise<NewtonSummary> =>
    NewtonSummary.create(classifier(), losses.nll, { engine, periodHg: 2, log: () => {}, ...options });

  test("stands still during the warm-up, and its rates then start from 0", async () => {
    const optimizer = await make({ uniformAvg: { period: 3, warmup: 2 }, momLrs: 0.75 });
    const rates: number[][] = [];
    for (let step = 0; step < 5; step++) {
      const { update, learningRates } = await optimizer.step(labelled(6, step));
      rates.push([...learningRates]);
      if (step < 4) expect(Math.max(...learningRates.map(Math.abs)), `step ${step}`).toBe(0);
      else expect([...update!.rates]).toEqual([...update!.rawRates!].map((rate) => 0.25 * Math.max(rate, 0)));
    }
    expect(Math.max(...rates[4]!)).toBeGreaterThan(0);
  });

  test.each<[string, NewtonSummaryOptions]>([
    ["uniform averages", { uniformAvg: { period: 2, warmup: 1 } }],
    ["medians, all of a warm-up so far", { uniformAvg: { period: 2, warmup: 9 }, momLrs: 0, medianLrs: 3 }],
    ["corrected averages", { movavg: 0.6, movavgBiasCorrection: true }],
  ])("with %s goes on exactly from a saved state", async (_, options) => {
    const on = (model: Module): Promise<NewtonSummary> =>
      NewtonSummary.create(model, losses.nll, { engine, periodHg: 2, log: () => {}, ...options });
    const whole = await on(classifier());
    const model = classifier();
    const first = await on(model);
    const both = [whole, first];
    for (let step = 0; step < 5; step++) for (const each of both) await each.step(labelled(6, step));
    const second = await on(model);
    await second.restore(structuredClone(await first.state()));
    for (let step = 5; step < 9; step++)
      expect(await second.step(labelled(6, step))).toEqual(await whole.step(labelled(6, step)));
  });

  test.each<[NewtonSummaryOptions, RegExp]>([
    [{ movavg: 1 }, /movavg must be at least 0 and below 1; found 1/],
    [{ uniformAvg: { period: 0 } }, /uniformAvg.period must be a whole number, 1 or more; found 0/],
    [{ uniformAvg: { period: 2, warmup: -1 } }, /uniformAvg.warmup must be a whole number, 0 or more; found -1/],
    [{ uniformAvg: { period: 2, warmUp: 1 } as never }, /uniformAvg: unknown option "warmUp"/],
  ])("%j is refused", async (options, message) => {
    await expect(make(options)).rejects.toThrow(message);
    await expect(make(options)).rejects.toThrow(OptionError);
  });
});
