import { ancestors, type Builder, dependents, type Node } from "../graph/index.ts";

/** Whether derivatives pass from an input of this node to its result. */
function passes(node: Node): boolean {
  return node.dtype === "float" && node.op.kind !== "constant" && node.op.kind !== "source";
}

/**
 * The nodes on a differentiable path from one of `sources` to `loss`, in topological order.
 * Derivatives do not pass comparisons, casts, indices or `stopGradient`.
 */
export function activeNodes(loss: Node, sources: readonly Node[]): Node[] {
  const nodes = ancestors([loss]);
  const reached = dependents(nodes.filter(passes), sources);
  const needed = new Set<Node>([loss]);
  const active: Node[] = [];
  for (const node of nodes.toReversed()) {
    if (!needed.has(node) || !reached.has(node)) continue;
    active.push(node);
    if (passes(node)) for (const input of node.inputs) if (input.dtype === "float") needed.add(input);
  }
  return active.reverse();
}

/**
 * The same loss with every choice on a differentiable path written as a linear operation at fixed indices, and what is composed by the
 * operations that it stands for.
 */
export function writeOut(b: Builder, loss: Node, sources: readonly Node[]): Node {
  const active = new Set(activeNodes(loss, sources));
  const written = rewrite(b, [loss], (node, inputs) => {
    if (!active.has(node)) return undefined;
    const { op } = node;
    if (op.kind === "composed") return op.compose(b, { ...node, inputs });
    return op.kind === "choice" ? op.freeze(b, { ...node, inputs }) : undefined;
  });
  return written.get(loss)!;
}

/** All that `roots` need, made anew; `replace` may give another node for any of them. */
export function rewrite(
  b: Builder,
  roots: readonly Node[],
  replace: (node: Node, inputs: readonly Node[]) => Node | undefined,
): ReadonlyMap<Node, Node> {
  const made = new Map<Node, Node>();
  for (const node of ancestors(roots)) {
    const inputs = node.inputs.map((input) => made.get(input)!);
    const same = inputs.every((input, i) => input === node.inputs[i]);
    made.set(node, replace(node, inputs) ?? (same ? node : b.apply(node.op, inputs, node.attrs)));
  }
  return made;
}
