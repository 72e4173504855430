import { availableParallelism } from "node:os";
import type { InferenceSession } from "onnxruntime-node";
import { concrete, type DType, type Graph, type Node } from "../graph/index.ts";
import {
  CHAIN,
  elementOf,
  encodeModel,
  lowerGraph,
  outputName,
  type Precision,
  type Rows,
  TILE,
  tileGraph,
} from "../onnx/index.ts";
import { DisposedError, GraphError, GrnewtError, invariant, OptionError } from "../util/errors.ts";
import { checkArray, type FloatData, isFloat, type NDArray, sizeOf } from "../util/ndarray.ts";
import { handled } from "../util/promises.ts";
import {
  type CompileOptions,
  checkBatchKnown,
  checkInputs,
  type Engine,
  type EngineTensor,
  finished,
  type Running,
  type Session,
  type Tensors,
} from "./engine.ts";
import { blockModel, blockSizeOf, WORTH } from "./ort-node/blocks.ts";
import { type Described, type Id, type Near, type Port, type RunCall, SMALL, type Upload } from "./ort-node/calls.ts";
import { withRefusal } from "./ort-node/in-place.ts";
import { withoutRewrites } from "./ort-node/rewrites.ts";
import { type Lane, Threads } from "./ort-node/threads.ts";
import { checkTuning, type Tuning } from "./tuning.ts";

/** How ONNX Runtime runs. */
export interface OrtNodeOptions {
  /** The real numbers of every graph; "float32" by default. */
  readonly precision?: Precision;
  /** Threads that compute, on one operator or each on a part of a batch; by default as `tuning` says, or all of the machine's. */
  readonly threads?: number;
  /**
   * Gives memory back between operators instead of keeping it for the next, and runs nothing side by side: less memory, some
   * speed lost. Off by default.
   */
  readonly lowMemory?: boolean;
  /** Execution providers in the order of preference, `["cpu"]` by default; "cuda" needs onnxruntime-node's CUDA files. */
  readonly providers?: readonly string[];
  /** What `tune` chose by measuring for a model. Without it everything is as the rules say. */
  readonly tuning?: Tuning | undefined;
}

/**
 * Numbers too small for a full mantissa count as 0: processors take fifteen times as long for an exp that gives them, as in
 * every softmax with hidden places.
 */
const WITHOUT_DENORMALS = { session: { set_denormal_as_zero: "1" } };

/** Sessions that run side by side at most: each has its own copy of the parameters. */
const MOST_LANES = 4;

/** A session of the engine's threads, and how many samples its runs must have where that is fixed. */
interface Compiled {
  readonly session: Id;
  readonly samples: number | undefined;
}

/** A tensor that lies with the engine's threads. */
class OrtTensor implements EngineTensor {
  readonly owner: OrtNodeEngine;
  readonly id: Id;
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Its entries, where they came with the answer to a run. */
  near: FloatData | undefined;

  constructor(owner: OrtNodeEngine, id: Id, shape: readonly number[], dtype: DType) {
    this.owner = owner;
    this.id = id;
    this.shape = shape;
    this.dtype = dtype;
  }
}

/**
 * ONNX Runtime for Node: CPU by default, other execution providers by name. It computes in a thread of its own, so that
 * timers, signals and servers go on meanwhile. An idle engine does not keep the process alive; `dispose` ends its thread.
 */
export class OrtNodeEngine implements Engine {
  readonly name = "onnxruntime-node";
  readonly precision: Precision;
  readonly tuning: Tuning | undefined;
  readonly threads: number;
  readonly lanes: number;
  readonly spareProcessor: boolean;
  readonly #options: InferenceSession.SessionOptions;
  readonly #threads: Threads;
  readonly #sessions = new Set<Id>();
  #blockSize: Promise<number | undefined> | undefined;
  #compiled = 0;
  /** How many tensors and sessions were named so far. */
  #named = 0;

