import { afterParts, type Graph, GraphBuilder, graphOf, type InputAttrs, isBatch, type Node } from "../graph/index.ts";
import { add, broadcast, input, permute, slice } from "../ops/index.ts";
import { sizeOf } from "../util/ndarray.ts";
import { OWN } from "./lowering.ts";

/** Entries of a tile for each thread: a few, of 512 KB each, stay in the caches of a core; more tiles mean more operators. */
export const TILE = 2 ** 17;

/**
 * Nodes of a chain from which on it is faster in tiles: on one thread that of momentum is; on more, where each operator has to
 * bring them together, only longer ones such as Adam's (measured).
 */
export const CHAIN = { alone: 3, together: 6 } as const;

/** Tiles of a tensor at most: compiling takes time that grows faster than their number. */
const MOST_TILES = 64;

/** Some rows of an input or output: its name, the first of their entries, and their shape. */
export interface Rows {
  readonly of: string;
  readonly start: number;
  readonly shape: readonly number[];
}

/** A graph of which some inputs and outputs are rows of those of another. */
export interface TiledGraph {
  readonly graph: Graph;
  /** By the names in `graph`; what is not there is whole, and has the same name. */
  readonly inputs: ReadonlyMap<string, Rows>;
  readonly outputs: ReadonlyMap<string, Rows>;
}

/**
 * Cuts what goes entry by entry on its way to the outputs, as an optimiser's rule does, into tiles of some rows: a chain of
 * operators then works in the caches, where it would read and write all memory at each. Rows of an input or output are read
 * and written where they lie. What depends on the batch is left alone.
 * @param tile the most entries in a tile of more than one row, where there are not too many of them.
 * @param chain how many nodes that are connected are worth it; any, by default.
 */
export function tileGraph(graph: Graph, tile: number, chain: number = 1): TiledGraph {
  const plan = planOf(graph, tile, chain);
  if (plan.tiled.size === 0) return { graph, inputs: new Map(), outputs: new Map() };
  return new Tiling(graph, plan).result();
}

interface Plan {
  readonly tile: number;
  /** Nodes that are computed tile by tile. */
  readonly tiled: ReadonlySet<Node>;
  /** Nodes that nothing but these reads. */
  readonly private: ReadonlySet<Node>;
}

function planOf({ nodes, outputs }: Graph, tile: number, chain: number): Plan {
  const shared = new Set<Node>();
  const found = new Set<Node>();
  // Each node comes after those that read it.
  for (const node of nodes.toReversed()) {
    if (canTile(node, tile) && !shared.has(node)) found.add(node);
    else for (const each of readWhole(node, tile)) shared.add(each);
  }
  const tiled = longChains(nodes, found, chain);
  for (const node of found) if (!tiled.has(node)) for (const each of node.inputs) shared.add(each);
  for (const node of outputs.values()) shared.add(node);
  return { tile, tiled, private: new Set(nodes.filter((node) => !shared.has(node))) };
}

/** What a node that is not tiled reads other than tile by tile. */
function readWhole(node: Node, tile: number): readonly Node[] {
  return isTotal(node) && canTile(node.inputs[0]!, tile) ? [] : node.inputs;
}

/** Of `found`, those that are connected with at least so many, themselves included. */
function longChains(nodes: readonly Node[], found: ReadonlySet<Node>, least: number): Set<Node> {
  const chains = new Map<Node, Set<Node>>();
  for (const node of nodes) {
    if (!found.has(node)) continue;
    const met = new Set(node.inputs.flatMap((each) => chains.get(each) ?? []));
    const [longest = new Set<Node>(), ...others] = [...met].sort((a, b) => b.size - a.size);
    for (const each of [node, ...others.flatMap((chain) => [...chain])]) {
      longest.add(each);
      chains.set(each, longest);
    }
  }
  return new Set(nodes.filter((node) => (chains.get(node)?.size ?? 0) >= least));
}

/** Whether a node goes entry by entry and is longer than a tile. */
function canTile({ op, shape }: Node, tile: number): boolean {
  const long = !shape.some(isBatch) && shape.length > 0 && rowsIn(shape as number[], tile) < (shape[0] as number);
  return long && op.entrywise === true;
}

/** Whether a node is the sum of all entries of its input. */
function isTotal({ op, shape }: Node): boolean {
  return op.name === "sum" && shape.length === 0;
}

/** Rows in a tile. */
function rowsIn(shape: readonly number[], tile: number): number {
  return Math.max(1, Math.floor(tile / sizeOf(shape.slice(1))), Math.ceil(shape[0]! / MOST_TILES));
}

