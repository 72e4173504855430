import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ModelName } from "../../bench/request.ts";
import { forwardSource, makeSubject } from "../../bench/subject.ts";
import { gradients } from "../../src/derive/index.ts";
import { dataInputs, specOf, variableInput } from "../../src/engine/index.ts";
import { type Graph, GraphBuilder, graphOf } from "../../src/graph/index.ts";
import { Linear, losses, objective, ReLU, Sequential } from "../../src/nn/index.ts";
import { productFlops } from "../../src/ops/index.ts";
import { SGDUpdater } from "../../src/optim/index.ts";
import { type StepParts, stepSource } from "../../src/optim/step-graph.ts";
import { nameGroups, partition } from "../../src/summary/index.ts";
import { summarySource } from "../../src/summary/summary.ts";
import type { Batch } from "../../src/util/ndarray.ts";

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

describe("frozen parameters cost no gradient, no adjoint and no tangent", () => {
  const widths = [20, 30, 40, 50, 7];
  const layers = widths.slice(1).map((width, i) => ({ flops: 2 * width * widths[i]!, inputs: widths[i]! }));

  /** A chain without biases, of which the layers that are named are trained. */
  function chain(trained: readonly boolean[]): StepParts {
    const model = new Sequential(
      ...layers
        .flatMap(({ inputs }, i) => [new Linear(inputs, widths[i + 1]!, { bias: false }), new ReLU()])
        .slice(0, -1),
    );
    for (const [i, parameter] of model.parameters().entries()) parameter.requiresGrad = trained[i]!;
    const whole = objective(model, losses.mse);
    const groups = nameGroups(partition.canonical(model), whole.variables);
    return { objective: whole, groups, updater: new SGDUpdater(), clipGradNorm: undefined };
  }

  const batch: Batch = {
    x: { shape: [1, 20], data: new Float64Array(20) },
    y: { shape: [1, 7], data: new Float64Array(7) },
  };
  const subsets = fc
    .tuple(fc.boolean(), fc.boolean(), fc.boolean(), fc.boolean())
    .filter((trained) => trained.includes(true));
  const names = (graph: Graph, start: string): string[] =>
    graph.inputs.filter(({ name }) => name.startsWith(start)).map(({ name }) => name.slice(start.length));

  test("in a summary", () => {
    const property = fc.property(subsets, (trained) => {
      const parts = chain(trained);
      const { graph } = summarySource(parts.objective, parts.groups, batch);
      const counts = layers.map(({ flops, inputs }, i) => {
        // Groups ahead; second tangents of a piecewise linear chain are zero by structure.
        const ahead = trained.slice(0, i).filter(Boolean).length;
        const tangents = flops * (ahead + Number(trained[i]));
        const pulled = trained[i] && ahead > 0 ? flops + 2 * ahead * inputs : 0;
        return flops + (ahead > 0 ? flops : 0) + tangents + pulled;
      });
      // Of the squared error: S products of the 7 outputs with S.
      const gram = 2 * 7 * parts.groups.length ** 2;
      expect(productFlops(graph, 1)).toBe(counts.reduce((sum, count) => sum + count, gram));
      const members = parts.groups.flatMap((group) => group.members);
      expect(names(graph, "u:")).toEqual(members);
    });
    fc.assert(property);
  });

  test("in a step", () => {
    const property = fc.property(subsets, (trained) => {
      const parts = chain(trained);
      const { graph } = stepSource(parts, { kind: "batch", spec: specOf(batch) });
      const counts = layers.map(({ flops }, i) => {
        const ahead = trained.slice(0, i).includes(true);
        return flops * (1 + Number(ahead) + Number(trained[i]));
      });
      expect(productFlops(graph, 1)).toBe(counts.reduce((sum, count) => sum + count));
      const updated = [...graph.outputs.keys()].filter((name) => name.startsWith("p:"));
      expect(updated).toEqual(parts.groups.flatMap(({ members }) => members.map((name) => `p:${name}`)));
    });
    fc.assert(property);
  });
});
