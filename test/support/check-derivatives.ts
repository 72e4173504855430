import { gradients, summarize } from "../../src/derive/index.ts";
import { input, type Primitive, primitives } from "../../src/ops/index.ts";
import { checkGrads, traceLoss } from "./check-grads.ts";
import type { Case } from "./primitive-cases.ts";

/** Asserts what a case's derivatives must be: those of finite differences, or none after a primitive that ends them. */
export async function checkDerivatives(primitive: Primitive, item: Case, order: 1 | 2 | 3 = 3): Promise<void> {
  if (primitives[primitive].kind === "constant") checkNone(item);
  else await checkGrads(item.build, { inputs: item.inputs, partitions: 2, order });
}

function checkNone({ build, inputs }: Case): void {
  const { b, loss, parameters } = traceLoss(build, { inputs });
  if (gradients(b, loss, parameters).some((gradient) => gradient)) throw new Error("a gradient passes");
  const seeds = parameters.map((parameter, group) => ({
    parameter,
    direction: input(b, `u${group}`, parameter.shape),
    group,
  }));
  const kinds = summarize(b, loss, seeds).terms.map(({ kind }) => kind);
  if (kinds.join() !== "loss") throw new Error(`the summary has the terms ${kinds}`);
}