/** From a row to one that is not among them. */
type Range = readonly [from: number, to: number];

function rangesOf(shape: readonly number[], tile: number): Range[] {
  const [length, step] = [shape[0]!, rowsIn(shape, tile)];
  return Array.from({ length: Math.ceil(length / step) }, (_, i) => [i * step, Math.min(length, (i + 1) * step)]);
}

class Tiling {
  readonly #source: Graph;
  readonly #plan: Plan;
  readonly #b = new GraphBuilder();
  readonly #whole = new Map<Node, Node>();
  /** The tiles of a node, in their order. */
  readonly #tiles = new Map<Node, readonly Node[]>();
  readonly #inputs = new Map<string, Rows>();

  constructor(source: Graph, plan: Plan) {
    this.#source = source;
    this.#plan = plan;
  }

  result(): TiledGraph {
    for (const node of this.#source.nodes) this.#make(node);
    const made = new Map<string, Node>();
    const outputs = new Map<string, Rows>();
    for (const [of, node] of this.#source.outputs) {
      const tiles = this.#tiles.get(node);
      if (!tiles) made.set(of, this.#whole.get(node)!);
      else
        rangesOf(node.shape as number[], this.#plan.tile).forEach((range, i) => {
          const name = nameOf(of, range);
          made.set(name, tiles[i]!);
          outputs.set(name, rowsOf(of, node, range));
        });
    }
    const { ahead } = this.#source;
    const graph = graphOf(made);
    return { graph: ahead ? afterParts(graph, ahead) : graph, inputs: this.#inputs, outputs };
  }

  #make(node: Node): void {
    if (this.#plan.tiled.has(node)) this.#tiles.set(node, this.#tilesOf(node));
    else this.#whole.set(node, this.#wholeOf(node));
  }

  #tilesOf(node: Node): Node[] {
    return rangesOf(node.shape as number[], this.#plan.tile).map((range, i) => {
      const inputs = node.inputs.map((each) => this.#tiles.get(each)?.[i] ?? this.#rows(each, range));
      return this.#b.apply(node.op, inputs, node.attrs);
    });
  }

  #wholeOf(node: Node): Node {
    const terms = isTotal(node) ? this.#tiles.get(node.inputs[0]!) : undefined;
    const apply = (inputs: readonly Node[], attrs: unknown): Node => this.#b.apply(node.op, inputs, attrs);
    if (terms) return terms.map((tile) => apply([tile], node.attrs)).reduce((x, y) => add(this.#b, x, y));
    return apply(
      node.inputs.map((each) => this.#whole.get(each)!),
      node.attrs,
    );
  }

  /** Some rows of a node that is not tiled. */
  #rows(node: Node, [from, to]: Range): Node {
    const b = this.#b;
    const range: Range = [from, to];
    if (node.op.name === "input" && this.#isCut(node)) return this.#rowsOfInput(node, range);
    if (node.op.name === "broadcast") {
      const [source] = node.inputs;
      const repeats = source!.shape.length < node.shape.length || source!.shape[0] === 1;
      return broadcast(
        b,
        repeats ? this.#whole.get(source!)! : this.#rows(source!, range),
        node.shape.with(0, to - from),
      );
    }
    if (node.op.name === "permute") {
      const { order } = node.attrs as { order: readonly number[] };
      return permute(b, slice(b, this.#whole.get(node.inputs[0]!)!, order[0]!, from, to), order);
    }
    if (node.op.name === "matmul" && node.shape.length === 2 && this.#plan.private.has(node)) {
      const [left, right] = node.inputs;
      return b.apply(node.op, [this.#rows(left!, range), this.#whole.get(right!)!], node.attrs);
    }
    return slice(b, this.#whole.get(node)!, 0, from, to);
  }

  /** Whether rows of an input can be given: it is not added up ahead, and it is known where they lie. */
  #isCut({ attrs, shape }: Node): boolean {
    return !this.#source.ahead?.graph.outputs.has((attrs as InputAttrs).name) && !shape.some(isBatch);
  }

  #rowsOfInput(node: Node, range: Range): Node {
    const { name: of } = node.attrs as InputAttrs;
    const name = nameOf(of, range);
    const rows = rowsOf(of, node, range);
    this.#inputs.set(name, rows);
    return input(this.#b, name, rows.shape, node.dtype);
  }
}

function nameOf(of: string, [from, to]: Range): string {
  return `${OWN}rows:${from}:${to}:${of}`;
}

function rowsOf(of: string, { shape }: Node, [from, to]: Range): Rows {
  const [, ...rest] = shape as number[];
  return { of, start: from * sizeOf(rest), shape: [to - from, ...rest] };
}