  /** @throws OptionError */
  constructor(options: OrtNodeOptions = {}) {
    const { precision = "float32", tuning, lowMemory = false, providers = ["cpu"] } = options;
    if (tuning !== undefined) checkTuning(tuning);
    const { threads = tuning?.threads ?? availableParallelism() } = options;
    if (precision !== "float32" && precision !== "float64")
      throw new OptionError(`precision: expected "float32" or "float64", found ${JSON.stringify(precision)}`);
    if (!Number.isInteger(threads) || threads < 1)
      throw new OptionError(`threads: expected a whole number of at least 1, found ${threads}`);
    this.precision = precision;
    this.tuning = tuning;
    this.threads = threads;
    this.lanes = lowMemory ? 1 : Math.min(threads, MOST_LANES);
    this.spareProcessor = threads < availableParallelism();
    this.#threads = new Threads(this.lanes);
    this.#options = {
      executionProviders: [...providers],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      enableMemPattern: false,
      enableCpuMemArena: !lowMemory,
      logSeverityLevel: 3,
      extra: { ...withoutRewrites(precision), ...WITHOUT_DENORMALS },
    };
  }

  get sessions(): { compiled: number; live: number } {
    return { compiled: this.#compiled, live: this.#sessions.size };
  }

  get tensors(): { live: number } {
    return { live: this.#threads.size };
  }

  async upload(array: NDArray): Promise<EngineTensor> {
    checkArray("upload", array);
    const id = this.#name();
    this.#threads.upload({ tensor: id, shape: array.shape, ...this.#copy(array) });
    return new OrtTensor(this, id, array.shape, isFloat(array) ? "float" : "int");
  }

  async read(tensor: EngineTensor): Promise<NDArray> {
    const { id, near } = own(this, tensor);
    this.#checkLive(id);
    return { shape: tensor.shape, data: near?.slice() ?? (await this.#threads.read(id)) };
  }

  release(...tensors: EngineTensor[]): void {
    this.#threads.release(tensors.map((tensor) => own(this, tensor).id));
  }

  async compile(graph: Graph, options: CompileOptions = {}): Promise<Session> {
    checkBatchKnown(graph);
    const sideBySide = options.sideBySide ? Math.min(this.lanes, options.threads ?? this.threads) : 1;
    const begin = sideBySide > 1 ? this.#beginAbreast : this.#begin;
    const { session, samples } = await this.#create(graph, options, sideBySide);
    // What the first other number of samples needs, often that of the last part or batch, and what all others do.
    const others = new Map<number | undefined, Promise<Compiled>>();
    const other = (count: number): Promise<Compiled> => {
      const key = others.size === 0 || others.has(count) ? count : undefined;
      const known = others.get(key) ?? this.#create(graph, { ...options, samples: key }, sideBySide);
      others.set(key, known);
      known.catch(() => others.delete(key));
      return known;
    };
    const beginOther = async (count: number, inputs: Tensors, donated: readonly EngineTensor[]) => {
      this.#checkSession(session);
      const compiled = await other(count);
      this.#checkSession(session);
      return await begin.call(this, compiled.session, graph, inputs, donated);
    };
    const begun: Session["begin"] = async (inputs, donated = []) => {
      const count = samples === undefined ? undefined : checkInputs(graph, inputs);
      if (count !== samples) return await beginOther(count!, inputs, donated);
      return await begin.call(this, session, graph, inputs, donated);
    };
    return {
      sideBySide,
      run: async (inputs, donated) => await finished(await begun(inputs, donated)),
      begin: begun,
      dispose: async () => {
        await this.#disposeSession(session, sideBySide);
        for (const compiled of await Promise.allSettled(others.values()))
          if (compiled.status === "fulfilled") await this.#disposeSession(compiled.value.session, sideBySide);
      },
    };
  }

  async #disposeSession(session: Id, sideBySide: number): Promise<void> {
    if (!this.#sessions.delete(session)) return;
    for (let lane = 0; lane < sideBySide; lane++) await this.#threads.call(lane, "dispose", session);
  }

  async dispose(): Promise<void> {
    this.#sessions.clear();
    await this.#threads.end();
    // What was under way.
    this.#sessions.clear();
  }

  /** Channels in a block, found out once; undefined where the engine has no operators on blocks, and refuses them. */
  blockSize(): Promise<number | undefined> {
    const options = { ...this.#options, intraOpNumThreads: 1 };
    const mayHave = this.precision === "float32" && options.executionProviders?.[0] === "cpu";
    this.#blockSize ??= mayHave
      ? this.#threads.call(0, "probe", { model: blockModel(), options }).then(blockSizeOf, () => undefined)
      : Promise.resolve(undefined);
    return this.#blockSize;
  }

  async #create(graph: Graph, asked: CompileOptions, sideBySide: number): Promise<Compiled> {
    const { lowMemory, threads = this.threads, convolutions = this.tuning?.convolutions, samples, part } = asked;
    const session = this.#name();
    const target = { precision: this.precision, blockSize: await this.blockSize(), samples };
    const intraOpNumThreads = Math.floor(threads / sideBySide);
    const options = {
      ...this.#options,
      ...(lowMemory === undefined ? {} : { enableCpuMemArena: !lowMemory }),
      intraOpNumThreads,
    };
    const chain = intraOpNumThreads === 1 ? CHAIN.alone : CHAIN.together;
    const tiled = tileGraph(graph, TILE * intraOpNumThreads, chain);
    const lowered = lowerGraph(tiled.graph, target, { convolutions, part, worth: WORTH });
    const model = encodeModel(withRefusal(lowered));
    const call = {
      session,
      model,
      options,
      inputs: portsOf(inputsOf(tiled.graph), tiled.inputs, inputsOf(graph)),
      outputs: portsOf(outputsOf(tiled.graph), tiled.outputs, outputsOf(graph), outputName),
    };
    const compile = (lane: Lane): Promise<undefined> =>
      this.#threads.call(lane, "compile", call).catch((cause: Error) => {
        throw explained(`ONNX Runtime cannot run this graph in ${this.precision}`, cause);
      });
    const [first, ...others] = Array.from({ length: sideBySide }, (_, lane) => lane);
    const begun = compile(first!);
    // The first session of all sets how its thread computes, which others inherit as they start.
    if (this.#compiled === 0) await begun;
    const all = [begun, ...others.map(compile)];
    await Promise.all(all).catch(async (error: unknown) => {
      for (const [lane, { status }] of (await Promise.allSettled(all)).entries())
        if (status === "fulfilled") await this.#threads.call(lane, "dispose", session);
      throw error;
    });
    this.#compiled++;
    this.#sessions.add(session);
    return { session, samples: lowered.samples };
  }

  async #begin(session: Id, graph: Graph, inputs: Tensors, donated: readonly EngineTensor[]): Promise<Running> {
    return await this.#beginIn(0, graph, this.#callOf(session, graph, inputs, donated));
  }

  /** Begins where there is the least to do. */
  async #beginAbreast(session: Id, graph: Graph, inputs: Tensors, donated: readonly EngineTensor[]): Promise<Running> {
    const call = this.#callOf(session, graph, inputs, donated);
    const used = new Set(call.donated);
    await this.#threads.spread(call.inputs.filter((id) => !used.has(id)));
    this.#checkUsable(call);
    return await this.#beginIn(this.#threads.idlest, graph, call);
  }

  #callOf(session: Id, graph: Graph, inputs: Tensors, donated: readonly EngineTensor[]): RunCall {
    const samples = checkInputs(graph, inputs);
    const call = {
      session,
      inputs: graph.inputs.map(({ name }) => own(this, inputs[name]!).id),
      outputs: Array.from(graph.outputs.values(), (node) => this.#described(node, samples)),
      donated: donated.map((tensor) => own(this, tensor).id),
    };
    this.#checkUsable(call);
    return call;
  }

  /** @throws DisposedError where the session or a tensor of a run is no longer there */
  #checkUsable({ session, inputs, donated }: RunCall): void {
    this.#checkSession(session);
    for (const id of [...inputs, ...donated]) this.#checkLive(id);
  }

  #checkSession(session: Id): void {
    if (!this.#sessions.has(session)) throw new DisposedError("this session was disposed");
  }

  /** @throws DisposedError where a tensor is no longer there */
  #checkLive(id: Id): void {
    if (!this.#threads.has(id)) throw new DisposedError("this tensor was released");
  }

  async #beginIn(lane: Lane, graph: Graph, call: RunCall): Promise<Running> {
    const coming = this.#threads.send(lane, call.inputs, new Set(call.donated));
    if (coming.length > 0) {
      await Promise.all(coming);
      this.#checkUsable(call);
    }
    const answer = this.#threads.call(lane, "run", call);
    const made = [...graph.outputs].map(([name, { dtype }], i) => {
      const { tensor, shape } = call.outputs[i]!;
      this.#threads.made(tensor, lane);
      return [name, new OrtTensor(this, tensor, shape, dtype)] as const;
    });
    const done = answer.then(
      (near) => {
        this.#threads.used(call.donated, lane);
        bringNear(
          made.map(([, tensor]) => tensor),
          near,
        );
      },
      (cause: Error) => {
        this.#threads.release(call.outputs.map(({ tensor }) => tensor));
        throw explained("ONNX Runtime failed", cause);
      },
    );
    return { outputs: Object.fromEntries(made), done: handled(done) };
  }

  #described({ dtype, shape }: Node, samples: number): Described {
    return { tensor: this.#name(), element: elementOf(dtype, this.precision), shape: concrete(shape, samples) };
  }

  #name(): Id {
    return this.#named++;
  }

  /** The entries as the thread will have them, which then owns them. */
  #copy(array: NDArray): Pick<Upload, "element" | "data"> {
    if (!isFloat(array))
      return { element: "int64", data: BigInt64Array.from(array.data as Iterable<number | bigint>, BigInt) };
    const Data = this.precision === "float32" ? Float32Array : Float64Array;
    return { element: this.precision, data: new Data(array.data) };
  }
}

