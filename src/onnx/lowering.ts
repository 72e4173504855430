import { type BatchDim, type Dim, type DType, formatDim, isBatch, type Node, type Shape } from "../graph/index.ts";
import { internal } from "../util/errors.ts";
import { type Attribute, ELEMENT, type ElementType, type OnnxNode, type OnnxTensor } from "./model-proto.ts";

/** The real numbers of a compiled graph. */
export type Precision = "float32" | "float64";

/** How entries of a dtype are stored. */
export function elementOf(dtype: DType, precision: Precision): ElementType {
  return dtype === "float" ? precision : dtype === "int" ? "int64" : "bool";
}

/** How convolutions are to be written, form by convolution; those that it does not name are written by rule. */
export type ConvolutionForms = Readonly<Record<string, string>>;

/** What a graph is written for. */
export interface Target {
  readonly precision: Precision;
  /** Channels in a block, where the engine has operators on channels in blocks. */
  readonly blockSize?: number | undefined;
  /** How many samples most runs will have, if that is known. */
  readonly samples?: number | undefined;
}

/** The first character of every name that the lowering makes, so that none is that of an input. */
export const OWN = "%";

/** The ONNX program under construction; values are known by name. */
export class Lowering implements Target {
  readonly nodes: OnnxNode[] = [];
  readonly initializers: OnnxTensor[] = [];
  readonly precision: Precision;
  readonly blockSize: number | undefined;
  readonly samples: number | undefined;
  readonly convolutions: ConvolutionForms;
  #isFixed = false;
  readonly #constants = new Map<string, string>();
  readonly #lengths = new Map<string, string>();
  readonly #ones = new Map<string, string>();
  /** Outside names of the results that have one. */
  readonly #outputs = new Map<string, string>();
  #sample: { name: string; axis: number; dim: BatchDim } | undefined;

  constructor({ precision, blockSize, samples }: Target, convolutions: ConvolutionForms = {}) {
    this.precision = precision;
    this.blockSize = blockSize;
    this.samples = samples;
    this.convolutions = convolutions;
  }

  /** Says that all runs must have the number of samples that most have. */
  fixSamples(): void {
    this.#isFixed = true;
  }

  /** How many samples runs must have, where that is fixed. */
  get fixedSamples(): number | undefined {
    return this.#isFixed ? this.samples : undefined;
  }

  element(dtype: DType): ElementType {
    return elementOf(dtype, this.precision);
  }

  /** The number by which attributes name a dtype. */
  elementCode(dtype: DType): number {
    return ELEMENT[this.element(dtype)];
  }

  /** Adds an operator and names its result. */
  emit(type: string, inputs: readonly string[], attributes: Readonly<Record<string, Attribute>> = {}): string {
    return this.emitAll(type, inputs, 1, attributes)[0]!;
  }

  /** Adds an operator with several results and names them. */
  emitAll(
    type: string,
    inputs: readonly string[],
    count: number,
    attributes: Readonly<Record<string, Attribute>> = {},
  ): readonly string[] {
    const own = `${OWN}${type}_${this.nodes.length}`;
    const outputs = Array.from({ length: count }, (_, i) => (i === 0 ? own : `${own}_${i}`));
    this.nodes.push({ type, inputs, outputs, attributes });
    return outputs;
  }

  /**
   * Gives a result of the program its outside name: that of the operator itself where it has none yet. Only once the
   * program is complete, as `value` is renamed.
   */
  output(value: string, name: string): void {
    const current = this.#outputs.get(value) ?? value;
    const at = this.nodes.findIndex((node) => node.outputs.includes(value));
    const node = this.nodes[at];
    if (!node) {
      this.nodes.push({ type: "Identity", inputs: [current], outputs: [name], attributes: {} });
      return;
    }
    this.#outputs.set(value, name);
    this.nodes.splice(at, 1, { ...node, outputs: node.outputs.map((output) => (output === value ? name : output)) });
    for (let i = at + 1; i < this.nodes.length; i++) {
      const user = this.nodes[i]!;
      if (user.inputs.includes(value))
        this.nodes[i] = { ...user, inputs: user.inputs.map((input) => (input === value ? name : input)) };
    }
  }

