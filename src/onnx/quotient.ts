import type { Graph, Node } from "../graph/index.ts";

/**
 * Finds the products with a reciprocal that is used nowhere else, to be written as Div: which of their inputs it is.
 * https://onnx.ai/onnx/operators/onnx__Div.html
 */
export function findQuotients({ nodes }: Graph, uses: ReadonlyMap<Node, number>): ReadonlyMap<Node, 0 | 1> {
  const quotients = new Map<Node, 0 | 1>();
  for (const node of nodes) {
    if (node.op.name !== "mul") continue;
    const at = node.inputs.findIndex((x) => x.op.name === "reciprocal" && uses.get(x) === 1);
    if (at >= 0) quotients.set(node, at as 0 | 1);
  }
  return quotients;
}
