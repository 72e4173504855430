import { concrete, type Graph, type Node } from "../graph/index.ts";
import type { Primitive } from "../ops/index.ts";
import { sizeOf } from "../util/ndarray.ts";

/** Primitives that make no array of their own: engines read their input in another shape. */
const VIEWS: ReadonlySet<string> = new Set<Primitive>(["reshape", "broadcast", "stopGradient", "constant"]);

/**
 * The most real numbers that the intermediate values of a graph hold at one time, where each is computed in its turn and
 * kept until its last use.
 */
export function peakSize(graph: Graph, samples: number): number {
  const storage = new Map<Node, Node>();
  for (const node of graph.nodes) {
    const [source] = node.inputs;
    storage.set(node, source && VIEWS.has(node.op.name) ? storage.get(source)! : node);
  }
  const lastUse = new Map<Node, Node>();
  for (const node of graph.nodes) for (const each of [node, ...node.inputs]) lastUse.set(storage.get(each)!, node);
  const entries = (node: Node): number => (VIEWS.has(node.op.name) ? 0 : sizeOf(concrete(node.shape, samples)));
  const ending = new Map<Node, number>();
  for (const [node, last] of lastUse) ending.set(last, (ending.get(last) ?? 0) + entries(node));
  let [held, most] = [0, 0];
  for (const node of graph.nodes) {
    if (storage.get(node) === node) held += entries(node);
    most = Math.max(most, held);
    held -= ending.get(node) ?? 0;
  }
  return most;
}
