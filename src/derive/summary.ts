import { type BilinearOp, type Builder, countOf, type ElementwiseOp, type Node } from "../graph/index.ts";
import { abs, concat, flatten, mul, scale, sum } from "../ops/index.ts";
import { activeNodes, writeOut } from "./active.ts";
import { adjoints } from "./reverse.ts";
import {
  addStacks,
  type Block,
  common,
  compact,
  type GroupIndex,
  gram,
  groupsOf,
  leading,
  pairsOf,
  type Stack,
  select,
} from "./stack.ts";
import { operandStacks, type Tangents, tangentsOf } from "./tangents.ts";

/**
 * What a stretch of the packed summary adds to:
 * `g` – ḡ at `rows`; `order3` – the third derivatives at `rows`;
 * `H` – H̄ at `rows` × `columns`; `cross` – H̄ at `rows` × `columns` and its transpose;
 * `entry` and `exit` – Σ |z̄ z'| where a group's parameters enter, and where its tangents reach the loss: if the
 * second is rounding noise beside the first, the group has no effect.
 */
export type TermKind = "loss" | "g" | "order3" | "H" | "cross" | "entry" | "exit";

/** Where a stretch of the packed summary belongs. */
export interface Term {
  readonly kind: TermKind;
  readonly rows: readonly GroupIndex[];
  readonly columns: readonly GroupIndex[];
}

/** A summary as a graph: one vector that holds the terms one after the other, each row-major. */
export interface SummaryGraph {
  readonly packed: Node;
  readonly terms: readonly Term[];
}

/** A parameter, its direction u, and the group it belongs to; of several groups, what each has of u along a leading axis. */
export interface Seed {
  readonly parameter: Node;
  readonly direction: Node;
  readonly group: GroupIndex | readonly GroupIndex[];
}

/** A parameter's first tangents. */
export function seedBlock({ direction, group }: Seed): Block {
  return typeof group === "number"
    ? { groups: [group], node: direction, lead: 0 }
    : { groups: group, node: direction, lead: 1 };
}

/** What seeds have of some of their groups. */
export function seedsOf(b: Builder, seeds: readonly Seed[], chosen: readonly GroupIndex[]): Seed[] {
  return seeds.flatMap((seed): Seed | Seed[] => {
    const block = seedBlock(seed);
    const group = block.groups.filter((each) => chosen.includes(each));
    if (group.length === block.groups.length) return seed;
    return group.length === 0 ? [] : { ...seed, group, direction: select(b, block, group).node };
  });
}

const ALL_KINDS: ReadonlySet<TermKind> = new Set(["loss", "g", "order3", "H", "cross", "entry", "exit"]);

/** Collects the terms of some kinds and the nodes that hold them. What only others need is not computed. */
class Terms {
  readonly terms: Term[] = [];
  readonly nodes: Node[] = [];
  readonly #kinds: ReadonlySet<TermKind>;

  constructor(kinds: ReadonlySet<TermKind>) {
    this.#kinds = kinds;
  }

