import type { Builder, Node } from "../../src/graph/index.ts";
import type { Tensor } from "../../src/nn/index.ts";
import { Tensor as Traced, tracing } from "../../src/nn/tensor.ts";

/** A function of tensors as one of graph nodes. */
export function traced(f: (...inputs: Tensor[]) => Tensor): (b: Builder, inputs: readonly Node[]) => Node {
  return (builder, inputs) =>
    tracing({ builder, variables: new Map(), checks: [] }, () => f(...inputs.map((node) => new Traced(node))).node);
}
