import {
  type BilinearOp,
  type Builder,
  type ElementwiseOp,
  type LinearOp,
  type Node,
  typicalCount,
} from "../graph/index.ts";
import { mul, scale, unrepeated } from "../ops/index.ts";
import { internal } from "../util/errors.ts";
import { addStacks, arranged, type Block, compact, joined, pairsOf, type Stack } from "./stack.ts";

/** First and second tangents of a node along the group directions: ∂z/∂η_s and ∂²z/∂η_s². */
export interface Tangents {
  readonly first: Stack;
  readonly second: Stack;
}

const NONE: Tangents = { first: [], second: [] };

/**
 * Forward tangents of a node along the group directions (Griewank & Walther, 2008, §3.1 and §13), from those of its inputs.
 * @param node no choice, and not composed.
 * @param seed a parameter's first tangent: its direction, in its group.
 */
export function tangentsOf(
  b: Builder,
  node: Node,
  seed: Block | undefined,
  known: ReadonlyMap<Node, Tangents>,
): Tangents {
  return seed ? { first: [seed], second: [] } : propagate(b, node, known);
}

function propagate(b: Builder, node: Node, known: ReadonlyMap<Node, Tangents>): Tangents {
  const inputs = node.inputs.map((input) => known.get(input) ?? NONE);
  const { op } = node;
  switch (op.kind) {
    case "linear":
      return linearTangents(b, { ...node, op }, inputs);
    case "bilinear":
      return bilinearTangents(b, { ...node, op }, inputs[0]!, inputs[1]!);
    case "elementwise":
      return elementwiseTangents(b, node, op, inputs[0]!);
    default:
      return internal(`${op.name} has no tangent`);
  }
}

/** z' = A x', z'' = A x''. */
function linearTangents(b: Builder, node: Node & { op: LinearOp<unknown> }, inputs: readonly Tangents[]): Tangents {
  const push = (stack: Stack, index: number): Stack =>
    stack.map((block) => ({ ...block, node: node.op.push(b, node, block.node, index, block.lead) }));
  return {
    first: inputs.reduce<Stack>((sum, { first }, index) => addStacks(b, sum, push(first, index)), []),
    second: inputs.reduce<Stack>((sum, { second }, index) => addStacks(b, sum, push(second, index)), []),
  };
}

/** z' = B(x', y) + B(x, y'), z'' = B(x'', y) + 2 B(x', y') + B(x, y''). */
function bilinearTangents(b: Builder, node: Node & { op: BilinearOp<unknown> }, x: Tangents, y: Tangents): Tangents {
  const [left, right] = node.inputs;
  const [first, second] = [operandStacks(b, node, x.first, y.first), operandStacks(b, node, x.second, y.second)];
  const along = (stack: Stack, index: 0 | 1): Stack =>
    mapBlocks(stack, ({ node: t, lead }) =>
      index === 0 ? node.op.stacked(b, node, t, right!, [lead, 0]) : node.op.stacked(b, node, left!, t, [0, lead]),
    );
  const mixed = pairsOf(b, ...first).map(
    ([s, t]): Block => ({ ...s, node: scale(b, node.op.stacked(b, node, s.node, t.node, [s.lead, s.lead]), 2) }),
  );
  return {
    first: addStacks(b, along(first[0], 0), along(first[1], 1)),
    second: addStacks(b, addStacks(b, along(second[0], 0), mixed), along(second[1], 1)),
  };
}

/**
 * The tangents of a product's operands in blocks for it: as one block each, or, where it costs no more than a copy, in the
 * blocks that the larger operand's tangents come in.
 */
export function operandStacks(
  b: Builder,
  node: Node & { op: BilinearOp<unknown> },
  x: Stack,
  y: Stack,
): [Stack, Stack] {
  if (!node.op.entrywise) return [joined(b, x), joined(b, y)];
  const [left, right] = node.inputs.map((input) => typicalCount(unrepeated(input).shape));
  return left! >= right! ? [x, arranged(b, y, x)] : [arranged(b, x, y), y];
}

/** z' = f' x', z'' = f' x'' + f'' x'². */
function elementwiseTangents(
  b: Builder,
  node: Node,
  op: ElementwiseOp<unknown>,
  { first, second }: Tangents,
): Tangents {
  const [slope, curvature] = [op.derivative(b, node, 1), op.derivative(b, node, 2)];
  const times = (factor: Node | undefined, stack: Stack): Stack =>
    factor ? stack.map((block) => ({ ...block, node: mul(b, block.node, factor) })) : [];
  const x = compact(b, first);
  const squared = x.map((block) => ({ ...block, node: mul(b, block.node, block.node) }));
  return { first: times(slope, x), second: addStacks(b, times(slope, second), times(curvature, squared)) };
}

function mapBlocks(stack: Stack, f: (block: Block) => Node): Stack {
  return stack.map((block) => ({ ...block, node: f(block) }));
}
