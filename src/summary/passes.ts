import { type GroupIndex, type Seed, seedsOf, summarize, type Term, type TermKind } from "../derive/index.ts";
import { type Builder, type Graph, graphOf, type Node } from "../graph/index.ts";
import { peakSize } from "./memory.ts";

/** One run over the samples that gives part of a summary, or all of it. */
export interface Pass {
  /** Tells it apart from the other passes of a summary. */
  readonly name: string;
  readonly graph: Graph;
  /** What its one output holds. */
  readonly terms: readonly Term[];
}

/** All but the third derivatives: without them there are no second tangents either. */
const FIRST: ReadonlySet<TermKind> = new Set(["loss", "g", "H", "cross", "entry", "exit"]);
const THIRD: ReadonlySet<TermKind> = new Set(["loss", "order3"]);

/** In how many blocks the groups may be cut, fewer being cheaper. */
const BLOCKS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32];

/** A summary in one pass. */
export function onePass(b: Builder, loss: Node, seeds: readonly Seed[], order3: boolean): Pass {
  return passOf(b, loss, seeds, "", order3 ? undefined : FIRST);
}

/** The terms of some kinds, all by default. */
function passOf(
  b: Builder,
  loss: Node,
  seeds: readonly Seed[],
  name: string,
  kinds: ReadonlySet<TermKind> | undefined,
): Pass {
  const { packed, terms } = summarize(b, loss, seeds, kinds);
  return { name, graph: graphOf({ packed }), terms };
}

/**
 * A summary in passes whose values take at most `limit` real numbers, for a batch that cannot be split: its tangents are
 * then computed for some of the groups at a time. H̄ takes the first tangents of every two groups side by side: all groups
 * in one pass, or every two blocks of them in one. A third derivative takes first and second tangents, but of its own
 * group alone: one pass for each block. Where no cut keeps to the limit, the finest one is taken.
 */
export function severalPasses(
  b: Builder,
  loss: Node,
  seeds: readonly Seed[],
  { samples, limit, order3 }: { readonly samples: number; readonly limit: number; readonly order3: boolean },
): readonly Pass[] {
  const groups = [...new Set(seeds.flatMap(({ group }) => group))];
  const pass = (name: string, chosen: readonly GroupIndex[], kinds: ReadonlySet<TermKind>): Pass =>
    passOf(b, loss, seedsOf(b, seeds, chosen), name, kinds);
  const fits = ({ graph }: Pass): boolean => peakSize(graph, samples) <= limit;
  const first = (blocks: readonly GroupIndex[][]): Pass[] =>
    pairsOf(blocks).map((chosen, i) => pass(`H ${i} of ${blocks.length} blocks`, chosen, FIRST));
  const third = (blocks: readonly GroupIndex[][]): Pass[] =>
    blocks.map((chosen, i) => pass(`order3 ${i} of ${blocks.length} blocks`, chosen, THIRD));
  return (order3 ? [first, third] : [first]).flatMap((passes) => {
    let cut: readonly Pass[] = [];
    for (const count of BLOCKS.filter((each) => each <= groups.length)) {
      cut = passes(blocksOf(groups, count));
      if (cut.every(fits)) break;
    }
    return cut;
  });
}

/** Every `count`th group together, so that each block has some of every depth of the model. */
function blocksOf(groups: readonly GroupIndex[], count: number): GroupIndex[][] {
  return Array.from({ length: count }, (_, block) => groups.filter((_, i) => i % count === block));
}

/** Every two blocks as one; a single block alone. */
function pairsOf(blocks: readonly GroupIndex[][]): GroupIndex[][] {
  if (blocks.length === 1) return [...blocks];
  return blocks.flatMap((x, i) => blocks.slice(i + 1).map((y) => [...x, ...y].sort((s, t) => s - t)));
}
