import {
  ancestors,
  type Builder,
  countOf,
  dependents,
  formatShape,
  type GraphInput,
  type Node,
  type Shape,
} from "../graph/index.ts";
import { batchSize, broadcast, input, mul } from "../ops/index.ts";
import { rewrite } from "./active.ts";

/** The name of the input that holds the part's share of the batch: its samples over all samples. */
export const BATCH_SHARE = "batchShare";

/** The name of the input that holds the part's samples, for what is computed of it as of a batch of its own. */
export const PART_SIZE = "partSize";

/** How a loss is computed part by part, or why it is not. */
export type BatchSplit = SplitLoss | { readonly splits: false; readonly reason: string };

/** How a loss is computed part by part. */
export interface SplitLoss {
  readonly splits: true;
  /** What one part adds to the loss; the sum over the parts is the loss of the whole batch. */
  readonly loss: Node;
  /** Values that need the whole batch but no parameter: inputs of `loss`, to be computed ahead. */
  readonly totals: readonly GraphInput[];
  /** Why the loss depends on how the batch is cut; undefined where it does not. */
  readonly coupled: string | undefined;
}

/**
 * What a value is, seen by one part of the batch: `free` – it does not depend on the samples; `sample` – each sample's
 * part depends on that sample alone; `additive` – the sum of what the parts give; `coupled` – anything else.
 */
type Role = "free" | "sample" | "additive" | "coupled";

interface Placed {
  readonly role: Role;
  /** The value in the program for one part; of no use where `coupled`. */
  readonly node: Node;
  /** The value in the program for the whole batch. */
  readonly whole: Node;
}

/**
 * Writes a loss as a sum over the parts of a batch, if it is one. A factor such as 1 / Σ weights, which needs the whole
 * batch but no parameter, becomes an input; a term without samples, such as a penalty on the weights, is shared out.
 */
export function splitBatch(b: Builder, loss: Node, parameters: readonly Node[]): BatchSplit {
  return new Splitter(b, loss, parameters).result();
}

/**
 * The same for parts that are given: what couples the samples is computed of each part alone, as gradient accumulation does
 * with batch norm. The rest is that of the whole batch: a mean over class weights is divided by their sum over all parts. A
 * loss that is then no sum over the parts is their mean, weighted by samples.
 */
export function splitAsGiven(b: Builder, loss: Node, parameters: readonly Node[]): SplitLoss {
  return new Splitter(b, loss, parameters, ofParts(b, [loss])).result() as SplitLoss;
}

/** The values that `roots` need, of a part as of a batch of its own. */
export function ofParts(b: Builder, roots: readonly Node[]): ReadonlyMap<Node, Node> {
  const [whole, part] = [batchSize(b), input(b, PART_SIZE, [])];
  return rewrite(b, roots, (node) => (node === whole ? part : undefined));
}

class Splitter {
  readonly #b: Builder;
  readonly #loss: Node;
  readonly #nodes: readonly Node[];
  readonly #parameterized: ReadonlySet<Node>;
  readonly #totals = new Map<Node, GraphInput>();
  /** Values of a part as of a batch of its own, where they may stand for those that couple samples. */
  readonly #ofParts: ReadonlyMap<Node, Node> | undefined;
  #culprit: Node | undefined;

  constructor(b: Builder, loss: Node, parameters: readonly Node[], ofParts?: ReadonlyMap<Node, Node>) {
    this.#b = b;
    this.#ofParts = ofParts;
    this.#loss = loss;
    this.#nodes = ancestors([loss]);
    this.#parameterized = dependents(this.#nodes, parameters);
  }

