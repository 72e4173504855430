import type { BilinearOp, Builder, ElementwiseOp, LinearOp, Node } from "../graph/index.ts";
import { add, concat, constant, indexAdd, indexSelect, mul, reshape, scale, slice, sum } from "../ops/index.ts";
import { internal, OptionError } from "../util/errors.ts";
import { chainRule, keyOf, type MultiIndex, merged, multiIndices, type Product, sharings } from "./multi-index.ts";
import { gradients } from "./reverse.ts";

/** Derivatives of a node along multi-indices of one order, stacked along a leading axis; those that are left out are zero. */
export interface Rows {
  readonly indices: readonly MultiIndex[];
  readonly node: Node;
}

/** Derivatives of a node along the groups: entry k − 1 holds those of order k, undefined where all are zero. */
export type Series = readonly (Rows | undefined)[];

/** Nodes that a graph may have: ONNX Runtime takes half a minute and more to compile larger ones. */
const MOST_NODES = 30_000;

/** @throws OptionError where a graph has grown too large */
export function checkGrowth({ id }: Node): void {
  if (id > MOST_NODES)
    throw new OptionError(
      `order: its graph needs more than ${MOST_NODES} operations; take a lower order or fewer groups`,
    );
}

/**
 * Derivatives of a node, no choice and not composed, along the groups up to an order, from those of its inputs: multivariate Taylor mode
 * (Griewank & Walther, 2008, §13), with derivatives for coefficients.
 */
export function seriesOf(b: Builder, node: Node, known: ReadonlyMap<Node, Series>, order: number): Series {
  const inputs = node.inputs.map((input) => known.get(input) ?? []);
  const { op } = node;
  const orders = Array.from({ length: order }, (_, i) => i + 1);
  switch (op.kind) {
    case "linear":
      return orders.map((k) => linearRows(b, { ...node, op }, inputs, k));
    case "bilinear":
      return orders.map((k) => bilinearRows(b, { ...node, op }, inputs[0]!, inputs[1]!, k));
    case "elementwise": {
      const slopes = slopesOf(b, node, op, order);
      return orders.map((k) => elementwiseRows(b, inputs[0]!, slopes, k));
    }
    default:
      return internal(`${op.name} has no derivatives along the groups`);
  }
}

/** z_α = A x_α. */
function linearRows(
  b: Builder,
  node: Node & { op: LinearOp<unknown> },
  inputs: readonly Series[],
  order: number,
): Rows | undefined {
  const pushed = inputs.map((series, index) => {
    const rows = series[order - 1];
    return rows && { ...rows, node: node.op.push(b, node, rows.node, index, 1) };
  });
  return total(b, pushed);
}

/** z_α = Σ B(x_β, y_γ) over all ways to share out α. */
function bilinearRows(
  b: Builder,
  node: Node & { op: BilinearOp<unknown> },
  x: Series,
  y: Series,
  order: number,
): Rows | undefined {
  const [left, right] = node.inputs as [Node, Node];
  const [own, other] = [x[order - 1], y[order - 1]];
  const along = [
    own && { ...own, node: node.op.stacked(b, node, own.node, right, [1, 0]) },
    other && { ...other, node: node.op.stacked(b, node, left, other.node, [0, 1]) },
  ];
  const mixed = Array.from({ length: order - 1 }, (_, i) => i + 1).flatMap((k) =>
    productRows(b, node, x[k - 1], y[order - k - 1]),
  );
  return total(b, [...along, ...mixed]);
}

/** B(x_β, y_γ) for all β and γ. The side with fewer rows goes row by row: to repeat a weight would cost more. */
function productRows(b: Builder, node: Node & { op: BilinearOp<unknown> }, x?: Rows, y?: Rows): Rows[] {
  if (!x || !y) return [];
  const [few, many] = y.indices.length <= x.indices.length ? [y, x] : [x, y];
  return few.indices.map((index, i) => {
    const row = rowOf(b, few.node, i);
    const products =
      few === y ? node.op.stacked(b, node, many.node, row, [1, 0]) : node.op.stacked(b, node, row, many.node, [0, 1]);
    const counts = many.indices.map((each) => sharings(each, index));
    return { indices: many.indices.map((each) => merged(each, index)), node: scaleRows(b, products, counts) };
  });
}

/** z_α = Σ count f^(m)(x) x_β x_γ …, the chain rule. */
function elementwiseRows(b: Builder, x: Series, slopes: Slopes, order: number): Rows | undefined {
  const parts = productsByOrders(x, order).map(({ indices, products }) => {
    const slope = slopes[products[0]!.factors.length - 1];
    if (!slope) return undefined;
    const node = mul(
      b,
      multiply(
        b,
        x,
        products.map(({ factors }) => factors),
      )!,
      slope,
    );
    const counts = products.map(({ count }) => count);
    return { indices, node: scaleRows(b, node, counts) };
  });
  return total(b, parts);
}

