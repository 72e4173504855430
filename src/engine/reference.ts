import { concrete, type DType, type Graph, type Node, type Value } from "../graph/index.ts";
import { DisposedError, invariant } from "../util/errors.ts";
import { isFloat, type NDArray } from "../util/ndarray.ts";
import { checkBatchKnown, checkInputs, type Engine, type EngineTensor, type Session, type Tensors } from "./engine.ts";

class ReferenceTensor implements EngineTensor {
  readonly shape: readonly number[];
  readonly dtype: DType;
  #data: Float64Array | undefined;

  constructor(shape: readonly number[], dtype: DType, data: Float64Array) {
    this.shape = shape;
    this.dtype = dtype;
    this.#data = data;
  }

  get data(): Float64Array {
    if (!this.#data) throw new DisposedError("this tensor was released");
    return this.#data;
  }

  release(): void {
    this.#data = undefined;
  }
}

/**
 * The oracle: every primitive evaluated by its own `value` rule, in float64, one after the other. Slow, and meant to be
 * plain enough to be right.
 */
export class ReferenceEngine implements Engine {
  readonly name = "reference";
  readonly precision = "float64";
  readonly #live = new Set<object>();
  #compiled = 0;

  get sessions(): { compiled: number; live: number } {
    return { compiled: this.#compiled, live: this.#live.size };
  }

  async upload(array: NDArray): Promise<EngineTensor> {
    const data = Float64Array.from(array.data as ArrayLike<number | bigint>, Number);
    return new ReferenceTensor(array.shape, isFloat(array) ? "float" : "int", data);
  }

  async read(tensor: EngineTensor): Promise<NDArray> {
    const { data } = own(tensor);
    return { shape: tensor.shape, data: tensor.dtype === "float" ? data.slice() : Int32Array.from(data) };
  }

  release(...tensors: EngineTensor[]): void {
    for (const tensor of tensors) own(tensor).release();
  }

  async compile(graph: Graph): Promise<Session> {
    checkBatchKnown(graph);
    this.#compiled++;
    const key = {};
    this.#live.add(key);
    return {
      run: async (inputs, donated = []) => {
        if (!this.#live.has(key)) throw new DisposedError("this session was disposed");
        const outputs = evaluate(graph, inputs);
        this.release(...donated);
        return outputs;
      },
      dispose: async () => {
        this.#live.delete(key);
      },
    };
  }

  async dispose(): Promise<void> {
    this.#live.clear();
  }
}

function own(tensor: EngineTensor): ReferenceTensor {
  invariant(tensor instanceof ReferenceTensor, "a tensor of another engine");
  return tensor;
}

function evaluate(graph: Graph, inputs: Tensors): Record<string, EngineTensor> {
  const batchSize = checkInputs(graph, inputs);
  const values = new Map<Node, Value>();
  for (const { name, node } of graph.inputs)
    values.set(node, { shape: inputs[name]!.shape, data: own(inputs[name]!).data });
  for (const node of graph.nodes) {
    if (values.has(node)) continue;
    const shape = concrete(node.shape, batchSize);
    const operands = node.inputs.map((input) => values.get(input)!);
    values.set(node, { shape, data: node.op.value(operands, node.attrs, shape) });
  }
  const outputs: Record<string, EngineTensor> = {};
  for (const [name, node] of graph.outputs) {
    const { shape, data } = values.get(node)!;
    outputs[name] = new ReferenceTensor(shape, node.dtype, data.slice());
  }
  return outputs;
}
