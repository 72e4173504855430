import {
  concrete,
  type DType,
  type Graph,
  type InputAttrs,
  type Node,
  type PartSums,
  type Value,
} from "../graph/index.ts";
import { DisposedError, invariant } from "../util/errors.ts";
import { checkArray, isFloat, type NDArray } from "../util/ndarray.ts";
import { checkBatchKnown, checkInputs, type Engine, type EngineTensor, type Session, type Tensors } from "./engine.ts";
import { sliceSamples } from "./masks.ts";

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
  readonly threads: number = 1;
  readonly lanes = 1;
  readonly spareProcessor: boolean = true;
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
    const run: Session["run"] = async (inputs, donated = []) => {
      if (!this.#sessions.has(key)) throw new DisposedError("this session was disposed");
      const outputs = this.#evaluate(graph, inputs);
      this.release(...donated);
      return outputs;
    };
    return {
      sideBySide: 1,
      run,
      begin: async (inputs, donated) => ({ outputs: await run(inputs, donated), done: Promise.resolve() }),
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
    const samples = checkInputs(graph, inputs);
    const given = new Map(
      graph.inputs.map(({ name }) => [name, { shape: inputs[name]!.shape, data: this.#dataOf(inputs[name]!) }]),
    );
    const found = evaluate(graph, given, samples);
    const outputs: Record<string, EngineTensor> = {};
    for (const [name, node] of graph.outputs) {
      const { shape, data } = found.get(name)!;
      outputs[name] = this.#tensor(shape, node.dtype, data.slice());
    }
    return outputs;
  }
}

type Values = ReadonlyMap<string, Value>;

/** The outputs of a graph by name, from its inputs by name. */
function evaluate(graph: Graph, given: Values, samples: number): Values {
  const known = graph.ahead ? new Map([...given, ...sumsOver(graph.ahead, given, samples)]) : given;
  const values = new Map<Node, Value>();
  for (const node of graph.nodes) {
    const shape = concrete(node.shape, samples);
    const operands = node.inputs.map((input) => values.get(input)!);
    const value = node.op.name === "input" ? known.get((node.attrs as InputAttrs).name)! : undefined;
    values.set(node, value ?? { shape, data: node.op.value(operands, node.attrs, shape) });
  }
  return new Map([...graph.outputs].map(([name, node]) => [name, values.get(node)!]));
}

function sumsOver({ graph, size: { name: sizeName } }: PartSums, given: Values, samples: number): Values {
  const size = given.get(sizeName)!.data[0]!;
  invariant(samples % size === 0, `parts of ${size} samples in a batch of ${samples}`);
  const sums = new Map<string, Value>();
  for (let start = 0; start < samples; start += size) {
    const own = graph.inputs.map(({ name, node }) => {
      const part = sliceSamples(given.get(name)!, node.shape, start, start + size);
      return [name, part as Value] as const;
    });
    for (const [name, { shape, data }] of evaluate(graph, new Map(own), size)) {
      const sum = sums.get(name)?.data;
      sums.set(name, { shape, data: sum ? data.map((value, i) => value + sum[i]!) : data });
    }
  }
  return sums;
}

function own(engine: ReferenceEngine, tensor: EngineTensor): ReferenceTensor {
  invariant(tensor instanceof ReferenceTensor && tensor.owner === engine, "a tensor of another engine");
  return tensor;
}
