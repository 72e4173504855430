import { parentPort, Worker } from "node:worker_threads";
import { DataError, DisposedError } from "../../util/errors.ts";
import { Queue } from "../../util/queue.ts";

/** What a worker answers: the result, or why there is none. */
type Answer = { readonly result: Float32Array<ArrayBuffer> } | { readonly error: string };

interface Job<Task> {
  readonly task: Task;
  readonly resolve: (result: Float32Array) => void;
  readonly reject: (error: Error) => void;
  readonly signal: AbortSignal | undefined;
}

/**
 * Threads that do tasks of one kind, one at a time each. They start when they are needed, keep the process alive only while
 * they have something to do, and end with `dispose`.
 */
export class WorkerPool<Task> {
  readonly #file: URL;
  readonly #size: number;
  readonly #workers = new Map<Worker, Job<Task> | undefined>();
  #waiting: Job<Task>[] = [];
  #disposed = false;

  /**
   * @param file what the threads run; it calls {@link serve}.
   * @param size threads at most.
   */
  constructor(file: URL, size: number) {
    this.#file = file;
    this.#size = size;
  }

  /**
   * The result of a task.
   * @param signal aborted when it is not wanted any more: a task that has not begun then fails.
   * @throws DataError with the task's message, where it fails.
   */
  run(task: Task, signal?: AbortSignal): Promise<Float32Array> {
    return new Promise((resolve, reject) => {
      if (this.#disposed) throw new DisposedError("this data set was disposed");
      signal?.throwIfAborted();
      this.#waiting.push({ task, resolve, reject, signal });
      this.#next();
    });
  }

  /** Ends the threads; those in the middle of a task, after it. What waits fails with a DisposedError. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    for (const { reject } of this.#waiting.splice(0)) reject(new DisposedError("this data set was disposed"));
    const workers = [...this.#workers.keys()];
    await Promise.all(
      workers.map((worker) => {
        worker.ref();
        worker.postMessage(null);
        return new Promise((resolve) => worker.once("exit", resolve));
      }),
    );
  }

  /** Gives waiting tasks to idle threads, and starts more threads while there are fewer than there may be. */
  #next(): void {
    const idle = (): Worker | undefined => [...this.#workers].find(([, job]) => !job)?.[0];
    while (this.#waiting.length > 0) {
      // Asked here, and not listened to: a batch has one signal for all its images.
      const { signal, reject } = this.#waiting[0]!;
      if (signal?.aborted) {
        this.#waiting.shift();
        reject(signal.reason);
        continue;
      }
      const worker = idle() ?? (this.#workers.size < this.#size ? this.#start() : undefined);
      if (!worker) return;
      const job = this.#waiting.shift()!;
      this.#workers.set(worker, job);
      worker.ref();
      worker.postMessage(job.task);
    }
  }

  #start(): Worker {
    // Options of the process, such as --input-type, are not for its threads.
    const worker = new Worker(this.#file, { execArgv: [] });
    this.#workers.set(worker, undefined);
    worker.on("message", (answer: Answer) => {
      const job = this.#workers.get(worker)!;
      this.#workers.set(worker, undefined);
      if (!this.#disposed) worker.unref();
      if ("result" in answer) job.resolve(answer.result);
      else job.reject(new DataError(answer.error));
      this.#next();
    });
    worker.on("error", (error: Error) => this.#workers.get(worker)?.reject(error));
    worker.on("exit", (status) => {
      this.#workers.get(worker)?.reject(new Error(`a worker thread ended by itself, with status ${status}`));
      this.#workers.delete(worker);
      this.#next();
    });
    return worker;
  }
}

/** Runs in a worker thread of a {@link WorkerPool}: does its tasks, in the order in which they come. */
export function serve<Task>(work: (task: Task) => Promise<Float32Array<ArrayBuffer>>): void {
  const port = parentPort!;
  const handle = async (task: Task | null): Promise<void> => {
    if (task === null) return port.close();
    try {
      const result = await work(task);
      port.postMessage({ result } satisfies Answer, [result.buffer]);
    } catch (error) {
      port.postMessage({ error: (error as Error).message } satisfies Answer);
    }
  };
  const queue = new Queue();
  port.on("message", (task: Task | null) => queue.run(() => handle(task)));
}
