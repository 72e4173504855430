import { DisposedError } from "../../util/errors.ts";
import { Queue } from "../../util/queue.ts";
import type { Calls, Entries, Id, Upload } from "./calls.ts";
import { OrtThread } from "./thread.ts";

/** The number of a thread. */
export type Lane = number;

/** Where a tensor is: with some threads, or still here. */
interface Place {
  readonly lanes: Set<Lane>;
  upload: Upload | undefined;
}

/**
 * The threads of an engine. What runs alone runs in the first, and what runs side by side in all of them. A tensor goes to the
 * thread that needs it: for good where that uses it up, as a copy otherwise.
 */
export class Threads {
  readonly #threads: readonly OrtThread[];
  readonly #places = new Map<Id, Place>();
  /** Copies for all threads are made for one run after the other. */
  readonly #spreading = new Queue();
  #over = false;

  constructor(count: number) {
    const first = new OrtThread();
    this.#threads = Array.from({ length: count }, (_, lane) => (lane === 0 ? first : new OrtThread(first)));
  }

  /** How many tensors there are. */
  get size(): number {
    return this.#places.size;
  }

  has(tensor: Id): boolean {
    return this.#places.has(tensor);
  }

  /** The thread with the least to do. */
  get idlest(): Lane {
    const loads = this.#threads.map(({ load }) => load);
    return loads.indexOf(Math.min(...loads));
  }

  call<K extends keyof Calls>(lane: Lane, kind: K, asked: Calls[K]["asked"]): Promise<Calls[K]["answer"]> {
    return this.#threads[lane]!.call(kind, asked);
  }

  /** A new tensor, which stays here until a thread needs it. @throws DisposedError */
  upload(upload: Upload): void {
    if (this.#over) throw new DisposedError("this engine was disposed");
    this.#places.set(upload.tensor, { lanes: new Set(), upload });
  }

  /** A new tensor of a thread's. */
  made(tensor: Id, lane: Lane): void {
    this.#places.set(tensor, { lanes: new Set([lane]), upload: undefined });
  }

  /** Brings a tensor to a thread that has it not, and reads it there. */
  async read(tensor: Id): Promise<Calls["read"]["answer"]> {
    const [lane = 0] = this.#placeOf(tensor).lanes;
    await Promise.all(this.send(lane, [tensor]));
    return await this.call(lane, "read", tensor);
  }

  /**
   * Sees that a thread has tensors.
   * @param used those that it is to have for good.
   * @returns what to wait for before it has those that other threads have.
   * @throws DisposedError where one is on its way to another thread for good
   */
  send(lane: Lane, tensors: readonly Id[], used: ReadonlySet<Id> = new Set()): Promise<void>[] {
    const away = [...new Set(tensors)].filter((tensor) => !this.#placeOf(tensor).lanes.has(lane));
    const handed = new Map<string, { from: Lane; moved: boolean; tensors: Id[] }>();
    for (const tensor of away) {
      const { upload, lanes } = this.#placeOf(tensor);
      if (upload) {
        this.#put(lane, upload);
        continue;
      }
      const [from] = lanes;
      if (from === undefined) throw new DisposedError("this tensor was donated to another run");
      const moved = used.has(tensor);
      const group = handed.get(`${from} ${moved}`) ?? { from, moved, tensors: [] };
      group.tensors.push(tensor);
      handed.set(`${from} ${moved}`, group);
    }
    return [...handed.values()].map((group) => this.#hand(lane, group.from, group.tensors, group.moved));
  }

  /** Sees that all threads have tensors. */
  spread(tensors: readonly Id[]): Promise<void> {
    return this.#spreading.run(async () => {
      for (const tensor of tensors) {
        const upload = this.#places.get(tensor)?.upload;
        if (!upload) continue;
        for (let lane = 1; lane < this.#threads.length; lane++)
          this.#put(lane, { ...upload, data: upload.data.slice() as Entries });
        this.#put(0, upload);
      }
      // Some may have been released meanwhile.
      for (const lane of this.#threads.keys())
        await Promise.all(
          this.send(
            lane,
            tensors.filter((tensor) => this.has(tensor)),
          ),
        );
    });
  }

  /** Forgets tensors that a run has used up. */
  used(tensors: readonly Id[], lane: Lane): void {
    for (const tensor of tensors) this.#places.get(tensor)?.lanes.delete(lane);
    this.release(tensors);
  }

  /** Frees tensors, those that there are, after all calls that were made before. */
  release(tensors: readonly Id[]): void {
    const released = tensors.filter((tensor) => this.has(tensor));
    for (const [lane, thread] of this.#threads.entries()) {
      const own = released.filter((tensor) => this.#placeOf(tensor).lanes.has(lane));
      if (own.length > 0) thread.release(own);
    }
    for (const tensor of released) this.#places.delete(tensor);
  }

  /** Frees everything, and ends all threads. */
  async end(): Promise<void> {
    this.#over = true;
    this.#places.clear();
    for (const thread of this.#threads) thread.close();
    // The first one last, as it has started the others.
    for (const thread of [...this.#threads].reverse()) await thread.end();
    // What was under way.
    this.#places.clear();
  }

  async #hand(to: Lane, from: Lane, tensors: readonly Id[], moved: boolean): Promise<void> {
    for (const tensor of moved ? tensors : []) this.#placeOf(tensor).lanes.delete(from);
    const uploads = await this.call(from, "hand", { tensors, moved });
    for (const upload of uploads) if (this.has(upload.tensor)) this.#put(to, upload);
  }

  #put(lane: Lane, upload: Upload): void {
    const place = this.#placeOf(upload.tensor);
    this.#threads[lane]!.upload(upload);
    place.lanes.add(lane);
    place.upload = undefined;
  }

  #placeOf(tensor: Id): Place {
    return this.#places.get(tensor)!;
  }
}
