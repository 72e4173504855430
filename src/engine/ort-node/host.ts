import { MessageChannel } from "node:worker_threads";
import * as ort from "onnxruntime-node";
import type { FloatData } from "../../util/ndarray.ts";
import { type Calls, type Id, type Near, SMALL, type Upload } from "./calls.ts";

/** A compiled model, and what it calls its inputs and outputs. */
interface Compiled {
  readonly session: ort.InferenceSession;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

/** How calls are answered. */
type Answers = { readonly [K in keyof Calls]: (asked: Calls[K]["asked"]) => Promise<Calls[K]["answer"]> };

/** The side of the engine that has ONNX Runtime: its tensors and sessions. Whether they exist is checked on the other side. */
export class OrtHost {
  readonly #tensors = new Map<Id, ort.Tensor>();
  readonly #sessions = new Map<Id, Compiled>();

  readonly answers: Answers = {
    compile: async ({ session, model, options, inputs, outputs }) => {
      this.#sessions.set(session, { session: await ort.InferenceSession.create(model, options), inputs, outputs });
      return undefined;
    },
    run: async ({ session, inputs, outputs, donated }) => {
      const compiled = this.#sessions.get(session)!;
      const feeds: Record<string, ort.Tensor> = {};
      for (const [i, name] of compiled.inputs.entries()) feeds[name] = this.#tensors.get(inputs[i]!)!;
      const fetched = await compiled.session.run(feeds);
      this.release(donated);
      const found = compiled.outputs.map((name) => fetched[name]!);
      for (const [i, tensor] of found.entries()) this.#tensors.set(outputs[i]!, tensor);
      return nearOf(found);
    },
    read: async (id) => {
      const { type, data } = this.#tensors.get(id)!;
      if (isReal(type)) return (data as FloatData).slice();
      return Int32Array.from(data as Iterable<number | bigint>, Number);
    },
    dispose: async (id) => {
      const { session } = this.#sessions.get(id)!;
      this.#sessions.delete(id);
      await session.release();
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
      if (tensor) free((tensor.data as FloatData).buffer as ArrayBuffer);
      this.#tensors.delete(id);
    }
  }

  /** Releases all sessions. */
  async end(): Promise<void> {
    for (const id of [...this.#sessions.keys()]) await this.answers.dispose(id);
  }
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

/** Bytes from which memory is worth the trouble. */
const LARGE = 2 ** 16;
const nowhere = closedPort();

/**
 * Gives memory back at once, which the garbage collector would do later: the next outputs then get pages that the system has
 * already provided. What is transferred to a closed port is gone.
 */
function free(memory: ArrayBuffer): void {
  if (memory.byteLength >= LARGE) nowhere.postMessage(null, [memory]);
}

function closedPort() {
  const { port1 } = new MessageChannel();
  port1.close();
  return port1;
}
