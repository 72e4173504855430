import { concrete, type Dim, type Graph, isBatch, mergeDims, type Node, type Shape, sameDim } from "../graph/index.ts";
import { sizeOf } from "../util/ndarray.ts";
import type { Gemm } from "./gemm.ts";

/**
 * The engine's convolutions have a layout of their own, with channels in blocks of as many numbers as the processor works on
 * at once. As convolutions by kernels of one entry they multiply matrices faster than its matrix products do. Here a matrix
 * [rows, columns] in blocks is [columns / size, rows, size], and a stack of matrices a stack of such.
 */
export interface Blocking {
  /** Columns in a block. */
  readonly size: number;
  /** How many samples runs have. */
  readonly samples: number;
  /** Multiplications for each entry of its factors and itself from which on a product is faster in blocks. */
  readonly worth: number;
}

/** A factor of a product: a matrix or a stack of them, as it is or transposed. */
export interface Factor {
  readonly node: Node;
  readonly transposed: boolean;
}

/** A product of matrices in blocks, and what the operator that gives it does besides. */
export interface Product {
  readonly left: Factor;
  readonly right: Factor;
  /** The length that is summed over. */
  readonly inner: Dim;
  readonly gemm: Gemm | undefined;
}

/** Which values of a graph are computed in blocks. */
export interface Blocks {
  readonly products: ReadonlyMap<Node, Product>;
  /** The products, and what is computed from them entry by entry and read in blocks again. */
  readonly values: ReadonlySet<Node>;
  /** Products of whole tensors, entry by entry summed up, for which the order of entries does not matter. */
  readonly contractions: ReadonlyMap<Node, Contraction>;
}

/** Both factors as stacks: of what is multiplied entry by entry. */
export interface Contraction {
  readonly left: Node;
  readonly right: Node;
}

/** What the operators that a graph is lowered to read. */
export interface Reading {
  readonly gemms: ReadonlyMap<Node, Gemm>;
  readonly absorbed: ReadonlySet<Node>;
  /** The inputs of a node that goes entry by entry. */
  readonly operands: (node: Node) => readonly Node[];
}

/** Finds what is faster in blocks; none if nothing is. */
export function findBlocks({ nodes }: Graph, reading: Reading, blocking: Blocking): Blocks | undefined {
  const products = worthwhile(nodes, reading, blocking);
  if (products.size === 0) return undefined;
  const values = new Set<Node>(products.keys());
  for (const node of nodes)
    if (!reading.absorbed.has(node) && follows(node, values, reading, blocking)) values.add(node);
  const contractions = new Map<Node, Contraction>();
  const read = new Set<Node>();
  for (const node of nodes.toReversed()) {
    const contraction = products.has(node) ? undefined : contractionOf(reading.gemms.get(node), values, blocking);
    if (contraction) contractions.set(node, contraction);
    if (!products.has(node) && !read.has(node)) values.delete(node);
    for (const each of readInBlocks(node, values, products, contraction, reading)) read.add(each);
  }
  return { products, values, contractions };
}

/** The products that are faster in blocks; those by the same right factor are as one. */
function worthwhile(nodes: readonly Node[], { gemms, absorbed }: Reading, blocking: Blocking): Map<Node, Product> {
  const found = nodes.flatMap((node) => {
    const product = absorbed.has(node) ? undefined : productOf(node, gemms.get(node));
    return product && fits(node, product, blocking) ? [{ node, product }] : [];
  });
  const rows = new Map<Node, number>();
  for (const { node, product } of found) {
    const length = lengthOf(node.shape.slice(0, -1), blocking.samples);
    rows.set(product.right.node, (rows.get(product.right.node) ?? 0) + length);
  }
  const isWorth = ({ node, product: { right, inner } }: (typeof found)[number]): boolean => {
    const lengths = [rows.get(right.node)!, lengthOf([inner], blocking.samples), node.shape.at(-1) as number];
    return 1 / lengths.reduce((sum, length) => sum + 1 / length, 0) >= blocking.worth;
  };
  return new Map(found.filter(isWorth).map(({ node, product }) => [node, product]));
}

/** What a node reads in blocks, if it lies in them. */
function readInBlocks(
  node: Node,
  values: ReadonlySet<Node>,
  products: ReadonlyMap<Node, Product>,
  contraction: Contraction | undefined,
  { operands }: Reading,
): readonly Node[] {
  const product = products.get(node);
  if (product) {
    const factors = [product.left, product.right].flatMap(({ node, transposed }) => (transposed ? [] : [node]));
    return product.gemm?.added ? [...factors, product.gemm.added] : factors;
  }
  if (contraction) return [contraction.left, contraction.right];
  if (values.has(node)) return node.op.entrywise ? operands(node) : node.inputs;
  return sumsRows(node) ? node.inputs : [];
}

