import {
  type CompileOptions,
  DATA_INPUTS,
  type Engine,
  type EngineTensor,
  type Session,
  type Tensors,
} from "../engine/index.ts";
import { concrete, type Graph, type Node } from "../graph/index.ts";
import { type Batch, type NDArray, sizeOf } from "../util/ndarray.ts";
import { Random } from "../util/random.ts";

/** Runs graphs for the time that they take: on samples of a batch, and on noise for all else. */
export class DryRuns {
  readonly #engine: Engine;
  readonly #tensors: EngineTensor[] = [];
  readonly #sessions: Session[] = [];

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** What a graph is given, for so many samples. */
  async inputs(graph: Graph, samples: number, batch?: Batch): Promise<Tensors> {
    const random = new Random(0);
    const tensors: Record<string, EngineTensor> = {};
    for (const { name, node } of graph.inputs) {
      const given = batch && DATA_INPUTS.find((each) => each === name);
      tensors[name] = await this.#engine.upload(given ? first(batch[given], samples) : noise(node, samples, random));
    }
    this.#tensors.push(...Object.values(tensors));
    return tensors;
  }

  async compile(graph: Graph, options: CompileOptions): Promise<Session> {
    const session = await this.#engine.compile(graph, options);
    this.#sessions.push(session);
    return session;
  }

  /** As many runs as go on at once. */
  async run(session: Session, inputs: Tensors): Promise<void> {
    const runs = Array.from({ length: session.sideBySide }, () => session.run(inputs));
    for (const outputs of await Promise.all(runs)) this.#engine.release(...Object.values(outputs));
  }

  /** Frees what the runs so far have needed. */
  async clear(): Promise<void> {
    this.#engine.release(...this.#tensors.splice(0));
    for (const session of this.#sessions.splice(0)) await session.dispose();
  }
}

/** The first samples of an array, or all where there are no more. */
function first({ shape, data }: NDArray, samples: number): NDArray {
  const lengths = shape.with(0, Math.min(samples, shape[0]!));
  return { shape: lengths, data: data.subarray(0, sizeOf(lengths)) } as NDArray;
}

/** So many numbers are drawn; they are repeated where more are needed. */
const DRAWN = 4099;

/** Small real numbers, or zeros, which can be labels and indices; 1 for a number by itself, such as the size of the batch. */
function noise({ shape, dtype }: Node, samples: number, random: Random): NDArray {
  const lengths = concrete(shape, samples);
  const size = sizeOf(lengths);
  if (dtype !== "float") return { shape: lengths, data: new Int32Array(size) };
  if (lengths.length === 0) return { shape: lengths, data: Float32Array.of(1) };
  const data = new Float32Array(size);
  const scale = 1 / Math.sqrt(sizeOf(lengths.slice(1)));
  for (let i = 0; i < Math.min(size, DRAWN); i++) data[i] = scale * (2 * random.uniform() - 1);
  for (let filled = DRAWN; filled < size; filled *= 2) data.copyWithin(filled, 0, Math.min(filled, size - filled));
  return { shape: lengths, data };
}
