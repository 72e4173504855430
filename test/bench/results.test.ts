import { describe, expect, test } from "vitest";
import type { Block, Measurement } from "../../bench/request.ts";
import { type Measured, resultsOf, tableOf } from "../../bench/results.ts";
import type { Bar, Row } from "../../bench/rows.ts";

/** A run of some ms, beside products of some ms. */
function measurement(ms: number, product: number, flops: number): Measurement {
  const block: Block = { times: [ms], product: [product, product] };
  return { blocks: [block], flops, forwardFlops: 1e9 };
}

function row(name: string, bars: readonly Bar[], forward?: string): Row {
  return { name, bars, ...(forward && { forward }), measure: () => Promise.reject(new Error("not measured here")) };
}

test("a summary is held to what its count predicts, whatever the machine's speed was", () => {
  const forward = { row: row("forward", []), measurements: [measurement(10, 20, 1e9)] };
  const bars: readonly Bar[] = [{ of: "prediction", most: 1.5 }];
  const summary = (ms: number, product: number) => {
    const own = { row: row("summary", bars, "forward"), measurements: [measurement(ms, product, 6e9)] };
    return resultsOf([forward, own])[1]!;
  };
  expect(summary(72, 20)).toMatchObject({
    figures: { forwards: 7.2, count: 6 },
    verdicts: [{ text: "1.20 × the 60.0 ms that the count predicts (≤ 1.5)", met: true }],
  });
  expect(summary(144, 40).verdicts).toEqual([{ text: "1.20 × the 120 ms that the count predicts (≤ 1.5)", met: true }]);
  expect(summary(96, 20).verdicts[0]!.met).toBe(false);
});

describe("peers", () => {
  const peer = (name: string, ms: number, times: number, more: Partial<Measurement> = {}): Measured => ({
    row: { ...row(name, []), times },
    measurements: [{ ...measurement(ms, 20, 1e9), ...more }],
  });
  const bars: readonly Bar[] = [{ of: "lead", among: ["whole", "tenth", "wrong"], least: 5 }];
  const own: Measured = { row: row("own", bars), measurements: [measurement(10, 20, 1e9)] };

  test("a tenth of the batch counts ten times, and the fastest is what ours is held against", () => {
    const results = resultsOf([peer("whole", 70, 1), peer("tenth", 6, 10), own]);
    expect(results[1]!.figures).toMatchObject({ median: 60, least: 60 });
    expect(results[2]!.verdicts).toEqual([{ text: "6.00 × as fast as tenth (≥ 5)", met: true }]);
  });

  test("one whose results are not ours, or that failed, says so and shows no time", () => {
    const differences = [{ of: "g", found: 0.1, most: 1e-3 }];
    const wrong = peer("wrong", 1, 1, { differences });
    const failed = peer("failed", 1, 1, { blocks: [], failure: "out of memory" });
    const results = resultsOf([wrong, failed, peer("whole", 70, 1), own]);
    expect(results[3]!.verdicts).toEqual([{ text: "7.00 × as fast as whole (≥ 5)", met: true }]);
    const [head, ...rows] = tableOf(results);
    expect(rows.map((cells) => cells.length)).toEqual(rows.map(() => head!.length));
    expect(rows[0]!.filter(Boolean)).toEqual(["wrong", "DISAGREES by: g 1e-1"]);
    expect(rows[1]!.filter(Boolean)).toEqual(["failed", "FAILED: out of memory"]);
  });

  test("what is not a number does not agree", () => {
    const [result] = resultsOf([peer("whole", 70, 1, { differences: [{ of: "g", found: Number.NaN, most: 1 }] })]);
    expect(result!.figures).toBeUndefined();
  });
});
