import * as ort from "onnxruntime-node";
import type { ElementType } from "../../onnx/index.ts";
import { type FloatData, sizeOf } from "../../util/ndarray.ts";
import {
  type Calls,
  type Described,
  type Entries,
  type Id,
  type Near,
  type Port,
  SMALL,
  type Upload,
} from "./calls.ts";
import { runInPlace } from "./in-place.ts";
import { LARGE, Memory } from "./memory.ts";
import { startWorker } from "./start.ts";

/** A compiled model with its inputs and outputs. */
interface Compiled {
  readonly session: ort.InferenceSession;
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
}

/** What the entries of tensors lie in. */
const ARRAYS = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array, bool: Uint8Array } as const;

/** How calls are answered. */
type Answers = { readonly [K in keyof Calls]: (asked: Calls[K]["asked"]) => Promise<Calls[K]["answer"]> };

/** The side of the engine that has ONNX Runtime: its tensors and sessions. Whether they exist is checked on the other side. */
export class OrtHost {
  readonly #tensors = new Map<Id, ort.Tensor>();
  readonly #sessions = new Map<Id, Compiled>();
  readonly #memory = new Memory();

  readonly answers: Answers = {
    compile: async ({ session, model, options, inputs, outputs }) => {
      this.#sessions.set(session, { session: await ort.InferenceSession.create(model, options), inputs, outputs });
      return undefined;
    },
    probe: async ({ model, options }) => {
      const session = await ort.InferenceSession.create(model, options);
      const [found] = Object.values(await session.run({}));
      await session.release();
      return Int32Array.from(found!.dims);
    },
    run: async ({ session, inputs, outputs, donated }) => {
      const compiled = this.#sessions.get(session)!;
      const given = inputs.map((id) => this.#tensor(id));
      const made = await this.#results(compiled, byName(compiled.inputs, given), outputs);
      this.release(donated);
      for (const [i, { tensor }] of outputs.entries()) this.#tensors.set(tensor, made[i]!);
      return nearOf(made);
    },
    read: async (id) => {
      const { type, data } = this.#tensor(id);
      if (isReal(type)) return (data as FloatData).slice();
      return Int32Array.from(data as Iterable<number | bigint>, Number);
    },
    hand: async ({ tensors, moved }) => tensors.map((id) => (moved ? this.#give(id) : this.#copy(id))),
    start: async (call) => {
      startWorker(call)?.unref();
      return undefined;
    },
    dispose: async (id) => {
      const { session } = this.#sessions.get(id)!;
      this.#sessions.delete(id);
      await session.release();
      this.#memory.clear();
      return undefined;
    },
  };

  upload({ tensor, element, data, shape }: Upload): void {
    this.#tensors.set(tensor, new ort.Tensor(element, data, shape));
  }

  release(ids: readonly Id[]): void {
    for (const id of ids) {
      const tensor = this.#tensors.get(id);
      // A run may have freed it meanwhile, which it was donated to.
      if (tensor) this.#memory.give((tensor.data as FloatData).buffer as ArrayBuffer);
      this.#tensors.delete(id);
    }
  }

  /** @throws Error where the run has failed that was to make it */
  #tensor(id: Id): ort.Tensor {
    const tensor = this.#tensors.get(id);
    if (!tensor) throw new Error("the run before it failed");
    return tensor;
  }

  #copy(tensor: Id): Upload {
    const { type, data, dims } = this.#tensor(tensor);
    const entries = data as Entries;
    const [memory] = this.#memory.take([entries.byteLength]);
    const copy = new ARRAYS[type as ElementType](memory!) as Entries;
    copy.set(entries as never);
    return { tensor, element: type as ElementType, shape: dims, data: copy };
  }

  /** Takes a tensor away from this thread. Memory that ONNX Runtime made itself, which is small, cannot go with it. */
  #give(tensor: Id): Upload {
    const { type, data, dims } = this.#tensor(tensor);
    this.#tensors.delete(tensor);
    const entries = data as Entries;
    const own = entries.byteLength < LARGE ? entries.slice() : entries;
    return { tensor, element: type as ElementType, shape: dims, data: own };
  }

  async #results(
    { session, outputs: ports }: Compiled,
    given: Readonly<Record<string, ort.Tensor>>,
    outputs: readonly Described[],
  ): Promise<ort.Tensor[]> {
    const sizes = outputs.map(({ element, shape }) => sizeOf(shape) * ARRAYS[element].BYTES_PER_ELEMENT);
    if (sizes.every((size) => size < LARGE)) {
      const names = ports.map(({ name }) => name);
      const found = await session.run(given, names);
      return names.map((name) => found[name]!);
    }
    const memory = this.#memory.take(sizes);
    const made = outputs.map(
      ({ element, shape }, i) => new ort.Tensor(element, new ARRAYS[element](memory[i]!) as never, shape),
    );
    await runInPlace(session, given, byName(ports, made));
    return made;
  }

  /** Releases all sessions. */
  async end(): Promise<void> {
    for (const id of [...this.#sessions.keys()]) await this.answers.dispose(id);
  }
}

/** The tensors of a session under the names of its model. */
function byName(ports: readonly Port[], tensors: readonly ort.Tensor[]): Record<string, ort.Tensor> {
  const named: Record<string, ort.Tensor> = {};
  for (const { name, tensor, rows } of ports) named[name] = rows ? rowsOf(tensors[tensor]!, rows) : tensors[tensor]!;
  return named;
}

/** Some rows of a tensor, in its memory. */
function rowsOf({ type, data }: ort.Tensor, { start, shape }: NonNullable<Port["rows"]>): ort.Tensor {
  return new ort.Tensor(type, (data as FloatData).subarray(start, start + sizeOf(shape)) as never, shape);
}

function isReal(type: ort.Tensor.Type): boolean {
  return type === "float32" || type === "float64";
}

function nearOf(tensors: readonly ort.Tensor[]): Near {
  const small = tensors.flatMap(({ type, data }) =>
    isReal(type) && data.length <= SMALL ? [data as Float64Array] : [],
  );
  if (small.length === 0) return undefined;
  const size = small.reduce((sum, { length }) => sum + length, 0);
  const near = new (small[0]!.constructor as Float64ArrayConstructor)(size);
  let at = 0;
  for (const data of small) {
    near.set(data, at);
    at += data.length;
  }
  return near;
}
