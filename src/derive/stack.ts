import type { Builder, Lead, Node } from "../graph/index.ts";
import { add, concat, flatten, matmul, reshape, slice, transposeLast, unsqueeze } from "../ops/index.ts";

/** The number of a group of parameters, from 0. */
export type GroupIndex = number;

/** Tangents of some groups: of one, alone (`lead` 0), or of several along a leading axis (`lead` 1). */
export interface Block {
  readonly groups: readonly GroupIndex[];
  readonly node: Node;
  readonly lead: Lead;
}

/** Tangents of a node by group, in blocks that share no group. A group in no block has a zero tangent. */
export type Stack = readonly Block[];

/** The groups of a stack, in the order of its blocks. */
export function groupsOf(stack: Stack): GroupIndex[] {
  return stack.flatMap((block) => block.groups);
}

/** All blocks as one. */
export function joined(b: Builder, stack: Stack): Stack {
  if (stack.length <= 1) return stack;
  const rows = stack.map((block) => leading(b, block));
  return [{ groups: groupsOf(stack), node: concat(b, rows, 0), lead: 1 }];
}

/** The blocks of single groups put together, so that few blocks are left and long stacks are not copied. */
export function compact(b: Builder, stack: Stack): Stack {
  const single = stack.filter(({ lead }) => lead === 0);
  return single.length < 2 ? stack : [...stack.filter(({ lead }) => lead === 1), ...joined(b, single)];
}

/**
 * The same tangents in the blocks of another stack: for each of its blocks one with the groups that they share, and one
 * with the groups that it lacks.
 */
export function arranged(b: Builder, stack: Stack, like: Stack): Stack {
  const groups = groupsOf(stack);
  const shared = like.map((block) => block.groups.filter((group) => groups.includes(group)));
  const rest = groups.filter((group) => !shared.some((each) => each.includes(group)));
  const wanted = [...shared, rest].filter((each) => each.length > 0);
  if (stack.every((block) => wanted.some((each) => each.join() === block.groups.join()))) return stack;
  return joined(b, stack).flatMap((whole) => wanted.map((each) => select(b, whole, each)));
}

/** The tangents that two stacks have of the same groups, block by block. */
export function pairsOf(b: Builder, x: Stack, y: Stack): [Block, Block][] {
  return x.flatMap((left) => y.map((right) => common(b, left, right))).filter((pair) => pair !== undefined);
}

/** The block's tensor with a leading axis, of length 1 if it stands alone. */
export function leading(b: Builder, { node, lead }: Pick<Block, "node" | "lead">): Node {
  return lead ? node : unsqueeze(b, node, 0);
}

/** The tangents of the groups named, in that order; the block must have them all. */
export function select(b: Builder, block: Block, groups: readonly GroupIndex[]): Block {
  if (groups.length === block.groups.length && groups.every((group, i) => group === block.groups[i])) return block;
  const rows = groups.map((group) => block.groups.indexOf(group));
  const runs: { start: number; end: number }[] = [];
  for (const row of rows) {
    const last = runs.at(-1);
    if (last && last.end === row) last.end++;
    else runs.push({ start: row, end: row + 1 });
  }
  const parts = runs.map(({ start, end }) => slice(b, block.node, 0, start, end));
  return { groups, node: concat(b, parts, 0), lead: 1 };
}

/** What two blocks have in common: the same groups of each, in one order; undefined where there is none. */
export function common(b: Builder, x: Block, y: Block): [Block, Block] | undefined {
  const groups = x.groups.filter((group) => y.groups.includes(group));
  if (groups.length === 0) return undefined;
  const [left, right] = [select(b, x, groups), select(b, y, groups)];
  if (left.lead === right.lead) return [left, right];
  return [
    { groups, node: leading(b, left), lead: 1 },
    { groups, node: leading(b, right), lead: 1 },
  ];
}

/** The sum of two stacks. Groups that only one of them has stay blocks of their own: nothing is copied for them. */
export function addStacks(b: Builder, x: Stack, y: Stack): Stack {
  return y.reduce<Stack>((sum, block) => addBlock(b, sum, block), x);
}

function addBlock(b: Builder, stack: Stack, block: Block): Stack {
  const i = stack.findIndex((other) => other.groups.some((group) => block.groups.includes(group)));
  if (i < 0) return [...stack, block];
  const other = stack[i]!;
  const [left, right] = common(b, other, block)!;
  const both: Block = { ...left, node: add(b, left.node, right.node) };
  const rest = (from: Block): Stack => {
    const groups = from.groups.filter((group) => !both.groups.includes(group));
    return groups.length ? [select(b, from, groups)] : [];
  };
  return addStacks(b, [...stack.toSpliced(i, 1), both, ...rest(other)], rest(block));
}

/** ⟨x_s, y_t⟩ for all rows s of one block and t of another. */
export function gram(b: Builder, x: Pick<Block, "node" | "lead">, y: Pick<Block, "node" | "lead">): Node {
  return matmul(b, rowsOf(b, leading(b, x)), transposeLast(b, rowsOf(b, leading(b, y))));
}

/** A stacked tensor as a matrix. */
function rowsOf(b: Builder, stack: Node): Node {
  return stack.shape.length === 1 ? reshape(b, stack, [stack.shape[0]!, 1]) : flatten(b, stack, 1);
}