/** Whether a node is a sum over the rows of matrices at least. */
export function sumsRows({ op, inputs, attrs }: Node): boolean {
  return op.name === "sum" && (attrs as { axes: readonly number[] }).axes.includes(inputs[0]!.shape.length - 2);
}

function productOf(node: Node, gemm: Gemm | undefined): Product | undefined {
  if (gemm) {
    const left = factorOf(gemm.left, gemm.transA === 1);
    const right = factorOf(gemm.right, gemm.transB === 1);
    return { left, right, gemm, inner: innerOf(left) };
  }
  const [x, y] = node.inputs as [Node, Node];
  if (node.op.name !== "matmul" || y.shape.length !== 2) return undefined;
  const left = factorOf(x, false);
  return { left, right: factorOf(y, false), gemm, inner: innerOf(left) };
}

function factorOf(node: Node, transposed: boolean): Factor {
  const isTransposed = !transposed && node.op.name === "permute" && node.shape.length === 2;
  return isTransposed ? { node: node.inputs[0]!, transposed: true } : { node, transposed };
}

function innerOf({ node, transposed }: Factor): Dim {
  return node.shape.at(transposed ? -2 : -1)!;
}

/** Channels are put in blocks in fours. */
export const CHANNELS = 4;

/** A length in whole blocks. */
export function whole(length: number, size: number): number {
  return size * Math.ceil(length / size);
}

/** Whether a product can be computed in blocks. */
function fits(node: Node, { left, right, inner }: Product, { size, samples }: Blocking): boolean {
  const columns = node.shape.at(-1)!;
  if (isBatch(columns) || columns % size !== 0) return false;
  if (isBatch(inner) ? !left.transposed || lengthOf([inner], samples) % CHANNELS !== 0 : inner % size !== 0)
    return false;
  return [left.node.shape, right.node.shape, node.shape].every((shape) => shape.filter(isBatch).length <= 1);
}

/** Entries of a tensor, where runs have so many samples. */
export function lengthOf(shape: Shape, samples: number): number {
  return sizeOf(concrete(shape, samples));
}

/** Whether a node can be computed in blocks, and most of what it reads lies there. */
function follows(node: Node, values: ReadonlySet<Node>, { operands }: Reading, { size, samples }: Blocking): boolean {
  if (values.has(node) || !isMatrix(node.shape, size) || !(node.op.entrywise || isMove(node))) return false;
  const read = operands(node);
  if (read.some((x) => values.has(x) && !hasMatrices(x.shape, node.shape))) return false;
  return mostlyIn(
    values,
    read.filter(({ shape }) => hasMatrices(shape, node.shape)),
    samples,
  );
}

/** Whether more entries lie in blocks than do not. */
function mostlyIn(values: ReadonlySet<Node>, nodes: readonly Node[], samples: number): boolean {
  const balance = nodes.map((node) => (values.has(node) ? 1 : -1) * lengthOf(node.shape, samples));
  return balance.reduce((sum, entries) => sum + entries, 0) > 0;
}

function isMatrix(shape: Shape, size: number): boolean {
  const columns = shape.at(-1);
  return shape.length >= 2 && typeof columns === "number" && columns % size === 0 && shape.filter(isBatch).length <= 1;
}

/** Whether two shapes end in the same matrix. */
function hasMatrices(shape: Shape, of: Shape): boolean {
  return shape.length >= 2 && [-1, -2].every((axis) => sameDim(shape.at(axis)!, of.at(axis)!));
}

/** Whether a node only puts matrices in another order, or together. */
function isMove({ op, attrs, inputs, shape }: Node): boolean {
  if (op.name === "reshape") return hasMatrices(inputs[0]!.shape, shape);
  const moves = op.name === "concat" || op.name === "slice";
  return moves && (attrs as { axis: number }).axis < shape.length - 2;
}

/** The factors of a product that sums over all entries of matrices, where that is to be read in blocks. */
function contractionOf(
  gemm: Gemm | undefined,
  values: ReadonlySet<Node>,
  { size, samples }: Blocking,
): Contraction | undefined {
  if (!gemm || gemm.transA || !gemm.transB) return undefined;
  const source = (x: Node): Node => (x.op.name === "reshape" ? x.inputs[0]! : x);
  const [left, right] = [source(gemm.left), source(gemm.right)];
  const isWhole = isMatrix(left.shape, size) && hasMatrices(left.shape, right.shape);
  if (!isWhole || !sameDim(mergeDims(left.shape.slice(-2)), gemm.left.shape[1]!)) return undefined;
  return mostlyIn(values, [left, right], samples) ? { left, right } : undefined;
}
