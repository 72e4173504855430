import { concrete, type DType, type Graph, type Node, type Value } from "../graph/index.ts";
import { DisposedError, invariant } from "../util/errors.ts";
import { checkArray, isFloat, type NDArray } from "../util/ndarray.ts";
import { checkBatchKnown, checkInputs, type Engine, type EngineTensor, type Session, type Tensors } from "./engine.ts";

class ReferenceTensor implements EngineTensor {
  readonly owner: ReferenceEngine;
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly data: Float64Array;

  constructor(owner: ReferenceEngine, shape: readonly number[], dtype: DType, data: Float64Array) {
    this.owner = owner;
    this.shape = shape;
    this.dtype = dtype;
    this.data = data;
  }
}

/**
 * The oracle: every primitive evaluated by its own `value` rule, in float64, one after the other. Slow, and meant to be
 * plain enough to be right.
 */
export class ReferenceEngine implements Engine {
  readonly name = "reference";
  readonly precision = "float64";
  readonly #sessions = new Set<object>();
  readonly #tensors = new Set<EngineTensor>();
  #compiled = 0;
  #disposed = false;

  get sessions(): { compiled: number; live: number } {
    return { compiled: this.#compiled, live: this.#sessions.size };
  }

  get tensors(): { live: number } {
    return { live: this.#tensors.size };
  }

  async upload(array: NDArray): Promise<EngineTensor> {
    this.#checkUsable();
    checkArray("upload", array);
    const data = Float64Array.from(array.data as ArrayLike<number | bigint>, Number);
    return this.#tensor(array.shape, isFloat(array) ? "float" : "int", data);
  }

  async read(tensor: EngineTensor): Promise<NDArray> {
    const data = this.#dataOf(tensor);
    return { shape: tensor.shape, data: tensor.dtype === "float" ? data.slice() : Int32Array.from(data) };
  }

  release(...tensors: EngineTensor[]): void {
    for (const tensor of tensors) this.#tensors.delete(own(this, tensor));
  }

  async compile(graph: Graph): Promise<Session> {
    this.#checkUsable();
    checkBatchKnown(graph);
    this.#compiled++;
    const key = {};
    this.#sessions.add(key);
    return {
      run: async (inputs, donated = []) => {
        if (!this.#sessions.has(key)) throw new DisposedError("this session was disposed");
        const outputs = this.#evaluate(graph, inputs);
        this.release(...donated);
        return outputs;
      },
      dispose: async () => {
        this.#sessions.delete(key);
      },
    };
  }

  async dispose(): Promise<void> {
    this.#disposed = true;
    this.#sessions.clear();
    this.#tensors.clear();
  }

  #checkUsable(): void {
    if (this.#disposed) throw new DisposedError("this engine was disposed");
  }

  #tensor(shape: readonly number[], dtype: DType, data: Float64Array): EngineTensor {
    const tensor = new ReferenceTensor(this, shape, dtype, data);
    this.#tensors.add(tensor);
    return tensor;
  }

  #dataOf(tensor: EngineTensor): Float64Array {
    const { data } = own(this, tensor);
    if (!this.#tensors.has(tensor)) throw new DisposedError("this tensor was released");
    return data;
  }

  #evaluate(graph: Graph, inputs: Tensors): Record<string, EngineTensor> {
    const batchSize = checkInputs(graph, inputs);
    const values = new Map<Node, Value>();
    for (const { name, node } of graph.inputs)
      values.set(node, { shape: inputs[name]!.shape, data: this.#dataOf(inputs[name]!) });
    for (const node of graph.nodes) {
      if (values.has(node)) continue;
      const shape = concrete(node.shape, batchSize);
      const operands = node.inputs.map((input) => values.get(input)!);
      values.set(node, { shape, data: node.op.value(operands, node.attrs, shape) });
    }
    const outputs: Record<string, EngineTensor> = {};
    for (const [name, node] of graph.outputs) {
      const { shape, data } = values.get(node)!;
      outputs[name] = this.#tensor(shape, node.dtype, data.slice());
    }
    return outputs;
  }
}

function own(engine: ReferenceEngine, tensor: EngineTensor): ReferenceTensor {
  invariant(tensor instanceof ReferenceTensor && tensor.owner === engine, "a tensor of another engine");
  return tensor;
}
