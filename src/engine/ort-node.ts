import { availableParallelism } from "node:os";
import * as ort from "onnxruntime-node";
import type { DType, Graph } from "../graph/index.ts";
import { outputName, type Precision, toOnnx } from "../onnx/index.ts";
import { DisposedError, GraphError, invariant, OptionError } from "../util/errors.ts";
import { isFloat, type NDArray } from "../util/ndarray.ts";
import {
  type CompileOptions,
  checkBatchKnown,
  checkInputs,
  type Engine,
  type EngineTensor,
  type Session,
  type Tensors,
} from "./engine.ts";

/** How ONNX Runtime runs. */
export interface OrtNodeOptions {
  /** The real numbers of every graph; "float32" by default. */
  readonly precision?: Precision;
  /** Threads for one operator; all of the machine's by default. */
  readonly threads?: number;
  /** Gives memory back between operators instead of keeping it for the next: less memory, some speed lost. Off by default. */
  readonly lowMemory?: boolean;
  /** Execution providers in the order of preference, `["cpu"]` by default; "cuda" needs onnxruntime-node's CUDA files. */
  readonly providers?: readonly string[];
}

/**
 * Without the fusion of a scale into a matrix product, which rounds the factor to float32 whatever the product is in, and
 * that of x · sigmoid(x), for which there is no operator in float64.
 */
const EXACT = { optimization: { disable_specified_optimizers: "MatMulScaleFusion;QuickGeluFusion" } };

class OrtTensor implements EngineTensor {
  readonly shape: readonly number[];
  readonly dtype: DType;
  #value: ort.Tensor | undefined;

  constructor(value: ort.Tensor, dtype: DType) {
    this.shape = value.dims;
    this.dtype = dtype;
    this.#value = value;
  }

  get value(): ort.Tensor {
    if (!this.#value) throw new DisposedError("this tensor was released");
    return this.#value;
  }

  release(): void {
    this.#value?.dispose();
    this.#value = undefined;
  }
}

/** ONNX Runtime for Node: CPU by default, other execution providers by name. */
export class OrtNodeEngine implements Engine {
  readonly name = "onnxruntime-node";
  readonly precision: Precision;
  readonly #options: ort.InferenceSession.SessionOptions;
  readonly #live = new Set<ort.InferenceSession>();
  #compiled = 0;

  /** @throws OptionError */
  constructor(options: OrtNodeOptions = {}) {
    const { precision = "float32", threads = availableParallelism(), lowMemory = false, providers = ["cpu"] } = options;
    if (precision !== "float32" && precision !== "float64")
      throw new OptionError(`precision: expected "float32" or "float64", found ${JSON.stringify(precision)}`);
    if (!Number.isInteger(threads) || threads < 1)
      throw new OptionError(`threads: expected a whole number of at least 1, found ${threads}`);
    this.precision = precision;
    this.#options = {
      executionProviders: [...providers],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      enableMemPattern: false,
      enableCpuMemArena: !lowMemory,
      logSeverityLevel: 3,
      ...(precision === "float64" ? { extra: EXACT } : {}),
    };
  }

  get sessions(): { compiled: number; live: number } {
    return { compiled: this.#compiled, live: this.#live.size };
  }

  async upload(array: NDArray): Promise<EngineTensor> {
    if (!isFloat(array)) {
      const data = BigInt64Array.from(array.data as Iterable<number | bigint>, BigInt);
      return new OrtTensor(new ort.Tensor("int64", data, array.shape), "int");
    }
    const Data = this.precision === "float32" ? Float32Array : Float64Array;
    const data = array.data instanceof Data ? array.data : new Data(array.data);
    return new OrtTensor(new ort.Tensor(this.precision, data, array.shape), "float");
  }

  async read(tensor: EngineTensor): Promise<NDArray> {
    const { data } = own(tensor).value;
    if (tensor.dtype === "float") return { shape: tensor.shape, data: (data as Float32Array | Float64Array).slice() };
    return { shape: tensor.shape, data: Int32Array.from(data as Iterable<number | bigint>, Number) };
  }

  release(...tensors: EngineTensor[]): void {
    for (const tensor of tensors) own(tensor).release();
  }

  async compile(graph: Graph, options: CompileOptions = {}): Promise<Session> {
    checkBatchKnown(graph);
    const session = await this.#create(graph, options);
    this.#compiled++;
    this.#live.add(session);
    return {
      run: async (inputs, donated = []) => {
        if (!this.#live.has(session)) throw new DisposedError("this session was disposed");
        const outputs = await run(session, graph, inputs);
        this.release(...donated);
        return outputs;
      },
      dispose: () => this.#release(session),
    };
  }

  async dispose(): Promise<void> {
    await Promise.all([...this.#live].map((session) => this.#release(session)));
  }

  async #create(graph: Graph, { lowMemory }: CompileOptions): Promise<ort.InferenceSession> {
    const options = { ...this.#options, ...(lowMemory === undefined ? {} : { enableCpuMemArena: !lowMemory }) };
    try {
      return await ort.InferenceSession.create(toOnnx(graph, this.precision), options);
    } catch (cause) {
      throw new GraphError(`ONNX Runtime cannot run this graph in ${this.precision}: ${(cause as Error).message}`, {
        cause,
      });
    }
  }

  async #release(session: ort.InferenceSession): Promise<void> {
    if (this.#live.delete(session)) await session.release();
  }
}

function own(tensor: EngineTensor): OrtTensor {
  invariant(tensor instanceof OrtTensor, "a tensor of another engine");
  return tensor;
}

async function run(
  session: ort.InferenceSession,
  graph: Graph,
  inputs: Tensors,
): Promise<Record<string, EngineTensor>> {
  checkInputs(graph, inputs);
  const feeds: Record<string, ort.Tensor> = {};
  for (const { name } of graph.inputs) feeds[name] = own(inputs[name]!).value;
  const fetches = await session.run(feeds).catch((cause: Error) => {
    throw new GraphError(`ONNX Runtime failed: ${cause.message}`, { cause });
  });
  const outputs: Record<string, EngineTensor> = {};
  for (const [name, node] of graph.outputs) outputs[name] = new OrtTensor(fetches[outputName(name)]!, node.dtype);
  return outputs;
}