  result(): BatchSplit {
    const placed = new Map<Node, Placed>();
    for (const node of this.#nodes) {
      const inputs = node.inputs.map((each) => placed.get(each)!);
      placed.set(node, this.#place(node, inputs));
    }
    const { role, node } = placed.get(this.#loss)!;
    if (role === "sample" || role === "coupled") {
      const reason = this.#reasonOf(this.#culprit ?? this.#loss);
      const own = this.#ofParts?.get(this.#loss);
      return own ? { splits: true, loss: this.#share(own), totals: [], coupled: reason } : { splits: false, reason };
    }
    const coupled = this.#culprit && this.#reasonOf(this.#culprit);
    const part = role === "free" ? this.#share(node) : node;
    return { splits: true, loss: part, totals: [...this.#totals.values()], coupled };
  }

  #reasonOf({ op, shape }: Node): string {
    return `${op.name} ${formatShape(shape)} mixes the samples of a batch`;
  }

  #place(node: Node, inputs: readonly Placed[]): Placed {
    if (inputs.length === 0) return { role: growthRole(node.shape), node, whole: node };
    if (inputs.every(({ role }) => role === "free")) return this.#make(node, growthRole(node.shape), inputs);
    const { op } = node;
    switch (op.kind) {
      case "linear":
      case "bilinear":
        return this.#placeProduct(node, inputs, op.batchRule(node));
      case "constant":
      case "choice":
      case "composed":
        return this.#placeKept(node, inputs, op.batchRule(node) === "kept");
      default:
        return this.#placeKept(node, inputs, true);
    }
  }

  /** Operations that only go sample by sample. */
  #placeKept(node: Node, inputs: readonly Placed[], kept: boolean): Placed {
    const settled = inputs.map((each) => this.#settle(each));
    const roles = settled.map(({ role }) => role);
    if (roles.includes("coupled") || roles.includes("additive")) return this.#make(node, "coupled", settled);
    if (roles.every((role) => role === "free")) return this.#make(node, growthRole(node.shape), settled);
    return this.#make(node, kept ? sampleRole(node.shape) : "coupled", settled);
  }

  #placeProduct(node: Node, inputs: readonly Placed[], rule: "kept" | "summed" | "coupled"): Placed {
    const hasSamples = inputs.some(({ role }) => role === "sample");
    if (rule === "kept" && !hasSamples && countOf(node.shape).power === 0) {
      const sums = this.#placeSum(node, inputs);
      if (sums) return sums;
    }
    if (rule !== "summed") return this.#placeKept(node, inputs, rule === "kept");
    const settled = inputs.map((each) => this.#settle(each));
    const clean = settled.every(({ role }) => role === "free" || role === "sample");
    return this.#make(node, clean && countOf(node.shape).power === 0 ? "additive" : "coupled", settled);
  }

  /** Sums over samples, added up, scaled, or moved: still sums over samples. */
  #placeSum(node: Node, inputs: readonly Placed[]): Placed | undefined {
    // Whole numbers and conditions choose: each part must know them whole.
    const known = inputs.map((each) => (each.node.dtype === "float" ? each : this.#settle(each)));
    const summed = ({ role, node: { dtype } }: Placed): boolean => role === "additive" && dtype === "float";
    if (!known.every((each) => each.role === "free" || summed(each)) || !known.some(summed)) return undefined;
    if (node.op.kind === "linear") {
      const shared = known.map((each) =>
        each.role === "free" && each.node.dtype === "float" ? { ...each, node: this.#share(each.node) } : each,
      );
      return this.#make(node, "additive", shared);
    }
    const [x, y] = known as [Placed, Placed];
    if (x.role === "free" || y.role === "free") return this.#make(node, "additive", known);
    const left = this.#settle(x);
    const right = left.role === "free" ? y : this.#settle(y);
    if (left.role !== "free" && right.role !== "free") return undefined;
    return this.#make(node, "additive", [left, right]);
  }

  /** A value of the whole batch as an input, where it needs no parameter. */
  #settle(placed: Placed): Placed {
    const { role, whole } = placed;
    const global = role === "additive" || (role === "coupled" && countOf(whole.shape).power === 0);
    if (!global || this.#parameterized.has(whole)) return placed;
    const known = this.#totals.get(whole) ?? { name: `total${this.#totals.size}`, node: whole };
    this.#totals.set(whole, known);
    return { role: "free", node: input(this.#b, known.name, whole.shape, whole.dtype), whole };
  }

  #share(node: Node): Node {
    return mul(this.#b, node, broadcast(this.#b, input(this.#b, BATCH_SHARE, []), node.shape));
  }

  #make(node: Node, role: Role, inputs: readonly Placed[]): Placed {
    if (role === "coupled") {
      const own = sampleRole(node.shape) === "sample" ? this.#ofParts?.get(node) : undefined;
      if (own || this.#parameterized.has(node)) this.#culprit ??= node;
      return own ? { role: "sample", node: own, whole: node } : { role, node, whole: node };
    }
    const made = this.#b.apply(
      node.op,
      inputs.map((each) => each.node),
      node.attrs,
    );
    return { role, node: made, whole: node };
  }
}

/** A value that no sample reaches is free until it is repeated along the batch axis. */
function growthRole(shape: Shape): Role {
  return countOf(shape).power === 0 ? "free" : sampleRole(shape);
}

function sampleRole(shape: Shape): Role {
  return countOf(shape).power === 1 ? "sample" : "coupled";
}