  add(b: Builder, kind: TermKind, node: Node, rows: readonly GroupIndex[], columns: readonly GroupIndex[] = []) {
    if (!this.#kinds.has(kind)) return;
    this.terms.push({ kind, rows, columns });
    this.nodes.push(flatten(b, node, 0));
  }
}

/**
 * The three-rule summary: loss, ḡ, H̄ and the diagonal of the third derivative along the group directions.
 *
 * One reverse sweep gives every adjoint z̄, one forward sweep the first and second tangents of all groups at once; then
 * each non-linear node adds z̄ contracted with its own second and third derivative. For H̄ this is edge pushing (Gower &
 * Mello, 2012) seen forward; the adjoint stands in for the top Taylor coefficient of the third order (Griewank & Walther,
 * 2008, §13).
 * @param kinds which terms to compute, the loss among them; all by default.
 */
export function summarize(
  b: Builder,
  loss: Node,
  seeds: readonly Seed[],
  kinds: ReadonlySet<TermKind> = ALL_KINDS,
): SummaryGraph {
  const parameters = seeds.map((seed) => seed.parameter);
  const frozen = writeOut(b, loss, parameters);
  const active = activeNodes(frozen, parameters);
  const bars = adjoints(b, frozen, active);
  const blocks = new Map(seeds.map((seed) => [seed.parameter, seedBlock(seed)]));
  const tangents = new Map<Node, Tangents>();
  const terms = new Terms(kinds);
  terms.add(b, "loss", frozen, []);
  for (const node of active) {
    tangents.set(node, tangentsOf(b, node, blocks.get(node), tangents));
    addCurvature(b, terms, node, bars, tangents);
  }
  addGradient(b, terms, tangents.get(frozen));
  addEntries(b, terms, active, bars, blocks);
  addExits(b, terms, frozen, bars, tangents);
  return { packed: concat(b, terms.nodes, 0), terms: terms.terms };
}

/** ḡ is the first tangent of the loss. */
function addGradient(b: Builder, terms: Terms, tangents: Tangents | undefined): void {
  for (const block of tangents?.first ?? []) terms.add(b, "g", leading(b, block), block.groups);
}

function addCurvature(
  b: Builder,
  terms: Terms,
  node: Node,
  bars: ReadonlyMap<Node, Node>,
  tangents: ReadonlyMap<Node, Tangents>,
): void {
  const { op } = node;
  const bar = bars.get(node);
  const [x, y] = node.inputs.map((input) => tangents.get(input));
  if (!bar || !x) return;
  if (op.kind === "elementwise") addElementwise(b, terms, node, op, bar, x);
  if (op.kind === "bilinear" && y) addBilinear(b, terms, { ...node, op }, bar, x, y);
}

/** Σ z̄ f'' x'_s x'_t, and Σ z̄ (f''' x'³ + 3 f'' x' x''). */
function addElementwise(
  b: Builder,
  terms: Terms,
  node: Node,
  op: ElementwiseOp<unknown>,
  bar: Node,
  tangents: Tangents,
): void {
  const x = compact(b, tangents.first);
  const [second, third] = [op.derivative(b, node, 2), op.derivative(b, node, 3)];
  const weight = second && mul(b, bar, second);
  if (weight) addGrams(b, terms, x, weight);
  const times = (stack: Stack, factor: Node): Stack =>
    stack.map((block) => ({ ...block, node: mul(b, block.node, factor) }));
  const squares = x.map((block) => ({ ...block, node: mul(b, block.node, block.node) }));
  const cubic = third ? times(squares, mul(b, bar, third)) : [];
  const mixed = weight ? times(tangents.second, scale(b, weight, 3)) : [];
  for (const part of addStacks(b, cubic, mixed)) for (const block of x) addDots(b, terms, part, block);
}

/** Σ w x'_s x'_t for all pairs of groups, block by block. */
function addGrams(b: Builder, terms: Terms, x: Stack, weight: Node): void {
  x.forEach((left, i) => {
    const weighted = { ...left, node: mul(b, left.node, weight) };
    for (const right of x.slice(i))
      terms.add(b, right === left ? "H" : "cross", gram(b, weighted, right), left.groups, right.groups);
  });
}

/** Third derivatives ⟨part_s, x_s⟩ of the groups that both have. */
function addDots(b: Builder, terms: Terms, part: Block, x: Block): void {
  const [left, right] = common(b, part, x) ?? [];
  if (left && right) terms.add(b, "order3", rowSums(b, mul(b, leading(b, left), leading(b, right))), left.groups);
}

/** ⟨z̄, B(x'_s, y'_t) + B(x'_t, y'_s)⟩, and 3 ⟨z̄, B(x''_s, y'_s) + B(x'_s, y''_s)⟩. */
function addBilinear(
  b: Builder,
  terms: Terms,
  node: Node & { op: BilinearOp<unknown> },
  bar: Node,
  left: Tangents,
  right: Tangents,
): void {
  const firsts = operandStacks(b, node, left.first, right.first);
  const seconds = operandStacks(b, node, left.second, right.second);
  // One pull-back for each group of one side: take the side with fewer groups.
  const pulled = groupsOf(firsts[1]).length <= groupsOf(firsts[0]).length ? 1 : 0;
  const kept = (1 - pulled) as 0 | 1;
  const pullBack = (block: Block): Block => ({
    ...block,
    node: node.op.transpose(b, node, bar, block.node, kept, block.lead),
  });
  const back = firsts[pulled].map(pullBack);
  for (const x of back) for (const y of firsts[kept]) terms.add(b, "cross", gram(b, x, y), x.groups, y.groups);
  for (const pair of pairsOf(b, back, seconds[kept])) addOrder3(b, terms, pair);
  for (const [x, y] of pairsOf(b, seconds[pulled], firsts[kept])) addOrder3(b, terms, [pullBack(x), y]);
}

function addOrder3(b: Builder, terms: Terms, pair: [Block, Block]): void {
  const dots = rowSums(b, mul(b, leading(b, pair[0]), leading(b, pair[1])));
  terms.add(b, "order3", scale(b, dots, 3), pair[0].groups);
}

function rowSums(b: Builder, stack: Node): Node {
  return sum(
    b,
    stack,
    stack.shape.slice(1).map((_, i) => i + 1),
  );
}

/** Operations that only move or scale a parameter: it enters where it goes next. */
function isCarrier(node: Node): boolean {
  return node.op.kind === "linear" && node.inputs.filter((input) => input.dtype === "float").length === 1;
}

/** Σ |z̄ z'| at the operations that parameters enter, counting for each only what comes through that one edge. */
function addEntries(
  b: Builder,
  terms: Terms,
  active: readonly Node[],
  bars: ReadonlyMap<Node, Node>,
  seeds: ReadonlyMap<Node, Block>,
): void {
  const carried = new Map(seeds);
  for (const node of active) {
    node.inputs.forEach((input, index) => {
      const seed = carried.get(input);
      const moved = seed && pushAlone(b, node, seed, index);
      if (!moved) return;
      if (isCarrier(node)) carried.set(node, moved);
      else terms.add(b, "entry", rowSums(b, abs(b, mul(b, leading(b, moved), bars.get(node)!))), seed.groups);
    });
  }
}

/** The first tangents of a node when only input `index` moves. */
function pushAlone(b: Builder, node: Node, tangents: Block, index: number): Block | undefined {
  const { op, inputs } = node;
  const { node: tangent, lead } = tangents;
  const moved = (to: Node): Block => ({ ...tangents, node: to });
  switch (op.kind) {
    case "linear":
      return moved(op.push(b, node, tangent, index, lead));
    case "bilinear":
      return moved(
        index === 0
          ? op.stacked(b, node, tangent, inputs[1]!, [lead, 0])
          : op.stacked(b, node, inputs[0]!, tangent, [0, lead]),
      );
    case "elementwise": {
      const slope = op.derivative(b, node, 1);
      return slope && moved(mul(b, tangent, slope));
    }
    default:
      return undefined;
  }
}

/** Σ |z̄ z'_s| over the last values that are not scalars, or at the loss itself where all are. */
function addExits(
  b: Builder,
  terms: Terms,
  loss: Node,
  bars: ReadonlyMap<Node, Node>,
  tangents: ReadonlyMap<Node, Tangents>,
): void {
  const isScalar = ({ shape }: Node): boolean => countOf(shape).power === 0 && countOf(shape).factor === 1;
  const last = new Set<Node>();
  const pending = [loss];
  const seen = new Set<Node>();
  for (let node = pending.pop(); node; node = pending.pop()) {
    if (seen.has(node) || !tangents.has(node)) continue;
    seen.add(node);
    const inputs = node.inputs.filter((input) => tangents.has(input));
    if (isScalar(node) && inputs.length > 0) pending.push(...inputs);
    else last.add(node);
  }
  for (const node of last)
    for (const block of tangents.get(node)!.first) {
      const products = abs(b, mul(b, leading(b, block), bars.get(node)!));
      terms.add(b, "exit", rowSums(b, products), block.groups);
    }
}
