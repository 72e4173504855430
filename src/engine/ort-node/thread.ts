import { MessageChannel, type MessagePort, type Transferable, type Worker } from "node:worker_threads";
import { DisposedError, GrnewtError } from "../../util/errors.ts";
import type { Answer, Call, Calls, Id, Message, Upload } from "./calls.ts";
import { Gate } from "./gate.ts";
import { startWorker } from "./start.ts";

interface Waiting {
  readonly resolve: (answer: never) => void;
  readonly reject: (error: Error) => void;
}

/**
 * The thread that has ONNX Runtime, whose every call blocks. It starts with the first message, does what it is told in that
 * order, and keeps the process alive only while a call waits for its answer.
 */
export class OrtThread {
  readonly #gate = new Gate();
  readonly #waiting: Waiting[] = [];
  /** The thread that starts this one. */
  readonly #parent: OrtThread | undefined;
  /** What it is told through. */
  #channel: Worker | MessagePort | undefined;
  /** What goes with the next call, as a message costs more than what most of them hold; where none follows, by itself. */
  #uploads: Upload[] = [];
  #released: Id[] = [];
  #scheduled = false;
  #end: Promise<void> | undefined;
  #onEnd: () => void = () => {};
  /** Why there is no thread any more. */
  #over: Error | undefined;

  /**
   * @param parent the thread that starts this one, instead of the one that calls it. It inherits how numbers are computed that
   * are too small for a full mantissa, which ONNX Runtime sets in the thread of a process's first session only.
   */
  constructor(parent?: OrtThread) {
    this.#parent = parent;
  }

  /** How many calls wait for their answer. */
  get load(): number {
    return this.#waiting.length;
  }

  /** Gives the thread a tensor, whose memory goes over to it. @throws as `call` does */
  upload(upload: Upload): void {
    if (this.#over) throw this.#over;
    this.#uploads.push(upload);
    this.#schedule();
  }

  /** Has tensors freed, after all calls that were made before. */
  release(tensors: readonly Id[]): void {
    if (this.#over) return;
    this.#released.push(...tensors);
    this.#schedule();
  }

  /**
   * Asks the thread for something.
   * @param transfer memory that goes over to it.
   * @throws the thread's error where it fails; GrnewtError where the thread was lost; DisposedError.
   */
  async call<K extends keyof Calls>(
    kind: K,
    asked: Calls[K]["asked"],
    ...transfer: Transferable[]
  ): Promise<Calls[K]["answer"]> {
    if (this.#over) throw this.#over;
    this.#post([kind, asked] as Call, transfer);
    return await new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#channel!.ref();
    });
  }

  /** From now on it is told nothing new. */
  close(): void {
    this.#over ??= new DisposedError("this engine was disposed");
  }

  /** Ends the thread, after all that it was told. */
  end(): Promise<void> {
    this.close();
    this.#end ??= this.#endOnce();
    return this.#end;
  }

  async #endOnce(): Promise<void> {
    const channel = this.#channel;
    if (!channel) return;
    channel.ref();
    channel.postMessage(null);
    await new Promise<void>((resolve) => {
      this.#onEnd = resolve;
    });
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (!this.#over && this.#uploads.length + this.#released.length > 0) this.#post();
    });
  }

  #post(call?: Call, transfer: readonly Transferable[] = []): void {
    this.#channel ??= this.#start();
    const message: Message = { uploads: this.#uploads, released: this.#released, call };
    this.#channel.postMessage(message, [...transfer, ...this.#uploads.map(({ data }) => data.buffer)]);
    this.#uploads = [];
    this.#released = [];
  }

  #start(): Worker | MessagePort {
    const channel = this.#parent ? this.#startBy(this.#parent) : this.#startWorker();
    channel.on("message", (answer: Answer) => this.#settle(answer));
    channel.unref();
    closeAtExit(this.#gate);
    return channel;
  }

  #startWorker(): Worker {
    const worker = startWorker({ state: this.#gate.state })!;
    worker.on("error", (error: NodeJS.ErrnoException) => {
      // Of the thread's own file.
      const missing = error.code === "MODULE_NOT_FOUND";
      this.#lose(error, missing ? " (a bundle must leave grnewt out: mark it as external)" : "");
      // It may have failed to load.
      leaveOpen(this.#gate);
    });
    worker.on("exit", (status) => this.#ended(`it ended with status ${status}`));
    return worker;
  }

  #startBy(parent: OrtThread): MessagePort {
    const { port1, port2 } = new MessageChannel();
    port1.on("close", () => this.#ended("it ended"));
    parent.call("start", { state: this.#gate.state, port: port2 }, port2).catch((error: Error) => {
      this.#lose(error);
      port1.close();
    });
    return port1;
  }

  #ended(why: string): void {
    this.#channel = undefined;
    leaveOpen(this.#gate);
    this.#lose(new Error(why));
    this.#onEnd();
  }

  #settle(answer: Answer): void {
    const { resolve, reject } = this.#waiting.shift()!;
    if (this.#waiting.length === 0 && !this.#over) this.#channel!.unref();
    if ("error" in answer) reject(answer.error);
    else resolve(answer.answer as never);
  }

  #lose(cause: Error, hint: string = ""): void {
    this.#over ??= new GrnewtError(`the thread of ONNX Runtime was lost: ${cause.message}${hint}`, { cause });
    for (const { reject } of this.#waiting.splice(0)) reject(this.#over);
  }
}

/** Of all threads; one listener for them, as Node warns of many. */
const gates = new Set<Gate>();

function closeAtExit(gate: Gate): void {
  if (gates.size === 0) process.on("exit", closeAll);
  gates.add(gate);
}

function leaveOpen(gate: Gate): void {
  gates.delete(gate);
  if (gates.size === 0) process.off("exit", closeAll);
}

function closeAll(): void {
  for (const gate of gates) gate.close();
}
