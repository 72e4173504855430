import type { Builder, Node } from "../graph/index.ts";
import { add, mul, scalar, stopGradient, sum } from "../ops/index.ts";
import { activeNodes } from "./active.ts";

/**
 * Reverse mode: the derivative of a scalar loss in each active node (its adjoint z̄ = ∂L/∂z), by the chain rule from
 * the loss back (Griewank & Walther, 2008, §3.2).
 * @param active nodes on a path to the loss, in topological order.
 * @param seed the adjoint of `loss`, for one that is an inner node of a larger program.
 */
export function adjoints(b: Builder, loss: Node, active: readonly Node[], seed: Node = scalar(b, 1)): Map<Node, Node> {
  const bars = new Map<Node, Node>([[loss, seed]]);
  const wanted = new Set(active);
  for (const node of active.toReversed()) {
    const bar = bars.get(node);
    if (!bar) continue;
    node.inputs.forEach((input, index) => {
      const pulled = wanted.has(input) && pull(b, node, bar, index);
      if (!pulled) return;
      const known = bars.get(input);
      bars.set(input, known ? add(b, known, pulled) : pulled);
    });
  }
  return bars;
}

/** What one node adds to the adjoint of its input `index`. */
function pull(b: Builder, node: Node, bar: Node, index: number): Node | undefined {
  const { op } = node;
  switch (op.kind) {
    case "linear":
      return op.transpose(b, node, bar, index);
    case "bilinear":
      return op.transpose(b, node, bar, node.inputs[1 - index]!, index as 0 | 1, 0);
    case "elementwise": {
      const slope = op.derivative(b, node, 1);
      return slope && mul(b, bar, slope);
    }
    case "choice":
      return pullChoice(b, op.freeze(b, node), bar, node.inputs[index]!);
    case "composed":
      return op.transpose(b, node, bar);
    case "constant":
    case "source":
      return undefined;
  }
}

/** Back through a choice at fixed indices. Its value stays that of the choice itself: nothing after it is computed twice. */
function pullChoice(b: Builder, frozen: Node, bar: Node, input: Node): Node | undefined {
  return adjoints(b, frozen, activeNodes(frozen, [input]), bar).get(input);
}

/**
 * The gradient of a scalar loss in each of `sources`; undefined for those that the loss does not depend on.
 */
export function gradients(b: Builder, loss: Node, sources: readonly Node[]): (Node | undefined)[] {
  const bars = adjoints(b, loss, activeNodes(loss, sources));
  return sources.map((source) => bars.get(source));
}

/**
 * H v at `sources`, H the Hessian of the loss that `slopes` are the gradient of: the gradient of ⟨∇L, v⟩ with v held fixed, by
 * reverse mode over reverse mode (Griewank & Walther, 2008, §5). Undefined where a product is zero by structure.
 * @param slopes ∂L/∂source, and `vectors` the parts of v, one for each source.
 */
export function hessianProduct(
  b: Builder,
  slopes: readonly (Node | undefined)[],
  vectors: readonly Node[],
  sources: readonly Node[],
): (Node | undefined)[] {
  const terms = slopes.flatMap((slope, i) => (slope ? [sum(b, mul(b, slope, stopGradient(b, vectors[i]!)))] : []));
  if (terms.length === 0) return sources.map(() => undefined);
  const along = terms.reduce((x, y) => add(b, x, y));
  return gradients(b, along, sources);
}
