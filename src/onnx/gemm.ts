import { countOf, type Graph, isBatch, type Node } from "../graph/index.ts";
import type { Primitive } from "../ops/index.ts";

/** A product of two matrices, either transposed, with something added or taken off: one Gemm operator. */
export interface Gemm {
  readonly left: Node;
  readonly right: Node;
  readonly added: Node | undefined;
  readonly transA: 0 | 1;
  readonly transB: 0 | 1;
  /** The signs of the product and of what is added. */
  readonly alpha: Sign;
  readonly beta: Sign;
}

type Sign = 1 | -1;

/**
 * Finds the products to write as Gemm, by the node whose value the operator gives. A sum or difference takes its product in
 * where that is used nowhere else; a transposed factor is read as it lies. https://onnx.ai/onnx/operators/onnx__Gemm.html
 */
export function findGemms(graph: Graph): {
  readonly gemms: ReadonlyMap<Node, Gemm>;
  readonly absorbed: ReadonlySet<Node>;
} {
  const uses = countUses(graph);
  const gemms = new Map<Node, Gemm>();
  const absorbed = new Set<Node>();
  for (const node of graph.nodes) {
    const at = node.op.name in SIGNS ? node.inputs.findIndex((x) => isMatrixProduct(x) && uses.get(x) === 1) : -1;
    const product = node.inputs[at];
    const added = product && addable(node.inputs[1 - at]!, node);
    if (product && added) {
      const signs = SIGNS[node.op.name]!;
      gemms.set(node, { ...gemmOf(product, added), alpha: signs[at]!, beta: signs[1 - at]! });
      gemms.delete(product);
      absorbed.add(product);
    } else if (isMatrixProduct(node)) gemms.set(node, gemmOf(node, undefined));
  }
  for (const [node, { added, transA, transB }] of gemms) if (!added && !transA && !transB) gemms.delete(node);
  return { gemms, absorbed };
}

/** Of the operands of what a product may be taken into. */
const SIGNS: Readonly<Record<string, readonly Sign[]>> = { add: [1, 1], sub: [1, -1] } satisfies Partial<
  Record<Primitive, readonly Sign[]>
>;

function countUses(graph: Graph): Map<Node, number> {
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

function gemmOf(product: Node, added: Node | undefined): Gemm {
  const [left, right] = product.inputs.map(withoutTranspose);
  return {
    left: left!.node,
    right: right!.node,
    added,
    transA: left!.transposed,
    transB: right!.transposed,
    alpha: 1,
    beta: 1,
  };
}

function withoutTranspose(node: Node): { node: Node; transposed: 0 | 1 } {
  const transposed = node.op.name === "permute" && node.shape.length === 2;
  return transposed ? { node: node.inputs[0]!, transposed: 1 } : { node, transposed: 0 };
}
