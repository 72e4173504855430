import type { BilinearOp, Builder, Node } from "../graph/index.ts";
import { concat, constant, flatten, indexSelect, mul } from "../ops/index.ts";
import { activeNodes, writeOut } from "./active.ts";
import { keyOf, type MultiIndex, merged, sharings } from "./multi-index.ts";
import { adjoints } from "./reverse.ts";
import {
  checkGrowth,
  multiply,
  productsByOrders,
  type Rows,
  type Series,
  type Slopes,
  seriesOf,
  slopesOf,
} from "./series.ts";
import { gram, leading } from "./stack.ts";
import { type Seed, seedBlock } from "./summary.ts";

/** A stretch of packed derivatives: number i times `counts[i]` adds to the derivative along `indices[i]`. */
export interface TensorTerm {
  readonly order: number;
  readonly indices: readonly MultiIndex[];
  readonly counts: readonly number[];
}

/** Derivatives as a graph: one vector that holds the loss, and then the terms one after the other. */
export interface TensorGraph {
  readonly packed: Node;
  readonly terms: readonly TensorTerm[];
}

/** Collects the terms and the nodes that hold them. */
class Terms {
  readonly terms: TensorTerm[] = [];
  readonly nodes: Node[] = [];

  add(b: Builder, node: Node, indices: readonly MultiIndex[], counts: readonly number[] = indices.map(() => 1)): void {
    checkGrowth(node);
    this.terms.push({ order: indices[0]?.length ?? 0, indices, counts });
    this.nodes.push(flatten(b, node, 0));
  }
}

/**
 * The loss and all its derivatives along the group directions up to an order d, each once for every multi-index.
 *
 * The derivatives of every node up to order d − 1 are propagated forward; those of the loss are the lower orders. For
 * order d each non-linear node adds its adjoint contracted with what its derivatives of lower orders contribute there:
 * the three rules of `summarize`, for any order.
 * @throws OptionError where the graph becomes too large.
 */
export function deriveTensors(b: Builder, loss: Node, seeds: readonly Seed[], order: number): TensorGraph {
  const parameters = seeds.map((seed) => seed.parameter);
  const frozen = writeOut(b, loss, parameters);
  const active = activeNodes(frozen, parameters);
  const bars = adjoints(b, frozen, active);
  const own = new Map<Node, Series>(
    seeds.map((seed) => {
      const block = seedBlock(seed);
      return [seed.parameter, [{ indices: block.groups.map((group) => [group]), node: leading(b, block) }]];
    }),
  );
  const known = new Map<Node, Series>();
  const terms = new Terms();
  terms.add(b, frozen, [[]]);
  for (const node of active) {
    known.set(node, own.get(node) ?? seriesOf(b, node, known, Math.max(order - 1, 1)));
    if (order > 1) addTop(b, terms, node, bars.get(node), known, order);
  }
  for (const rows of known.get(frozen) ?? []) if (rows) terms.add(b, rows.node, rows.indices);
  return { packed: concat(b, terms.nodes, 0), terms: terms.terms };
}

/** What a non-linear node adds to the derivatives of the highest order. */
function addTop(
  b: Builder,
  terms: Terms,
  node: Node,
  bar: Node | undefined,
  known: ReadonlyMap<Node, Series>,
  order: number,
): void {
  const { op } = node;
  const [x, y] = node.inputs.map((input) => known.get(input));
  if (!bar || !x) return;
  if (op.kind === "elementwise") addElementwise(b, terms, slopesOf(b, node, op, order), bar, x, order);
  if (op.kind === "bilinear" && y)
    for (let k = 1; k < order; k++) addBilinear(b, terms, { ...node, op }, bar, x[k - 1], y[order - k - 1]);
}

/** Σ z̄ f^(m) x_β x_γ … over products of two and more factors: the highest against the others. */
function addElementwise(b: Builder, terms: Terms, slopes: Slopes, bar: Node, x: Series, order: number): void {
  for (const { indices, products } of productsByOrders(x, order)) {
    const slope = slopes[products[0]!.factors.length - 1];
    const rest = distinct(products.map(({ factors }) => factors.slice(1)));
    if (!slope || rest.lists[0]!.length === 0) continue;
    const highest = x[products[0]!.factors[0]!.length - 1]!;
    const columns = new Map(highest.indices.map((index, i) => [keyOf(index), i]));
    const weighted = mul(b, multiply(b, x, rest.lists)!, mul(b, bar, slope));
    const table = gram(b, { node: weighted, lead: 1 }, { node: highest.node, lead: 1 });
    const places = products.map(({ factors }, i) => rest.places[i]! * columns.size + columns.get(keyOf(factors[0]!))!);
    terms.add(
      b,
      indexSelect(b, flatten(b, table, 0), constant(b, places, [places.length], "int"), 0),
      indices,
      products.map(({ count }) => count),
    );
  }
}

/** Lists of multi-indices without repetition, and where each of the given ones is among them. */
function distinct(lists: readonly (readonly MultiIndex[])[]): {
  lists: readonly (readonly MultiIndex[])[];
  places: readonly number[];
} {
  const keys = lists.map((list) => list.map(keyOf).join(" "));
  const known = new Map(keys.map((key, i) => [key, lists[i]!]));
  const rows = new Map([...known.keys()].map((key, i) => [key, i]));
  return { lists: [...known.values()], places: keys.map((key) => rows.get(key)!) };
}

/** ⟨z̄, B(x_β, y_γ)⟩ for all β and γ: pulled back through the side with fewer rows. */
function addBilinear(
  b: Builder,
  terms: Terms,
  node: Node & { op: BilinearOp<unknown> },
  bar: Node,
  x: Rows | undefined,
  y: Rows | undefined,
): void {
  if (!x || !y) return;
  const [pulled, kept, index] = y.indices.length <= x.indices.length ? ([y, x, 0] as const) : ([x, y, 1] as const);
  const back = node.op.transpose(b, node, bar, pulled.node, index, 1);
  const pairs = pulled.indices.flatMap((row) => kept.indices.map((column) => [row, column] as const));
  terms.add(
    b,
    gram(b, { node: back, lead: 1 }, { node: kept.node, lead: 1 }),
    pairs.map((pair) => merged(...pair)),
    pairs.map((pair) => sharings(...pair)),
  );
}
