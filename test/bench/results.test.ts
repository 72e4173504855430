import { expect, test } from "vitest";
import type { Block, Measurement } from "../../bench/request.ts";
import { resultsOf } from "../../bench/results.ts";
import type { Bar, Row } from "../../bench/suites.ts";

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
    forwards: 7.2,
    count: 6,
    verdicts: [{ text: "1.20 × the 60.0 ms that the count predicts (≤ 1.5)", met: true }],
  });
  expect(summary(144, 40).verdicts).toEqual([{ text: "1.20 × the 120 ms that the count predicts (≤ 1.5)", met: true }]);
  expect(summary(96, 20).verdicts[0]!.met).toBe(false);
});