/** Gives the small ones among a run's outputs their entries. */
function bringNear(outputs: readonly OrtTensor[], near: Near): void {
  let at = 0;
  for (const tensor of outputs) {
    const size = sizeOf(tensor.shape);
    if (tensor.dtype !== "float" || size > SMALL) continue;
    tensor.near = near!.subarray(at, at + size);
    at += size;
  }
}

function inputsOf({ inputs }: Graph): string[] {
  return inputs.map(({ name }) => name);
}

function outputsOf({ outputs }: Graph): string[] {
  return [...outputs.keys()];
}

/** What the model has for the tensors of a session. */
function portsOf(
  names: readonly string[],
  tiles: ReadonlyMap<string, Rows>,
  tensors: readonly string[],
  called: (name: string) => string = (name) => name,
): Port[] {
  const at = new Map(tensors.map((name, i) => [name, i]));
  return names.map((name) => {
    const rows = tiles.get(name);
    return { name: called(name), tensor: at.get(rows?.of ?? name)!, rows };
  });
}

function own(engine: OrtNodeEngine, tensor: EngineTensor): OrtTensor {
  invariant(tensor instanceof OrtTensor && tensor.owner === engine, "a tensor of another engine");
  return tensor;
}

/** An error of ONNX Runtime as one that says what it was to do; what is ours stays as it is. */
function explained(what: string, cause: Error): Error {
  return cause instanceof GrnewtError ? cause : new GraphError(`${what}: ${cause.message}`, { cause });
}
