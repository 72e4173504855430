import { countOf, type Graph, isBatch, type Node } from "../src/graph/index.ts";

/**
 * FLOPs of all matrix products of a graph, a product of [i, k] and [k, j] being 2·i·j·k.
 * @param samples the size of the batch that the graph runs on.
 */
export function productFlops(graph: Graph, samples: number): number {
  return graph.nodes.reduce((sum, node) => sum + (node.op.name === "matmul" ? flopsOf(node, samples) : 0), 0);
}

function flopsOf({ shape, inputs }: Node, samples: number): number {
  const depth = inputs[0]!.shape.at(-1)!;
  const { factor, power } = countOf(shape);
  const inner = isBatch(depth) ? depth : { factor: depth, power: 0 };
  return 2 * factor * inner.factor * samples ** (power + inner.power);
}
