import { concrete, type DType, formatShape, type Graph, isBatch, type Shape } from "../graph/index.ts";
import type { ConvolutionForms, Precision } from "../onnx/index.ts";
import { GraphError, ShapeError } from "../util/errors.ts";
import type { NDArray } from "../util/ndarray.ts";
import type { Tuning } from "./tuning.ts";

/** A tensor that an engine owns. What is behind it (an array, a GPU buffer) is the engine's affair. */
export interface EngineTensor {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** Tensors by the name of the graph's input or output. */
export type Tensors = Readonly<Record<string, EngineTensor>>;

/** A run that has begun. */
export interface Running {
  /** Its outputs, by name. Other runs may be given them at once; they can be read when it is done. */
  readonly outputs: Record<string, EngineTensor>;
  /** Its end. Where it fails, its outputs are gone, and runs that were given them fail too. */
  readonly done: Promise<void>;
}

/** The outputs of a run, at its end. */
export async function finished({ outputs, done }: Running): Promise<Running["outputs"]> {
  await done;
  return outputs;
}

/** A compiled graph. */
export interface Session {
  /**
   * Runs the graph.
   * @param inputs one tensor for each input of the graph.
   * @param donated tensors that the run may overwrite; they are disposed.
   * @returns new tensors, by output name.
   * @throws ShapeError naming the input that is missing or does not fit; DisposedError after `dispose`.
   */
  run(inputs: Tensors, donated?: readonly EngineTensor[]): Promise<Record<string, EngineTensor>>;
  /** Begins such a run; it is under way, behind all that was begun before, when this resolves. */
  begin(inputs: Tensors, donated?: readonly EngineTensor[]): Promise<Running>;
  /** How many runs of it go on at once; more wait. */
  readonly sideBySide: number;
  /** Frees the compiled graph. */
  dispose(): Promise<void>;
}

/** How a graph is to be compiled. */
export interface CompileOptions {
  /** Whether memory is given back between operators, as for a graph whose values take gigabytes; the engine's choice by default. */
  readonly lowMemory?: boolean;
  /**
   * Whether several runs are to go on side by side, each with its share of the engine's threads, instead of one with all of them;
   * an engine without threads runs one after the other. Off by default.
   */
  readonly sideBySide?: boolean;
  /**
   * How many samples most runs will have: for these, products and convolutions are written as is the fastest. Runs with others give
   * the same: the first other number has a session of its own, all more of them a slower one. Each is compiled when needed. Unknown by default.
   */
  readonly samples?: number | undefined;
  /** How many samples each part has of what the program adds up itself, in every run; unknown by default. */
  readonly part?: number | undefined;
  /** Threads for all that runs at once, where the engine has threads; its own number by default. */
  readonly threads?: number;
  /** How convolutions are written, where the engine has several ways; as its own tuning says by default. */
  readonly convolutions?: ConvolutionForms;
}

/** What runs graphs: ONNX Runtime, or the float64 oracle. Every method is asynchronous, and throws DisposedError after `dispose`. */
export interface Engine {
  readonly name: string;
  readonly precision: Precision;
  /** What was chosen by measuring, if it was. */
  readonly tuning?: Tuning | undefined;
  /** How many threads compute, on one operator or side by side. */
  readonly threads: number;
  /** How many runs go on at once of a session that is compiled to run side by side. */
  readonly lanes: number;
  /** Whether its threads leave a processor for other work while they compute. */
  readonly spareProcessor: boolean;
  /** How many sessions were compiled so far, and how many of them are not yet disposed. */
  readonly sessions: { readonly compiled: number; readonly live: number };
  /** How many tensors are not yet released. */
  readonly tensors: { readonly live: number };
  /**
   * Makes an array a tensor: real numbers in the engine's precision, others as whole numbers. The engine may read the
   * array itself instead of a copy, so it must not change while the tensor lives.
   */
  upload(array: NDArray): Promise<EngineTensor>;
  /** Copies a tensor back: floats as Float32Array or Float64Array, whole numbers and bools as Int32Array. */
  read(tensor: EngineTensor): Promise<NDArray>;
  /** Frees tensors. */
  release(...tensors: EngineTensor[]): void;
  /** Compiles a graph. @throws GraphError where the engine cannot run it */
  compile(graph: Graph, options?: CompileOptions): Promise<Session>;
  /** Frees everything, also sessions and tensors that are still alive: what is to be kept must be read before. */
  dispose(): Promise<void>;
}

/**
 * Checks the inputs of a run against the graph and finds the batch size.
 * @throws ShapeError naming the input, what was expected and what was found.
 */
export function checkInputs(graph: Graph, inputs: Tensors): number {
  const batch = findBatch(graph, inputs);
  for (const { name, node } of graph.inputs) {
    const tensor = inputs[name];
    if (!tensor) throw new ShapeError(`input ${name} is missing: expected ${node.dtype}${formatShape(node.shape)}`);
    if (tensor.dtype !== node.dtype)
      throw new ShapeError(`input ${name}: expected ${node.dtype} entries, found ${tensor.dtype}`);
    const expected = concrete(node.shape, batch?.size ?? 1);
    if (expected.length !== tensor.shape.length || expected.some((length, i) => length !== tensor.shape[i])) {
      const beside = batch && batch.from !== name ? ` (${batch.from} has ${batch.size} samples)` : "";
      throw new ShapeError(
        `input ${name}: expected shape ${formatShape(node.shape)}${beside}, found ${formatShape(tensor.shape)}`,
      );
    }
  }
  return batch?.size ?? 1;
}

/** The batch size, and the first input that tells it. */
function findBatch(graph: Graph, inputs: Tensors): { size: number; from: string } | undefined {
  for (const { name, node } of graph.inputs) {
    const size = batchSizeOf(node.shape, inputs[name]?.shape ?? []);
    if (size !== undefined) return { size, from: name };
  }
  return undefined;
}

/** The batch size that a tensor's shape implies, if the pattern has the batch as an axis. */
function batchSizeOf(pattern: Shape, shape: readonly number[]): number | undefined {
  const axis = sampleAxis(pattern);
  const dim = pattern[axis];
  const length = shape[axis];
  return dim === undefined || length === undefined || !isBatch(dim) ? undefined : Math.floor(length / dim.factor);
}

/** The axis whose length is a multiple of the batch size, or −1. */
function sampleAxis(shape: Shape): number {
  return shape.findIndex((dim) => isBatch(dim) && dim.power === 1);
}

/**
 * Checks that the batch size can be known when the graph runs.
 * @throws GraphError where values grow with the batch, but no input has its axis.
 */
export function checkBatchKnown({ inputs, nodes, ahead }: Graph): void {
  if (ahead) checkBatchKnown(ahead.graph);
  const growing = nodes.find(({ shape }) => shape.some(isBatch));
  if (!growing || inputs.some(({ node }) => sampleAxis(node.shape) >= 0)) return;
  throw new GraphError(
    `${growing.op.name} ${formatShape(growing.shape)} grows with the batch, but no input of the graph has the batch axis`,
  );
}
