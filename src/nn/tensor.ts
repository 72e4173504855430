import type { BatchCheck, Mask, Mode, Variable } from "../engine/index.ts";
import {
  type Builder,
  countOf,
  type Dim,
  formatShape,
  type InputAttrs,
  isBatch,
  type Node,
  type Shape,
} from "../graph/index.ts";
import * as ops from "../ops/index.ts";
import { DataError, GraphError, OptionError, ShapeError } from "../util/errors.ts";
import { checkArray, isFloat, type NDArray } from "../util/ndarray.ts";

/** What all traces of one model or loss share. */
export interface Scope {
  /** What a variable is called. @throws GraphError where it is none of the model's */
  nameOf(variable: Variable): string;
  /** The modules whose mode a trace has asked for: another one may give another program. */
  readonly asked: Set<Part>;
}

/** A module, as a trace sees it. */
export interface Part {
  readonly training: boolean;
  namedModules(): [string, Part][];
}

/** A model being traced: the graph under construction, and what is found out beside it. */
export interface Trace {
  readonly builder: Builder;
  readonly scope: Scope;
  /** The mode of every module; each has its own where none is given. */
  readonly mode: Mode | undefined;
  /** The modules whose forward is under way, the outermost first. */
  readonly path: Part[];
  /** What buffers were given so far. */
  readonly assigned: Map<Variable, Node>;
  readonly checks: BatchCheck[];
  readonly masks: Mask[];
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

/** The trace that is being made, if one is. */
export function activeTrace(): Trace | undefined {
  return current;
}

/** The trace that is being made. @throws GraphError outside of one */
export function currentTrace(): Trace {
  if (!current) throw new GraphError(`tensors have values only while a model is traced${callSite()}`);
  return current;
}

/** The innermost module of a path, by its name in the outermost one and its class: `features.3 (Conv2d)`. */
export function layerName(path: readonly Part[]): string {
  const [root, module] = [path[0]!, path.at(-1)!];
  const name = root.namedModules().find(([, part]) => part === module)?.[0];
  const kind = module.constructor.name;
  return name ? `${name} (${kind})` : kind;
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

  /** Axes `start` to `end` (inclusive, as in PyTorch) merged into one. */
  flatten(start: number = 0, end: number = -1): Tensor {
    const { length } = this.shape;
    const [first, last] = [start, end].map((dim) => (dim < 0 ? dim + length : dim)) as [number, number];
    if (!(first >= 0 && first <= last && last < length))
      throw new ShapeError(`flatten: no axes ${start} to ${end} in order in ${formatShape(this.shape)}`);
    return unary((b, x) => ops.flatten(b, x, first, last + 1), this);
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

  /** The sum over an axis or some, over all by default. */
  sum(dims?: Axes, keepdim: boolean = false): Tensor {
    return unary((b, x) => (keepdim ? ops.sumKeep : ops.sum)(b, x, axesOf("sum", x.shape, dims)), this);
  }

  /** The mean over an axis or some, over all by default. Over the batch it divides by the number of samples of the run. */
  mean(dims?: Axes, keepdim: boolean = false): Tensor {
    const axes = axesOf("mean", this.shape, dims);
    const count = countOf(axes.map((axis) => this.shape[axis]!));
    let mean = this.sum(axes, keepdim).div(count.factor);
    for (let power = 0; power < count.power; power++) mean = mean.div(batchSize());
    return mean;
  }

  /** The sum of all entries up to each one along an axis. */
  cumsum(dim: number): Tensor {
    return unary((b, x) => ops.cumsum(b, x, dim), this);
  }

  /** Parts of an axis: of a given length each but for the last, or of several lengths that make up the whole. */
  split(lengths: number | readonly number[], dim: number = 0): Tensor[] {
    const total = fixedLength("split", this, dim);
    const parts = typeof lengths === "number" ? equalParts(total, lengths) : lengths;
    const ends = parts.map((_, i) => parts.slice(0, i + 1).reduce((sum, length) => sum + length, 0));
    if (!parts.every((length) => Number.isInteger(length) && length > 0) || ends.at(-1) !== total)
      throw new ShapeError(`split: lengths [${parts}] do not make up an axis of length ${total}`);
    return ends.map((end, i) => this.slice(dim, end - parts[i]!, end));
  }

  /** An axis in so many parts of one length; the last may be shorter, and there may be fewer, as in PyTorch. */
  chunk(chunks: number, dim: number = 0): Tensor[] {
    return this.split(Math.ceil(fixedLength("chunk", this, dim) / chunks), dim);
  }

  /** The largest entry along an axis; the derivative goes to the first one. */
  max(dim: number, keepdim: boolean = false): Tensor {
    const kept = unary((b, x) => ops.max(b, x, dim), this);
    return keepdim ? kept : kept.sum([dim]);
  }

  /** The smallest entry along an axis; the derivative goes to the first one. */
  min(dim: number, keepdim: boolean = false): Tensor {
    return this.neg().max(dim, keepdim).neg();
  }

  /** The largest entry along an axis or some, all by default; equal ones share the derivative evenly. */
  amax(dims?: Axes, keepdim: boolean = false): Tensor {
    const axes = axesOf("amax", this.shape, dims);
    const top = axes.reduce<Tensor>((x, axis) => x.max(axis, true), this);
    const chosen = this.eq(top);
    return where(chosen, this, 0).sum(axes, keepdim).div(chosen.float().sum(axes, keepdim));
  }

  /** The smallest entry along an axis or some, all by default; equal ones share the derivative evenly. */
  amin(dims?: Axes, keepdim: boolean = false): Tensor {
    return this.neg().amax(dims, keepdim).neg();
  }

  /** Each entry held within [min, max]; at the bounds the derivative is 1. */
  clamp(min: number = Number.NEGATIVE_INFINITY, max: number = Number.POSITIVE_INFINITY): Tensor {
    const atLeast = min === Number.NEGATIVE_INFINITY ? this : where(this.lt(min), min, this);
    return max === Number.POSITIVE_INFINITY ? atLeast : where(atLeast.gt(max), max, atLeast);
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

  /** 1 / √x */
  rsqrt(): Tensor {
    return this.pow(-0.5);
  }

  reciprocal(): Tensor {
    return unary(ops.reciprocal, this);
  }

  /** Each entry to a fixed power. @throws OptionError */
  pow(exponent: number): Tensor {
    if (typeof exponent !== "number") throw new OptionError(`pow: expected a number, found ${typeof exponent}`);
    return unary((b, x) => ops.pow(b, x, exponent), this);
  }

  square(): Tensor {
    return this.pow(2);
  }

  abs(): Tensor {
    return unary(ops.abs, this);
  }

  /** −1, 0 or 1; its derivative counts as 0. */
  sign(): Tensor {
    return unary(ops.sign, this);
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

  /** The error function. */
  erf(): Tensor {
    return unary(ops.erf, this);
  }

  /**
   * The entries that an index (whole numbers, same rank) names along one axis.
   * @throws DataError where a batch's own index lies outside the axis; any other one there makes the run fail.
   */
  gather(dim: number, index: TensorLike): Tensor {
    return binary((b, x, y) => ops.gather(b, x, checkedIndex(b, x, y, dim), dim), this, index);
  }

  /**
   * The rows along one axis that an index of any shape names; its axes take the place of that one.
   * @throws DataError as `gather` does.
   */
  indexSelect(dim: number, index: TensorLike): Tensor {
    return binary((b, x, y) => ops.indexSelect(b, x, checkedIndex(b, x, y, dim), dim), this, index);
  }

  /** True where entries are equal. */
  eq(other: TensorLike): Tensor {
    return binary(ops.equal, this, other);
  }

  /** True where entries are greater. */
  gt(other: TensorLike): Tensor {
    return binary(ops.greater, this, other);
  }

  /** True where entries are greater or equal. */
  ge(other: TensorLike): Tensor {
    return binary(ops.greaterEqual, this, other);
  }

  /** True where entries are less. */
  lt(other: TensorLike): Tensor {
    return binary((b, x, y) => ops.greater(b, y, x), this, other);
  }

  /** True where entries are less or equal. */
  le(other: TensorLike): Tensor {
    return binary((b, x, y) => ops.greaterEqual(b, y, x), this, other);
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
  checkArray("what is neither a tensor nor a number", value);
  const data = Array.from(value.data as ArrayLike<number | bigint>, Number);
  return ops.constant(builder, data, [...value.shape], isFloat(value) ? "float" : "int");
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

/** Operations that keep all entries of a tensor. */
const MOVES: ReadonlySet<string> = new Set<ops.Primitive>(["reshape", "permute", "broadcast"]);

/** Where the entries of a tensor come from. */
function sourceOf({ node }: { readonly node: Node }): Node {
  let source = node;
  while (MOVES.has(source.op.name)) source = source.inputs[0]!;
  return source;
}

/**
 * Has whole numbers checked before they are used, where they are the batch's own: they must lie in [0, bound), or be `except`.
 * Those that are fixed are checked now.
 * @throws DataError
 */
export function requireRange(
  what: "label" | "index",
  tensor: { readonly node: Node },
  bound: number,
  except?: number,
): void {
  const source = sourceOf(tensor);
  if (source.op.name === "constant") checkFixed(what, source.attrs as ops.ConstantAttrs, bound, except);
  if (source.op.name !== "input") return;
  const { name: input } = source.attrs as InputAttrs;
  const { checks } = currentTrace();
  const known = checks.filter((check) => check.kind === "range").filter((check) => check.input === input);
  if (known.some((check) => check.bound <= bound && (check.except ?? except) === except)) return;
  checks.push({
    kind: "range",
    input,
    what,
    bound,
    layer: layerUnderWay(),
    ...(except === undefined ? {} : { except }),
  });
}

function checkFixed(what: string, { data }: ops.ConstantAttrs, bound: number, except?: number): void {
  const odd = data.find((value) => value !== except && !(value >= 0 && value < bound));
  if (odd !== undefined) throw new DataError(`${what} ${odd} is out of range, expected 0 to ${bound - 1}`);
}

/**
 * An index along an axis of x. Engines refuse one past its end, but may count negative ones from there; where an index is
 * computed, so that no check ahead of the run sees it, those are put past the end.
 */
function checkedIndex(b: Builder, x: Node, index: Node, dim: number): Node {
  const length = x.shape.at(dim);
  if (index.dtype !== "int" || length === undefined || isBatch(length)) return index;
  requireRange("index", { node: index }, length);
  if (["input", "constant"].includes(sourceOf({ node: index }).op.name)) return index;
  const [zero, end] = [ops.scalar(b, 0, "int"), ops.scalar(b, length, "int")];
  return ops.where(b, ops.greater(b, zero, index), end, index);
}

/** Has batches refused that have fewer samples than the layer under way needs. */
export function requireSamples(least: number, reason: string): void {
  currentTrace().checks.push({ kind: "size", least, reason, layer: layerUnderWay() });
}

function layerUnderWay(): string | undefined {
  const { path } = currentTrace();
  return path.length === 0 ? undefined : layerName(path);
}

/** Some axes, or one. */
type Axes = number | readonly number[];

/** Axes from 0 on, all by default. @throws ShapeError where one is not there, or named twice */
function axesOf(what: string, shape: Shape, dims: Axes = [...shape.keys()]): number[] {
  const axes = [dims].flat().map((dim) => ops.normalizeAxis(dim, shape.length, what));
  if (new Set(axes).size < axes.length) throw new ShapeError(`${what}: axes [${dims}] name one of them twice`);
  return axes;
}

/** The length of an axis that does not grow with the batch. @throws ShapeError */
function fixedLength(what: string, { shape }: Tensor, dim: number): number {
  const length = shape.at(dim);
  if (length === undefined || isBatch(length))
    throw new ShapeError(`${what}: axis ${dim} of ${formatShape(shape)} has no fixed length`);
  return length;
}

/** The lengths of parts of one length, the last of what is left. */
function equalParts(total: number, length: number): number[] {
  const count = length > 0 ? Math.ceil(total / length) : 0;
  return Array.from({ length: count }, (_, i) => Math.min(length, total - i * length));
}

/** Random numbers that are drawn anew for each batch: 1 / keep with the probability `keep`, else 0. */
export function randomMask(shape: Shape, keep: number): Tensor {
  const { builder, masks } = currentTrace();
  const name = `mask${masks.length}`;
  masks.push({ name, shape, keep });
  return new Tensor(ops.input(builder, name, shape));
}

/** The number of entries along some axes together, as a tensor. */
export function entriesAlong(x: Tensor, dims: readonly number[]): Tensor {
  const { factor, power } = countOf(dims.map((dim) => x.shape[dim]!));
  let count = new Tensor(ops.scalar(currentTrace().builder, factor));
  for (let i = 0; i < power; i++) count = count.mul(batchSize());
  return count;
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
  const given = open < 0 ? to : to.toSpliced(open, 1);
  const [all, known] = [countOf(from), countOf(given)];
  const rest = { factor: all.factor / known.factor, power: all.power - known.power };
  const isLength = (dim: Dim): boolean => isBatch(dim) || (Number.isInteger(dim) && dim >= 0);
  if (!given.every(isLength) || (open >= 0 && (!Number.isInteger(rest.factor) || rest.power < 0)))
    throw new ShapeError(`reshape: ${formatShape(from)} does not fit ${formatShape(to)}`);
  if (open < 0) return to;
  return to.with(open, rest.power === 0 ? rest.factor : rest);
}

/** x where the condition holds, y elsewhere. */
export function where(condition: Tensor, x: TensorLike, y: TensorLike): Tensor {
  const beside = x instanceof Tensor ? x.node : y instanceof Tensor ? y.node : undefined;
  return new Tensor(ops.where(currentTrace().builder, condition.node, nodeOf(x, beside), nodeOf(y, beside)));
}

/** The tensors one after the other along an axis. @throws ShapeError */
export function cat(tensors: readonly Tensor[], dim: number = 0): Tensor {
  if (tensors.length === 0) throw new ShapeError("cat: expected at least one tensor, found none");
  const nodes = tensors.map((tensor) => tensor.node);
  const rank = nodes[0]?.shape.length ?? 0;
  return new Tensor(ops.concat(currentTrace().builder, nodes, dim < 0 ? dim + rank : dim));
}