/** f', f'', … at a node's input; undefined where they are zero everywhere. */
export type Slopes = readonly (Node | undefined)[];

/** The first derivatives of an elementwise operation: three of its own, and beyond them the derivatives of these. */
export function slopesOf(b: Builder, node: Node, op: ElementwiseOp<unknown>, order: number): Slopes {
  const slopes: (Node | undefined)[] = [];
  for (let m = 1; m <= order; m++) {
    const last = slopes.at(-1);
    if (last) checkGrowth(last);
    // The gradient of a sum over entries that depend on one entry each: the entries' own derivatives.
    const next =
      m <= 3 ? op.derivative(b, node, m as 1 | 2 | 3) : last && gradients(b, sum(b, last), [node.inputs[0]!])[0];
    slopes.push(next);
  }
  return slopes;
}

/** Products of the chain rule whose factors have the same orders, and the multi-indices that they belong to. */
export interface Alike {
  readonly indices: readonly MultiIndex[];
  readonly products: readonly Product[];
}

/** The products of the chain rule for all multi-indices of an order, without those that are zero. */
export function productsByOrders(x: Series, order: number): Alike[] {
  const present = new Set(x.flatMap((rows) => rows?.indices.map(keyOf) ?? []));
  const groups = [...new Set(x.flatMap((rows) => rows?.indices.flat() ?? []))].sort((s, t) => s - t);
  const kinds = new Map<string, { indices: MultiIndex[]; products: Product[] }>();
  for (const index of multiIndices(groups, order))
    for (const product of chainRule(index)) {
      if (!product.factors.every((factor) => present.has(keyOf(factor)))) continue;
      const kind = product.factors.map(({ length }) => length).join();
      const alike = kinds.get(kind) ?? { indices: [], products: [] };
      alike.indices.push(index);
      alike.products.push(product);
      kinds.set(kind, alike);
    }
  return [...kinds.values()];
}

/** Rows of products x_β x_γ …: one row for each list of factors, which all have the same orders; undefined for empty ones. */
export function multiply(b: Builder, x: Series, lists: readonly (readonly MultiIndex[])[]): Node | undefined {
  const factors = lists[0]!.map(({ length }, i) =>
    pick(
      b,
      x[length - 1]!,
      lists.map((list) => list[i]!),
    ),
  );
  return factors.reduce<Node | undefined>((product, factor) => (product ? mul(b, product, factor) : factor), undefined);
}

/** The rows of some multi-indices, which may repeat. */
function pick(b: Builder, { indices, node }: Rows, wanted: readonly MultiIndex[]): Node {
  const keys = indices.map(keyOf);
  const places = new Map(keys.map((key, i) => [key, i]));
  if (keys.length === wanted.length && wanted.every((index, i) => keyOf(index) === keys[i])) return node;
  const rows = wanted.map((index) => places.get(keyOf(index))!);
  return indexSelect(b, node, constant(b, rows, [rows.length], "int"), 0);
}

function rowOf(b: Builder, stack: Node, row: number): Node {
  return reshape(b, slice(b, stack, 0, row, row + 1), stack.shape.slice(1));
}

/** Each row times a number of its own. */
function scaleRows(b: Builder, stack: Node, factors: readonly number[]): Node {
  if (factors.every((factor) => factor === factors[0])) return scale(b, stack, factors[0]!);
  return mul(b, stack, constant(b, factors, [factors.length, ...stack.shape.slice(1).map(() => 1)]));
}

/** The sum of rows, those of one multi-index together. */
function total(b: Builder, parts: readonly (Rows | undefined)[]): Rows | undefined {
  const alike = new Map<string, Rows>();
  for (const part of parts) {
    if (!part) continue;
    const key = part.indices.map(keyOf).join(" ");
    const known = alike.get(key);
    alike.set(key, known ? { ...part, node: add(b, known.node, part.node) } : part);
  }
  const rows = [...alike.values()];
  if (rows.length === 0) return undefined;
  const all = rows.flatMap(({ indices }) => indices);
  const node = concat(
    b,
    rows.map((each) => each.node),
    0,
  );
  const distinct = new Map(all.map((index) => [keyOf(index), index]));
  if (distinct.size === all.length) return { indices: all, node };
  const places = new Map([...distinct.keys()].map((key, i) => [key, i]));
  const targets = all.map((index) => places.get(keyOf(index))!);
  const sums = indexAdd(b, node, constant(b, targets, [targets.length], "int"), 0, distinct.size);
  return { indices: [...distinct.values()], node: sums };
}
