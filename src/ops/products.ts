import { concrete, type Graph, type Node, type Shape } from "../graph/index.ts";
import { sizeOf } from "../util/ndarray.ts";

/**
 * The extents of the sums that a product is made of: one multiplication and one addition for each of their entries. A form
 * of results z [N, O, …places] and weights w [O, C / groups, …kernel] sums over all of z and all but the first axis of w.
 */
const EXTENTS: Readonly<Record<string, (node: Node) => Shape>> = {
  matmul: ({ shape, inputs: [x] }) => [...shape, x!.shape.at(-1)!],
  conv: ({ shape, inputs: [, w] }) => form(shape, w!.shape),
  convInput: ({ inputs: [z, w] }) => form(z!.shape, w!.shape),
  convWeight: ({ shape, inputs: [, z] }) => form(z!.shape, shape),
};
function form(results: Shape, weights: Shape): Shape {
  return [...results, ...weights.slice(1)];
}

/**
 * FLOPs of all matrix products and convolutions of a graph; what a kernel multiplies with padding is counted too.
 * @param samples the size of the batch that the graph runs on.
 */
export function productFlops({ nodes }: Graph, samples: number): number {
  return nodes.reduce((sum, node) => {
    const extents = EXTENTS[node.op.name]?.(node);
    return extents ? sum + 2 * sizeOf(concrete(extents, samples)) : sum;
  }, 0);
}
