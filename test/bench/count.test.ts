import { describe, expect, test } from "vitest";
import { productFlops } from "../../bench/count.ts";
import type { ModelName } from "../../bench/request.ts";
import { forwardSource, makeSubject } from "../../bench/subject.ts";
import { gradients } from "../../src/derive/index.ts";
import { dataInputs, specOf, variableInput } from "../../src/engine/index.ts";
import { GraphBuilder, graphOf } from "../../src/graph/index.ts";
import { summarySource } from "../../src/summary/summary.ts";

/** Multiplications of one sample's forward pass by hand: places · channels in and out · kernel, or widths. */
const FORWARD: readonly [ModelName, number][] = [
  ["shallow", 784 * 1024 + 1024 * 200 + 200 * 100 + 100 * 10],
  ["lenet", 28 ** 2 * 3 * 6 * 25 + 10 ** 2 * 6 * 16 * 25 + 400 * 120 + 120 * 84 + 84 * 10],
  [
    "vgg-a",
    9 *
      (32 ** 2 * 3 * 64 +
        16 ** 2 * 64 * 128 +
        8 ** 2 * (128 * 256 + 256 ** 2) +
        4 ** 2 * (256 * 512 + 512 ** 2) +
        2 ** 2 * 2 * 512 ** 2) +
      512 * 10,
  ],
  ["transformer", 128 * (4 * (12 * 128 ** 2 + 2 * 128 * 128) + 128 * 65)],
];

describe("products", () => {
  test.each(FORWARD)("of a forward pass of %s", (name, multiplications) => {
    const { graph } = forwardSource(makeSubject(name, 1));
    expect(productFlops(graph, 7)).toBe(7 * 2 * multiplications);
  });

  test("of a gradient are those of the forward pass twice more, less the derivative in the images", () => {
    const { objective, batch } = makeSubject("vgg-a", 1);
    const b = new GraphBuilder();
    const { loss } = objective.trace(b, dataInputs(b, specOf(batch)));
    const parameters = [...objective.variables].map(([name, variable]) => variableInput(b, name, variable));
    const slopes = gradients(b, loss, parameters).map((slope, i) => [String(i), slope!] as const);
    const forward = productFlops(graphOf({ loss }), 1);
    const first = 2 * 9 * 32 ** 2 * 3 * 64;
    expect(productFlops(graphOf(new Map([["loss", loss], ...slopes])), 1)).toBe(3 * forward - first);
  });
});

/** Products of a summary in forward passes, and without third derivatives; the deep ones have 0.5 of Gram products among them. */
const COUNTS: readonly [ModelName, number, number, number][] = [
  ["shallow", 3.4, 2.9, 0.05],
  ["deep", 38.8, 21.5, 0.1],
  ["lenet", 5.27, 4.13, 0.05],
  ["vgg-a", 18.6, 11.3, 0.1],
];

test.each(COUNTS)(
  "the products of the summary of %s cost %d forward passes, or %d",
  (name, expected, without, tolerance) => {
    const subject = makeSubject(name, 1);
    const count = (order3: boolean): number => {
      const { graph } = summarySource(subject.objective, subject.groups, subject.batch, { order3 });
      return productFlops(graph, 1000) / productFlops(forwardSource(subject).graph, 1000);
    };
    expect(Math.abs(count(true) - expected)).toBeLessThan(tolerance);
    expect(Math.abs(count(false) - without)).toBeLessThan(tolerance);
  },
);
