import { countOf, type Dim, isBatch, mergeDims, type Node, type Shape, type TensorType } from "../graph/index.ts";
import {
  type Blocking,
  type Blocks,
  type Contraction,
  type Factor,
  lengthOf,
  type Product,
  sumsRows,
  whole,
} from "./blocks.ts";
import { type Gemm, lowerGemm } from "./gemm.ts";
import { type Lowering, reshapeTo } from "./lowering.ts";

/** The engine's operators on channels in blocks, which it puts into graphs itself where a kernel is a constant. */
export const NCHWC = "com.microsoft.nchwc";

/** How the values of a graph are written that do not lie in blocks. */
export interface Plain {
  /** The name of a value as it is. */
  readonly lower: (node: Node) => string;
  /** Writes a node's operator, from the names of its operands. */
  readonly apply: (node: Node, operands: readonly string[]) => string;
  readonly operands: (node: Node) => readonly Node[];
}

/** Writes what lies in blocks, and what reads it there. */
export class Blocked {
  readonly #to: Lowering;
  readonly #blocks: Blocks;
  readonly #blocking: Blocking;
  readonly #plain: Plain;
  readonly #written = new Map<Node, string>();
  readonly #transposed = new Map<Node, string>();

  constructor(to: Lowering, blocks: Blocks, blocking: Blocking, plain: Plain) {
    this.#to = to;
    this.#blocks = blocks;
    this.#blocking = blocking;
    this.#plain = plain;
  }

  /** The values in blocks. */
  get written(): (TensorType & { readonly name: string })[] {
    return [...this.#written].map(([{ dtype, shape }, name]) => ({ name, dtype, shape: this.#shape(shape) }));
  }

  /** Writes a node that lies in blocks, or reads what does, and names its value as it is; undefined for others. */
  lower(node: Node, gemm: Gemm | undefined): string | undefined {
    const { values, contractions } = this.#blocks;
    const contraction = contractions.get(node);
    if (gemm && contraction) return this.#contraction(gemm, contraction);
    if (values.has(node)) return this.#fromBlocks(node);
    return sumsRows(node) && values.has(node.inputs[0]!) ? this.#sum(node) : undefined;
  }

  /** Writes a node if it lies in blocks. @returns whether it does, or is but a shape given to what does */
  write(node: Node): boolean {
    const { values } = this.#blocks;
    const isHere = values.has(node);
    if (isHere) this.#inBlocks(node);
    return isHere || (node.op.name === "reshape" && values.has(node.inputs[0]!));
  }

  /** The name of a value in blocks. */
  #inBlocks(node: Node): string {
    const known = this.#written.get(node);
    if (known) return known;
    const name = this.#blocks.values.has(node) ? this.#compute(node) : this.#toBlocks(node);
    this.#written.set(node, name);
    return name;
  }

