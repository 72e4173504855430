import { countOf, type Graph, isBatch, type Node } from "../graph/index.ts";
import type { Primitive } from "../ops/index.ts";
import type { Lowering, Precision } from "./lowering.ts";

/** A product of two matrices, either transposed, times a number, with something added or taken off: one Gemm operator. */
export interface Gemm {
  readonly left: Node;
  readonly right: Node;
  readonly added: Node | undefined;
  readonly transA: 0 | 1;
  readonly transB: 0 | 1;
  /** What the product is multiplied by, and what is added. */
  readonly alpha: number;
  readonly beta: number;
}

/**
 * Finds the products to write as Gemm, by the node whose value the operator gives. A multiple, sum or difference takes its
 * product in where that is used nowhere else, and a multiple that is added to it; a transposed factor is read as it lies.
 * https://onnx.ai/onnx/operators/onnx__Gemm.html
 */
export function findGemms(
  graph: Graph,
  uses: ReadonlyMap<Node, number>,
  precision: Precision,
): { readonly gemms: ReadonlyMap<Node, Gemm>; readonly absorbed: ReadonlySet<Node> } {
  const gemms = new Map<Node, Gemm>();
  const absorbed = new Set<Node>();
  const taken = (node: Node | undefined): Gemm | undefined => (uses.get(node!) === 1 ? gemms.get(node!) : undefined);
  const take = (node: Node, product: Node, gemm: Gemm): void => {
    gemms.set(node, gemm);
    gemms.delete(product);
    absorbed.add(product);
  };
  /** Of a multiple that is no product itself and used nowhere else. */
  const ownFactor = (term: Node): number | undefined => {
    const isOwn = term.op.name === "scale" && uses.get(term) === 1 && !gemms.has(term);
    return isOwn && isExact(factorOf(term), precision) ? factorOf(term) : undefined;
  };
  for (const node of graph.nodes) {
    const { op, inputs } = node;
    if (isMatrixProduct(node)) gemms.set(node, gemmOf(node));
    else if (op.name === "scale") {
      const [product, factor] = [inputs[0]!, factorOf(node)];
      const gemm = taken(product);
      if (gemm && !gemm.added && isExact(factor, precision)) take(node, product, { ...gemm, alpha: factor });
    } else if (op.name in SIGNS) {
      const at = inputs.findIndex((x) => taken(x) && !taken(x)!.added);
      if (at < 0) continue;
      const [gemm, signs, term] = [taken(inputs[at])!, SIGNS[op.name]!, inputs[1 - at]!];
      const factor = ownFactor(term);
      const added = addable(factor === undefined ? term : term.inputs[0]!, node);
      if (!added) continue;
      take(node, inputs[at]!, {
        ...gemm,
        added,
        alpha: signs[at]! * gemm.alpha,
        beta: signs[1 - at]! * (factor ?? 1),
      });
      if (factor !== undefined) absorbed.add(term);
    }
  }
  for (const [node, { added, transA, transB, alpha }] of gemms)
    if (!added && !transA && !transB && alpha === 1) gemms.delete(node);
  return { gemms, absorbed };
}

/** Of the operands of what a product may be taken into. */
const SIGNS: Readonly<Record<string, readonly [number, number]>> = { add: [1, 1], sub: [1, -1] } satisfies Partial<
  Record<Primitive, readonly [number, number]>
>;

function factorOf({ attrs }: Node): number {
  return (attrs as { factor: number }).factor;
}

/** Whether a number is as good in an attribute, which is a float32. */
function isExact(factor: number, precision: Precision): boolean {
  return precision === "float32" || Math.fround(factor) === factor;
}

/** How often each node is read, by others or from outside. */
export function countUses(graph: Graph): Map<Node, number> {
  const uses = new Map<Node, number>();
  const used = [...graph.nodes.flatMap((node) => node.inputs), ...graph.outputs.values()];
  for (const node of used) uses.set(node, (uses.get(node) ?? 0) + 1);
  return uses;
}

function isMatrixProduct({ op, inputs }: Node): boolean {
  return op.name === "matmul" && inputs.every(({ shape }) => shape.length === 2);
}

/** What Gemm adds: a row that it repeats itself, or a whole matrix. */
function addable(node: Node, sum: Node): Node | undefined {
  if (node.op.name !== "broadcast") return node;
  const [source] = node.inputs;
  const [last] = sum.shape.slice(-1);
  const row = source!.shape.at(-1) === last && countOf(source!.shape).factor === last && !isBatch(last!);
  return row ? source : undefined;
}

/**
 * Columns of a product from which on its left factor is transposed by itself: MLAS, ONNX Runtime's products, transposes it
 * anew for every 128 columns.
 */
const WIDE = 512;

function gemmOf(product: Node): Gemm {
  const [x, y] = product.inputs as [Node, Node];
  const columns = product.shape[1]!;
  const isWide = !isBatch(columns) && columns >= WIDE;
  const [left, right] = [isWide ? { node: x, transposed: 0 as const } : withoutTranspose(x), withoutTranspose(y)];
  const [transA, transB] = [left.transposed, right.transposed];
  return { left: left.node, right: right.node, added: undefined, transA, transB, alpha: 1, beta: 1 };
}

function withoutTranspose(node: Node): { node: Node; transposed: 0 | 1 } {
  const transposed = node.op.name === "permute" && node.shape.length === 2;
  return transposed ? { node: node.inputs[0]!, transposed: 1 } : { node, transposed: 0 };
}

/** Writes a product, from the names of its factors and of what is added. */
export function lowerGemm(to: Lowering, { transA, transB, alpha, beta }: Gemm, operands: readonly string[]): string {
  return to.emit("Gemm", operands, { transA, transB, alpha: { float: alpha }, beta: { float: beta } });
}

/** What a product reads, in the order of the operator. */
export function operandsOfGemm({ left, right, added }: Gemm): readonly Node[] {
  return added ? [left, right, added] : [left, right];
}
