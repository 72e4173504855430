import { countOf, type Graph, isBatch, type Node } from "../graph/index.ts";

/** A product of two matrices, either transposed, with something added: one Gemm operator. */
export interface Gemm {
  readonly left: Node;
  readonly right: Node;
  readonly added: Node | undefined;
  readonly transA: 0 | 1;
  readonly transB: 0 | 1;
}

/**
 * Finds the products to write as Gemm, by the node whose value the operator gives. A sum takes its product in where that
 * is used nowhere else; a transposed factor is read as it lies. https://onnx.ai/onnx/operators/onnx__Gemm.html
 */
export function findGemms(graph: Graph): {
  readonly gemms: ReadonlyMap<Node, Gemm>;
  readonly absorbed: ReadonlySet<Node>;
} {
  const uses = countUses(graph);
  const gemms = new Map<Node, Gemm>();
  const absorbed = new Set<Node>();
  for (const node of graph.nodes) {
    const product =
      node.op.name === "add" ? node.inputs.find((input) => isMatrixProduct(input) && uses.get(input) === 1) : undefined;
    const other = product && node.inputs[node.inputs[0] === product ? 1 : 0]!;
    const added = other && addable(other, node);
    if (product && added) {
      gemms.set(node, gemmOf(product, added));
      gemms.delete(product);
      absorbed.add(product);
    } else if (isMatrixProduct(node)) gemms.set(node, gemmOf(node, undefined));
  }
  for (const [node, { added, transA, transB }] of gemms) if (!added && !transA && !transB) gemms.delete(node);
  return { gemms, absorbed };
}

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
  return { left: left!.node, right: right!.node, added, transA: left!.transposed, transB: right!.transposed };
}

function withoutTranspose(node: Node): { node: Node; transposed: 0 | 1 } {
  const transposed = node.op.name === "permute" && node.shape.length === 2;
  return transposed ? { node: node.inputs[0]!, transposed: 1 } : { node, transposed: 0 };
}
