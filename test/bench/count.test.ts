import { expect, test } from "vitest";
import { productFlops } from "../../bench/count.ts";
import type { ModelName } from "../../bench/request.ts";
import { forwardSource, makeSubject } from "../../bench/subject.ts";
import { summarySource } from "../../src/summary/summary.ts";

/** Matrix products of a summary in forward passes; the deep one has 0.5 of Gram products among them. */
const COUNTS: readonly [ModelName, number, number][] = [
  ["shallow", 3.4, 0.05],
  ["deep", 38.8, 0.1],
];

test.each(COUNTS)("the products of the %s perceptron's summary cost %d forward passes", (name, expected, tolerance) => {
  const subject = makeSubject(name, 1);
  const { graph } = summarySource(subject.objective, subject.groups, subject.batch);
  const count = productFlops(graph, 1000) / productFlops(forwardSource(subject).graph, 1000);
  expect(Math.abs(count - expected)).toBeLessThan(tolerance);
});
