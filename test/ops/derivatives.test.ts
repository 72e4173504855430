import { describe, expect, test } from "vitest";
import { graphOf } from "../../src/graph/index.ts";
import type { Primitive } from "../../src/ops/index.ts";
import { checkDerivatives } from "../support/check-derivatives.ts";
import { traceLoss } from "../support/check-grads.ts";
import { primitiveCases } from "../support/primitive-cases.ts";

describe.each(Object.keys(primitiveCases) as Primitive[])("%s", (primitive) => {
  for (const item of primitiveCases[primitive]) {
    test(`${item.name} uses the primitive`, () => {
      const { loss } = traceLoss(item.build, item);
      expect(graphOf({ loss }).nodes.map((node) => node.op.name)).toContain(primitive);
    });

    if (item.valueOnly) test.skip(`${item.name} has derivatives (${item.valueOnly})`, () => {});
    else test(`${item.name} has the right derivatives`, () => checkDerivatives(primitive, item));
  }
});
