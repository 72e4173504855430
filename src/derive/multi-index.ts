import type { GroupIndex } from "./stack.ts";

/** The groups that a derivative is taken along, ascending: ∂³/∂η_0∂η_2∂η_2 is [0, 2, 2]. Derivatives are symmetric. */
export type MultiIndex = readonly GroupIndex[];

export function keyOf(index: MultiIndex): string {
  return index.join();
}

/** All multi-indices of an order over some groups. */
export function multiIndices(groups: readonly GroupIndex[], order: number): MultiIndex[] {
  if (order === 0) return [[]];
  return groups.flatMap((group, i) => multiIndices(groups.slice(i), order - 1).map((rest) => [group, ...rest]));
}

/** The groups of both, ascending. */
export function merged(x: MultiIndex, y: MultiIndex): MultiIndex {
  return [...x, ...y].sort((s, t) => s - t);
}

/** In how many ways the derivatives of `merged(x, y)` can be shared out to two factors so that each gets its own. */
export function sharings(x: MultiIndex, y: MultiIndex): number {
  let ways = 1;
  for (const group of new Set(x)) {
    const [own, other] = [x, y].map((index) => index.filter((each) => each === group).length) as [number, number];
    for (let i = 1; i <= own; i++) ways *= (other + i) / i;
  }
  return Math.round(ways);
}

/** A product of derivatives of one value x, and how often the chain rule has it. */
export interface Product {
  /** x_β, x_γ, …, those of the highest order first. */
  readonly factors: readonly MultiIndex[];
  readonly count: number;
}

/** The derivative of f(x) along a multi-index, Σ count f^(m)(x) x_β x_γ … with m factors each: Faà di Bruno's formula. */
export function chainRule(index: MultiIndex): readonly Product[] {
  let products: readonly Product[] = [{ factors: [], count: 1 }];
  for (const group of index) {
    const next = new Map<string, Product>();
    const add = (unordered: readonly MultiIndex[], count: number): void => {
      const factors = [...unordered].sort(highestFirst);
      const key = factors.map(keyOf).join(" ");
      next.set(key, { factors, count: count + (next.get(key)?.count ?? 0) });
    };
    for (const { factors, count } of products) {
      add([...factors, [group]], count);
      factors.forEach((factor, i) => {
        add(factors.with(i, merged(factor, [group])), count);
      });
    }
    products = [...next.values()];
  }
  return products;
}

function highestFirst(x: MultiIndex, y: MultiIndex): number {
  if (x.length !== y.length) return y.length - x.length;
  const at = x.findIndex((group, i) => group !== y[i]);
  return at < 0 ? 0 : x[at]! - y[at]!;
}

/**
 * How many products the chain rule has for all multi-indices of an order over so many groups: what one elementwise
 * operation costs at most. It is the number of multisets of multi-indices whose orders add up to that order.
 */
export function productCount(groups: number, order: number): number {
  const ways = Array.from({ length: order + 1 }, (_, total) => Number(total === 0));
  for (let size = 1; size <= order; size++) {
    const kinds = binomial(groups + size - 1, size);
    for (let total = order; total >= size; total--)
      for (let taken = 1; taken * size <= total; taken++)
        ways[total]! += ways[total - taken * size]! * binomial(kinds + taken - 1, taken);
  }
  return ways[order]!;
}

function binomial(n: number, k: number): number {
  let value = 1;
  for (let i = 1; i <= k; i++) value = (value * (n - k + i)) / i;
  return Math.round(value);
}