  #compute(node: Node): string {
    const product = this.#blocks.products.get(node);
    if (product) return this.#product(node, product);
    if (node.op.name === "reshape") return this.#reshape(this.#inBlocks(node.inputs[0]!), this.#shape(node.shape));
    return this.#plain.apply(
      node,
      this.#plain.operands(node).map((each) => this.#inBlocks(each)),
    );
  }

  /** https://onnx.ai/onnx/operators/onnx__Conv.html, by a kernel of one entry: columns are channels, rows are places. */
  #product(node: Node, { left, right, inner, gemm }: Product): string {
    const columns = node.shape.at(-1)!;
    const depth = this.#padded(inner);
    const image = [this.#stack(node), depth, 1, node.shape.at(-2)!];
    const inputs = [
      this.#reshape(this.#read(left), image),
      this.#reshape(this.#withRows(this.#read(right), inner), [columns, depth, 1, 1]),
    ];
    const { added, alpha = 1, beta = 1 } = gemm ?? {};
    const isBias = added !== undefined && alpha === 1 && beta === 1 && isRow(added.shape, columns);
    if (isBias) inputs.push(this.#reshape(this.#plain.lower(added), [columns]));
    const found = this.#to.emit(`${NCHWC}.Conv`, inputs, { kernel_shape: [1, 1] });
    let value = this.#reshape(found, this.#shape(node.shape));
    if (alpha !== 1) value = this.#to.emit("Mul", [value, this.#to.number(alpha)]);
    if (!added || isBias) return value;
    const term = this.#inBlocks(added);
    return this.#to.emit("Add", [value, beta === 1 ? term : this.#to.emit("Mul", [term, this.#to.number(beta)])]);
  }

  #read({ node, transposed }: Factor): string {
    return transposed ? this.#fromTransposed(node) : this.#inBlocks(node);
  }

  /** A matrix [columns, rows] as its transpose in blocks: its rows are channels, which the engine fills up to whole blocks. */
  #fromTransposed(node: Node): string {
    const known = this.#transposed.get(node);
    if (known) return known;
    const [channels, places] = node.shape as [Dim, Dim];
    const image = this.#reshape(this.#plain.lower(node), [1, channels, 1, places]);
    const blocks = this.#to.emit(`${NCHWC}.ReorderInput`, [image], { channels_last: 0 });
    const name = this.#reshape(blocks, this.#shape([places, this.#padded(channels)]));
    this.#transposed.set(node, name);
    return name;
  }

  #toBlocks(node: Node): string {
    const { op, inputs, shape, dtype } = node;
    if (op.name === "broadcast")
      return this.#to.emit("Expand", [this.#inBlocks(inputs[0]!), this.#to.shape(this.#shape(shape))]);
    const [rows, columns] = [shape.at(-2) ?? 1, shape.at(-1) ?? 1];
    const value = this.#plain.lower(node);
    if (shape.length === 0) return value;
    if (rows === 1 || columns === 1) return this.#reshape(value, this.#shape(shape));
    if (dtype !== "float") {
      const { size } = this.#blocking;
      const apart = this.#reshape(value, [...shape.slice(0, -1), (columns as number) / size, size]);
      return this.#exchanged(apart, shape.length);
    }
    const image = this.#reshape(value, [this.#stack(node), 1, rows, columns]);
    const blocks = this.#to.emit(`${NCHWC}.ReorderInput`, [image], { channels_last: 1 });
    return this.#reshape(blocks, this.#shape(shape));
  }

  #fromBlocks(node: Node): string {
    const { shape, dtype } = node;
    const value = this.#inBlocks(node);
    if (dtype !== "float") return this.#reshape(this.#exchanged(value, shape.length), shape);
    const columns = shape.at(-1)! as number;
    const image = this.#reshape(value, [this.#stack(node), columns, 1, shape.at(-2)!]);
    const plain = this.#to.emit(`${NCHWC}.ReorderOutput`, [image], { channels: columns, channels_last: 1 });
    return this.#reshape(plain, shape);
  }

  /** Exchanges rows and blocks of columns, for what the engine's own operators do not take. */
  #exchanged(value: string, rank: number): string {
    const ahead = Array.from({ length: rank - 2 }, (_, i) => i);
    return this.#to.emit("Transpose", [value], { perm: [...ahead, rank - 1, rank - 2, rank] });
  }

  #sum(node: Node): string {
    const [x] = node.inputs;
    const rank = x!.shape.length;
    const { axes } = node.attrs as { axes: readonly number[] };
    const inBlocks = axes.flatMap((axis) =>
      axis < rank - 2 ? [axis] : axis === rank - 2 ? [rank - 1] : [rank - 2, rank],
    );
    const sum = this.#to.emit("ReduceSum", [this.#inBlocks(x!), this.#to.ints(inBlocks.sort((i, j) => i - j))], {
      keepdims: 0,
    });
    return this.#reshape(sum, node.shape);
  }

  /** A product that sums over all entries of matrices, in whatever order. */
  #contraction(gemm: Gemm, { left, right }: Contraction): string {
    const factors = [
      this.#reshape(this.#inBlocks(left), gemm.left.shape),
      this.#reshape(this.#inBlocks(right), gemm.right.shape),
    ];
    return lowerGemm(this.#to, gemm, gemm.added ? [...factors, this.#plain.lower(gemm.added)] : factors);
  }

  /** Rows of zeros after those of a right factor whose rows are samples, up to whole blocks of them. */
  #withRows(value: string, inner: Dim): string {
    if (!isBatch(inner)) return value;
    const missing = this.#padded(inner) - lengthOf([inner], this.#blocking.samples);
    return missing === 0 ? value : this.#to.emit("Pad", [value, this.#to.ints([0, 0, 0, 0, missing, 0])]);
  }

  /** A length in whole blocks; one of samples is then right for their number alone. */
  #padded(dim: Dim): number {
    const { size, samples } = this.#blocking;
    if (isBatch(dim)) this.#to.fixSamples();
    return whole(lengthOf([dim], samples), size);
  }

  /** The shape in blocks; what is repeated along an axis stays so. */
  #shape(shape: Shape): Shape {
    if (shape.length === 0) return shape;
    const [rows, columns] = [shape.at(-2) ?? 1, shape.at(-1)!];
    if (columns === 1) return [...shape.slice(0, -2), 1, rows, 1];
    const { size } = this.#blocking;
    return [...shape.slice(0, -2), (columns as number) / size, rows, size];
  }

  #stack({ shape }: Node): Dim {
    return mergeDims(shape.slice(0, -2));
  }

  #reshape(value: string, shape: Shape): string {
    return this.#to.emit("Reshape", [value, reshapeTo(this.#to, shape)]);
  }
}

/** Whether a tensor is one row, which is repeated. */
function isRow(shape: Shape, columns: Dim): boolean {
  const { factor, power } = countOf(shape);
  return power === 0 && factor === columns;
}
