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
import { broadcast, input, mul } from "../ops/index.ts";

/** The name of the input that holds the part's share of the batch: its samples over all samples. */
export const BATCH_SHARE = "batchShare";

/** How a loss is computed part by part, or why it is not. */
export type BatchSplit =
  | {
      readonly splits: true;
      /** What one part adds to the loss; the sum over the parts is the loss of the whole batch. */
      readonly loss: Node;
      /** Values that need the whole batch but no parameter: inputs of `loss`, to be computed ahead. */
      readonly totals: readonly GraphInput[];
    }
  | { readonly splits: false; readonly reason: string };

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

class Splitter {
  readonly #b: Builder;
  readonly #loss: Node;
  readonly #nodes: readonly Node[];
  readonly #parameterized: ReadonlySet<Node>;
  readonly #totals = new Map<Node, GraphInput>();
  #culprit: Node | undefined;

  constructor(b: Builder, loss: Node, parameters: readonly Node[]) {
    this.#b = b;
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
    const loss = placed.get(this.#loss)!;
    if (loss.role === "sample" || loss.role === "coupled") {
      const { op, shape } = this.#culprit ?? this.#loss;
      return { splits: false, reason: `${op.name} ${formatShape(shape)} mixes the samples of a batch` };
    }
    const part = loss.role === "free" ? this.#share(loss.node) : loss.node;
    return { splits: true, loss: part, totals: [...this.#totals.values()] };
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
      if (this.#parameterized.has(node)) this.#culprit ??= node;
      return { role, node, whole: node };
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
