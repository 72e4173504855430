import { describe, expect, test } from "vitest";
import { gradients, summarize } from "../../src/derive/index.ts";
import { graphOf } from "../../src/graph/index.ts";
import { input, type Primitive, primitives } from "../../src/ops/index.ts";
import { checkGrads, traceLoss } from "../support/check-grads.ts";
import { type Case, primitiveCases } from "../support/primitive-cases.ts";

/** Whether derivatives end at this primitive. */
function isConstant(primitive: Primitive): boolean {
  return primitives[primitive].kind === "constant";
}

function expectNoDerivative({ build, inputs }: Case): void {
  const { b, loss, parameters } = traceLoss(build, { inputs });
  expect(gradients(b, loss, parameters)).toEqual(parameters.map(() => undefined));
  const seeds = parameters.map((parameter, group) => ({
    parameter,
    direction: input(b, `u${group}`, parameter.shape),
    group,
  }));
  expect(summarize(b, loss, seeds).terms.map(({ kind }) => kind)).toEqual(["loss"]);
}

describe.each(Object.keys(primitiveCases) as Primitive[])("%s", (primitive) => {
  describe.each(primitiveCases[primitive])("$name", (item) => {
    test("uses the primitive", () => {
      const { loss } = traceLoss(item.build, item);
      expect(graphOf({ loss }).nodes.map((node) => node.op.name)).toContain(primitive);
    });

    test.skipIf(item.valueOnly)("derivatives", async () => {
      if (isConstant(primitive)) expectNoDerivative(item);
      else await checkGrads(item.build, { inputs: item.inputs, partitions: 2 });
    });
  });
});
