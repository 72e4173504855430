import type { RangeCheck, Variable } from "../engine/index.ts";
import { type Builder, countOf, type Dim, formatShape, type Node, type Shape } from "../graph/index.ts";
import * as ops from "../ops/index.ts";
import { GraphError, ShapeError } from "../util/errors.ts";
import { isFloat, type NDArray } from "../util/ndarray.ts";

/** A model being traced: the graph under construction, and what its variables are in it. */
export interface Trace {
  readonly builder: Builder;
  readonly variables: ReadonlyMap<Variable, Node>;
  readonly checks: RangeCheck[];
}

let current: Trace | undefined;

/** Runs a model's code with its operations recorded in `trace`. */
export function tracing<T>(trace: Trace, run: () => T): T {
  const outer = current;
  current = trace;
  try {
    return run();
  } finally {
    current = outer;
  }
}

/** The trace that is being made. @throws GraphError outside of one */
export function currentTrace(): Trace {
  if (!current) throw new GraphError(`tensors have values only while a model is traced${callSite()}`);
  return current;
}

/** Where the user's code called into this library. */
function callSite(): string {
  const lines = (new Error().stack ?? "").split("\n").slice(1);
  const fileOf = (line: string): string | undefined => /\(?([^\s(]+?):\d+:\d+\)?$/.exec(line)?.[1];
  const own = fileOf(lines[0] ?? "");
  const line = lines.find((each) => fileOf(each) !== undefined && fileOf(each) !== own);
  return line ? ` (${line.trim()})` : "";
}

/** What an operation takes beside its tensor: another tensor, a number, or an array that becomes a constant. */
export type TensorLike = Tensor | number | NDArray;

/**
 * A tensor of the program being traced. It has a shape but no value: operations on it are recorded, differentiated and
 * run later. Names and meanings are PyTorch's. Two tensors of different shapes broadcast.
 */
export class Tensor {
  readonly #node: Node | undefined;
  readonly #trace: Trace | undefined;

  constructor(node?: Node) {
    this.#node = node;
    this.#trace = node && currentTrace();
  }

  /** The node of the graph. @throws GraphError where the tensor belongs to another trace */
  get node(): Node {
    if (!this.#node || this.#trace !== currentTrace())
      throw new GraphError(`a tensor was used outside the trace that made it${callSite()}`);
    return this.#node;
  }

  /** Lengths of the axes; an axis that grows with the batch is not a number. */
  get shape(): Shape {
    return this.node.shape;
  }

  add(other: TensorLike): Tensor {
    return binary(ops.add, this, other);
  }

  sub(other: TensorLike): Tensor {
    return binary(ops.sub, this, other);
  }

  mul(other: TensorLike): Tensor {
    return typeof other === "number" ? unary((b, x) => ops.scale(b, x, other), this) : binary(ops.mul, this, other);
  }

  div(other: TensorLike): Tensor {
    if (typeof other === "number") return this.mul(1 / other);
    return binary((b, x, y) => ops.mul(b, x, ops.reciprocal(b, y)), this, other);
  }

  neg(): Tensor {
    return this.mul(-1);
  }

  /** Matrix product over the last two axes; a vector counts as a row on the left, a column on the right. */
  matmul(other: TensorLike): Tensor {
    return binary(productOf, this, other);
  }

  /** The last two axes swapped (`.mT` in PyTorch). */
  t(): Tensor {
    return unary(ops.transposeLast, this);
  }

  permute(...order: number[]): Tensor {
    return unary((b, x) => ops.permute(b, x, order), this);
  }

  /** The same entries under another shape; one length may be −1. */
  reshape(...shape: Dim[]): Tensor {
    return unary((b, x) => ops.reshape(b, x, completeShape(x.shape, shape)), this);
  }

  /** Axes `start` and later merged into one. */
  flatten(start: number = 0): Tensor {
    return unary((b, x) => ops.flatten(b, x, start), this);
  }

  /** The tensor repeated to a shape, along new leading axes and axes of length 1. */
  expand(...shape: Dim[]): Tensor {
    return unary((b, x) => ops.broadcast(b, x, shape), this);
  }

  unsqueeze(dim: number): Tensor {
    return unary((b, x) => ops.unsqueeze(b, x, dim), this);
  }

  /** Entries `start` to `end` (exclusive) of one axis (`narrow` in PyTorch). */
  slice(dim: number, start: number, end: number): Tensor {
    return unary((b, x) => ops.slice(b, x, dim, start, end), this);
  }

  /** The sum over some axes, over all by default. */
  sum(dims?: readonly number[], keepdim: boolean = false): Tensor {
    return unary((b, x) => (keepdim ? ops.sumKeep : ops.sum)(b, x, dims ?? [...x.shape.keys()]), this);
  }

  /** The mean over some axes, over all by default. Over the batch it divides by the number of samples of the run. */
  mean(dims?: readonly number[], keepdim: boolean = false): Tensor {
    const axes = (dims ?? [...this.shape.keys()]).map((dim) => (dim < 0 ? dim + this.shape.length : dim));
    const count = countOf(axes.map((axis) => this.shape[axis] ?? 1));
    let mean = this.sum(axes, keepdim).div(count.factor);
    for (let power = 0; power < count.power; power++) mean = mean.div(batchSize());
    return mean;
  }

  /** The largest entry along an axis; the derivative goes to the first one. */
  max(dim: number, keepdim: boolean = false): Tensor {
    const kept = unary((b, x) => ops.max(b, x, dim), this);
    return keepdim ? kept : kept.sum([dim]);
  }

  exp(): Tensor {
    return unary(ops.exp, this);
  }

  log(): Tensor {
    return unary(ops.log, this);
  }

  sqrt(): Tensor {
    return unary(ops.sqrt, this);
  }

  reciprocal(): Tensor {
    return unary(ops.reciprocal, this);
  }

  /** Each entry to a fixed power. */
  pow(exponent: number): Tensor {
    return unary((b, x) => ops.pow(b, x, exponent), this);
  }

  square(): Tensor {
    return this.pow(2);
  }

  abs(): Tensor {
    return unary(ops.abs, this);
  }

  sin(): Tensor {
    return unary(ops.sin, this);
  }

  cos(): Tensor {
    return unary(ops.cos, this);
  }

  tanh(): Tensor {
    return unary(ops.tanh, this);
  }

  sigmoid(): Tensor {
    return unary(ops.sigmoid, this);
  }

  softplus(): Tensor {
    return unary(ops.softplus, this);
  }

  relu(): Tensor {
    return unary(ops.relu, this);
  }

  elu(): Tensor {
    return unary(ops.elu, this);
  }

  /** The entries that an index (whole numbers, same rank) names along one axis. */
  gather(dim: number, index: TensorLike): Tensor {
    return binary((b, x, y) => ops.gather(b, x, y, dim), this, index);
  }

  /** True where entries are equal. */
  eq(other: TensorLike): Tensor {
    return binary(ops.equal, this, other);
  }

  /** True where entries are greater. */
  gt(other: TensorLike): Tensor {
    return binary(ops.greater, this, other);
  }

  /** The index of the first largest entry along an axis. */
  argmax(dim: number): Tensor {
    return unary((b, x) => ops.argmax(b, x, dim), this).sum([dim]);
  }

  /** Bools and whole numbers as real numbers. */
  float(): Tensor {
    return unary((b, x) => ops.cast(b, x, "float"), this);
  }

  /** The value as a constant: no derivative passes. */
  detach(): Tensor {
    return unary(ops.stopGradient, this);
  }

  /** @throws GraphError always: a traced tensor has no value to branch on or to print as a number. */
  [Symbol.toPrimitive](): never {
    throw new GraphError(`the value of a traced tensor was read; only its shape is known while tracing${callSite()}`);
  }
}

/** A tensor, number or array as a node of the current trace; a number takes the dtype of `beside`. */
export function nodeOf(value: TensorLike, beside?: Node): Node {
  if (value instanceof Tensor) return value.node;
  const { builder } = currentTrace();
  if (typeof value === "number") return ops.scalar(builder, value, beside?.dtype);
  const data = Array.from(value.data as ArrayLike<number | bigint>, Number);
  return ops.constant(builder, data, value.shape, isFloat(value) ? "float" : "int");
}

/** An array as a tensor whose entries are fixed when the model is traced. */
export function constant(value: NDArray): Tensor {
  return new Tensor(nodeOf(value));
}

function unary(op: (b: Builder, x: Node) => Node, x: Tensor): Tensor {
  return new Tensor(op(currentTrace().builder, x.node));
}

function binary(op: (b: Builder, x: Node, y: Node) => Node, x: Tensor, y: TensorLike): Tensor {
  return new Tensor(op(currentTrace().builder, x.node, nodeOf(y, x.node)));
}

/** The number of samples of the run, as a tensor. */
function batchSize(): Tensor {
  return new Tensor(ops.batchSize(currentTrace().builder));
}

function productOf(b: Builder, x: Node, y: Node): Node {
  const left = x.shape.length === 1 ? ops.unsqueeze(b, x, 0) : x;
  const right = y.shape.length === 1 ? ops.unsqueeze(b, y, 1) : y;
  const product = ops.matmul(b, left, right);
  const dropped = [...(left === x ? [] : [-2]), ...(right === y ? [] : [-1])];
  return dropped.length ? ops.sum(b, product, dropped) : product;
}

/** The shape with −1 filled in. @throws ShapeError */
function completeShape(from: Shape, to: readonly Dim[]): Shape {
  const open = to.indexOf(-1);
  if (open < 0) return to;
  const [all, known] = [countOf(from), countOf(to.toSpliced(open, 1))];
  const rest = { factor: all.factor / known.factor, power: all.power - known.power };
  if (!Number.isInteger(rest.factor) || rest.power < 0)
    throw new ShapeError(`reshape: ${formatShape(from)} does not fit ${formatShape(to)}`);
  return to.with(open, rest.power === 0 ? rest.factor : rest);
}

/** x where the condition holds, y elsewhere. */
export function where(condition: Tensor, x: TensorLike, y: TensorLike): Tensor {
  const beside = x instanceof Tensor ? x.node : y instanceof Tensor ? y.node : undefined;
  return new Tensor(ops.where(currentTrace().builder, condition.node, nodeOf(x, beside), nodeOf(y, beside)));
}

/** The tensors one after the other along an axis. */
export function cat(tensors: readonly Tensor[], dim: number = 0): Tensor {
  const nodes = tensors.map((tensor) => tensor.node);
  const rank = nodes[0]?.shape.length ?? 0;
  return new Tensor(ops.concat(currentTrace().builder, nodes, dim < 0 ? dim + rank : dim));
}
