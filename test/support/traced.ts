import type { Builder, Node } from "../../src/graph/index.ts";
import type { Tensor } from "../../src/nn/index.ts";
import { modelScope } from "../../src/nn/predict.ts";
import { Tensor as Traced, tracing } from "../../src/nn/tensor.ts";
import { newTrace } from "../../src/nn/trace.ts";

/** A function of tensors as one of graph nodes. */
export function traced(f: (...inputs: Tensor[]) => Tensor): (b: Builder, inputs: readonly Node[]) => Node {
  return (builder, inputs) =>
    tracing(newTrace(builder, modelScope(new Map())), () => f(...inputs.map((node) => new Traced(node))).node);
}