  /** A tensor known now; equal ones share a name. */
  constant(data: readonly number[], shape: readonly number[], dtype: DType): string {
    const key = `${dtype}[${shape}] ${data.map((x) => (Object.is(x, -0) ? "-0" : x))}`;
    const known = this.#constants.get(key);
    if (known) return known;
    const name = `${OWN}constant_${this.initializers.length}`;
    const element = this.element(dtype);
    this.initializers.push({ name, element, shape, bytes: bytesOf(data, element) });
    this.#constants.set(key, name);
    return name;
  }

  /** A real number as a scalar tensor. */
  number(value: number): string {
    return this.constant([value], [], "float");
  }

  /** Whole numbers as a vector: axes, lengths, ends. */
  ints(values: readonly number[]): string {
    return this.constant(values, [values.length], "int");
  }

  /** A vector of ones. */
  ones(length: Dim): string {
    const key = formatDim(length);
    const name = this.#ones.get(key) ?? this.emit("Expand", [this.number(1), this.shape([length])]);
    this.#ones.set(key, name);
    return name;
  }

  /** Names an input from whose shape the batch size can be read. */
  offerBatch(name: string, shape: Shape): void {
    const axis = shape.findIndex((dim) => isBatch(dim) && dim.power === 1);
    if (axis >= 0) this.#sample ??= { name, axis, dim: shape[axis] as BatchDim };
  }

  /** A shape as a vector of whole numbers, computed from the batch size where it grows with it. */
  shape(shape: Shape): string {
    if (!shape.some(isBatch)) return this.ints(shape as number[]);
    const parts = shape.map((dim) => (isBatch(dim) ? this.#length(dim) : this.ints([dim])));
    return parts.length === 1 ? parts[0]! : this.emit("Concat", parts, { axis: 0 });
  }

  #length(dim: BatchDim): string {
    const key = formatDim(dim);
    const known = this.#lengths.get(key);
    if (known) return known;
    let name = this.#batchSize();
    for (let power = 1; power < dim.power; power++) name = this.emit("Mul", [name, this.#batchSize()]);
    if (dim.factor !== 1) name = this.emit("Mul", [name, this.ints([dim.factor])]);
    this.#lengths.set(key, name);
    return name;
  }

  #batchSize(): string {
    const { name, axis, dim } = this.#sample ?? internal("a batch axis without an input that has it");
    const key = "batch itself";
    const known = this.#lengths.get(key);
    if (known) return known;
    const length = this.emit("Shape", [name], { start: axis, end: axis + 1 });
    const size = dim.factor === 1 ? length : this.emit("Div", [length, this.ints([dim.factor])]);
    this.#lengths.set(key, size);
    return size;
  }
}

function bytesOf(data: readonly number[], element: ElementType): Uint8Array {
  switch (element) {
    case "float32":
      return new Uint8Array(Float32Array.from(data).buffer);
    case "float64":
      return new Uint8Array(Float64Array.from(data).buffer);
    case "int64":
      return new Uint8Array(BigInt64Array.from(data, BigInt).buffer);
    case "bool":
      return Uint8Array.from(data);
  }
}

/** The shape for Reshape: −1 stands for the one axis that grows with the batch. */
export function reshapeTo(to: Lowering, shape: Shape): string {
  const growing = shape.filter(isBatch).length;
  return growing > 1 ? to.shape(shape) : to.ints(shape.map((dim) => (isBatch(dim) ? -1 : dim)));
}

/** How one primitive is written in ONNX: the name of its result, from the names of its inputs. */
export type Lower<A> = (to: Lowering, node: Node<A>, inputs: readonly string[]) => string;
