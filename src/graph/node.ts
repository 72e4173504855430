import type { Shape } from "./shape.ts";

/** What the entries of a tensor are. The precision of `float` is the engine's affair. */
export type DType = "float" | "int" | "bool";

/** Shape and dtype of a tensor. */
export interface TensorType {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** One value of a graph: a primitive applied to earlier values. Nodes are immutable; `id` orders them topologically. */
export interface Node<A = unknown> extends TensorType {
  readonly id: number;
  readonly op: Op<A>;
  readonly inputs: readonly Node[];
  readonly attrs: A;
}

/** A value on the float64 oracle; bools are 0 and 1. */
export interface Value {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/**
 * How an operation carries the samples of a batch:
 * `kept` – each sample's part of the result depends on that sample alone;
 * `summed` – the result is a sum over the samples; `coupled` – anything else.
 */
export type BatchRule = "kept" | "summed" | "coupled";

/** Makes nodes; see `GraphBuilder`. */
export interface Builder {
  /** Applies a primitive. @throws ShapeError where the inputs do not fit it. */
  apply<A>(op: Op<A>, inputs: readonly Node[], attrs: A): Node;
}

interface OpBase<A> {
  readonly name: string;
  /** Shape and dtype of the result. @throws ShapeError */
  infer(inputs: readonly Node[], attrs: A): TensorType;
  /** The value in float64; `shape` is the result's. */
  value(inputs: readonly Value[], attrs: A, shape: readonly number[]): Float64Array;
  /** Whether each entry of the result follows from the inputs' entries at the same place alone. */
  readonly entrywise?: true;
  /** An equal node that is already there, where the operation does nothing new. */
  simplify?(inputs: readonly Node[], attrs: A, type: TensorType, builder: Builder): Node | undefined;
}

/** A value from outside: an input or a constant. */
export interface SourceOp<A> extends OpBase<A> {
  readonly kind: "source";
}

/** Whether tangents come alone (0) or stacked along a new leading axis (1). */
export type Lead = 0 | 1;

/** Linear in its floating point inputs taken together. */
export interface LinearOp<A> extends OpBase<A> {
  readonly kind: "linear";
  /** The map applied to `tangent` in place of input `index`, with zeros for the other floating point inputs. */
  push(builder: Builder, node: Node<A>, tangent: Node, index: number, lead: Lead): Node;
  /** The cotangent of input `index`, a floating point one, from that of the result: the transposed map. */
  transpose(builder: Builder, node: Node<A>, cotangent: Node, index: number): Node;
  batchRule(node: Node<A>): BatchRule;
}

/** Linear in each of two inputs. */
export interface BilinearOp<A> extends OpBase<A> {
  readonly kind: "bilinear";
  /** The map applied to x and y, each alone (0) or a stack (1) as `leads` says; two stacks go pair by pair. */
  stacked(builder: Builder, node: Node<A>, x: Node, y: Node, leads: readonly [Lead, Lead]): Node;
  /**
   * The cotangent of input `index`, given `other` for the other input: the transpose of the map with that one held fixed.
   * `other` may be a stack, and then so is the result.
   */
  transpose(builder: Builder, node: Node<A>, cotangent: Node, other: Node, index: 0 | 1, lead: Lead): Node;
  batchRule(node: Node<A>): BatchRule;
}

/** A function of one real number, applied to every entry. */
export interface ElementwiseOp<A> extends OpBase<A> {
  readonly kind: "elementwise";
  /** The derivative of the given order at the node's input, or undefined where it is zero everywhere. */
  derivative(builder: Builder, node: Node<A>, order: 1 | 2 | 3): Node | undefined;
}

/** A result whose derivative is zero wherever it exists: comparisons, integer arithmetic, `stopGradient`. */
export interface ConstantOp<A> extends OpBase<A> {
  readonly kind: "constant";
  batchRule(node: Node<A>): BatchRule;
}

/** A choice among entries (a maximum): linear once the choice is fixed. */
export interface ChoiceOp<A> extends OpBase<A> {
  readonly kind: "choice";
  /** The same value, written with the choice as a constant and a linear operation. */
  freeze(builder: Builder, node: Node<A>): Node;
  batchRule(node: Node<A>): BatchRule;
}

/** What other operations give together, with a shorter way back through it than through each of them. */
export interface ComposedOp<A> extends OpBase<A> {
  readonly kind: "composed";
  /** The same value, written with those operations. */
  compose(builder: Builder, node: Node<A>): Node;
  /** The cotangent of the input from that of the result. */
  transpose(builder: Builder, node: Node<A>, cotangent: Node): Node;
  batchRule(node: Node<A>): BatchRule;
}

/** A primitive: its shape rule, its value, and what its kind asks for. */
export type Op<A = unknown> =
  | SourceOp<A>
  | LinearOp<A>
  | BilinearOp<A>
  | ElementwiseOp<A>
  | ConstantOp<A>
  | ChoiceOp<A>
  | ComposedOp<A>;
