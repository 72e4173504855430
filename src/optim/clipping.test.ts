import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { classifier, labelled } from "../../test/support/models.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { losses } from "../nn/index.ts";
import { OptionError } from "../util/errors.ts";
import { type ClipHistory, type ClipRatesOptions, clippingOf, clipRates } from "./clipping.ts";
import { NewtonSummary, type NewtonSummaryOptions } from "./index.ts";

/** The rates of successive summaries, clipped. */
function clipped(rows: readonly (readonly number[])[], options: ClipRatesOptions, D?: readonly number[]): number[][] {
  let history: ClipHistory = [];
  return rows.map((row) => {
    const scale = Float64Array.from(D ?? row.map(() => 1));
    const next = clipRates(history, Float64Array.from(row), scale, clippingOf(options)!);
    history = structuredClone(next.history);
    return [...next.rates];
  });
}

describe("rates are clipped", () => {
  test("each to a multiple of its running average", () => {
    const rows = [
      [1, 2],
      [10, 2],
      [10, -10],
    ];
    // Averages after each: [1, 2], [5.5, 2].
    expect(clipped(rows, { by: "average", keep: 0.5 })).toEqual([
      [1, 2],
      [2, 2],
      [10, -4],
    ]);
    // Averages of what was clipped: [1, 2], [1.5, 2].
    expect(clipped(rows, { by: "average", keep: 0.5, incremental: true })).toEqual([
      [1, 2],
      [2, 2],
      [3, -4],
    ]);
  });

  test("each to a multiple of its median over a window", () => {
    const rows = [[1], [3], [100], [100], [100]];
    expect(clipped(rows, { by: "median", window: 3, factor: 1 })).toEqual([[1], [1], [2], [3], [100]]);
    expect(clipped(rows, { by: "median", window: 3, factor: 1, incremental: true })).toEqual([[1], [1], [1], [1], [1]]);
  });

  test("all together, by the one that is furthest above its bound", () => {
    expect(
      clipped(
        [
          [1, 2],
          [8, 2],
        ],
        { by: "median", global: true },
      )[1],
    ).toEqual([2, 0.5]);
  });

  test("all together, by the median of ‖Dη‖", () => {
    expect(
      clipped(
        [
          [3, 4],
          [6, 8],
          [30, 40],
        ],
        { by: "r", factor: 1 },
        [2, 2],
      ),
    ).toEqual([
      [3, 4],
      [3, 4],
      [4.5, 6],
    ]);
  });

  test("but not one that has been 0", () => {
    expect(
      clipped(
        [
          [0, 1],
          [5, 1],
        ],
        { by: "average", global: true },
      )[1],
    ).toEqual([5, 1]);
  });

  test("never up, never to another sign, and not at all below their bounds", () => {
    const row = fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: 3, maxLength: 3 });
    const options = fc.record({
      by: fc.constantFrom("average" as const, "median" as const, "r" as const),
      factor: fc.double({ min: 0.1, max: 3, noNaN: true }),
      incremental: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(row, { minLength: 1, maxLength: 15 }), options, (rows, each) => {
        clipped(rows, each).forEach((found, i) => {
          found.forEach((rate, s) => {
            expect(Math.abs(rate)).toBeLessThanOrEqual(Math.abs(rows[i]![s]!));
            expect(rate * rows[i]![s]!).toBeGreaterThanOrEqual(0);
          });
        });
        const same = rows.map(() => rows[0]!);
        for (const found of clipped(same, { ...each, factor: 1.01 })) expect(found).toEqual(rows[0]!);
      }),
    );
  });
});

describe("an optimiser that clips", () => {
  const engine = new ReferenceEngine();
  const make = (options: NewtonSummaryOptions): Promise<NewtonSummary> =>
    NewtonSummary.create(classifier(), losses.nll, { engine, damping: 0.3, periodHg: 1, log: () => {}, ...options });

  test("keeps the rates as they were solved in the record, and goes on exactly from a saved state", async () => {
    const options: NewtonSummaryOptions = {
      clipRates: { by: "median", factor: 0.5, window: 2 },
      momLrs: 0,
      removeNegative: false,
    };
    const optimizer = await make(options);
    const first = await optimizer.step(labelled(6, 0));
    const { update } = await optimizer.step(labelled(6, 1));
    const bound = first.update!.rawRates!.map((rate) => Math.abs(rate) / 2);
    expect([...update!.rates]).toEqual(
      [...update!.rawRates!].map((rate, s) =>
        expect.closeTo(Math.sign(rate) * Math.min(Math.abs(rate), bound[s]!), 12),
      ),
    );
    const saved = structuredClone(await optimizer.state());
    const next = await optimizer.probe(labelled(6, 2));
    await optimizer.step(labelled(6, 3));
    const other = await make(options);
    await other.restore(saved);
    expect(saved.rates.clipped).toHaveLength(2);
    expect((await other.state()).rates).toEqual(saved.rates);
    expect(next.rates).toHaveLength(4);
    await expect((await make({})).restore(saved)).rejects.toThrow(/settings.clipRates: expected "none", found/);
    const spoilt = { ...saved, rates: { ...saved.rates, clipped: [new Float64Array(3)] } };
    await expect(other.restore(spoilt)).rejects.toThrow(/rates.clipped\[0\] must be a Float64Array of 4/);
  });

  test.each<[ClipRatesOptions, RegExp]>([
    [{ by: "mean" as never }, /clipRates.by must be one of average, median, r; found mean/],
    [{ by: "median", factor: 0 }, /clipRates.factor must be a number above 0; found 0/],
    [{ by: "average", keep: 1 }, /clipRates.keep must be at least 0 and below 1/],
    [{ by: "median", window: 0 }, /clipRates.window must be a whole number, 1 or more/],
    [{ by: "average", window: 3 }, /clipRates.window would be ignored with clipRates.by "average"/],
    [{ by: "median", keep: 0.5 }, /clipRates.keep would be ignored with clipRates.by "median"/],
    [{ by: "r", global: true }, /clipRates.global would be ignored with clipRates.by "r"/],
    [{ by: "r", each: true } as never, /clipRates: unknown option "each"/],
  ])("%j is refused", async (options, message) => {
    await expect(make({ clipRates: options })).rejects.toThrow(message);
    await expect(make({ clipRates: options })).rejects.toThrow(OptionError);
  });
});
