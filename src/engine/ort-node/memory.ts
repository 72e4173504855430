import { MessageChannel } from "node:worker_threads";

/** Bytes from which memory is worth the trouble. */
export const LARGE = 2 ** 16;

/**
 * Memory for the outputs of runs. That of tensors which are not needed any more serves again: the system must clear new
 * memory and provide its pages, which takes as long as several passes over it. No more is kept than two runs can use: where
 * shares of a batch run side by side, what they give comes back here together with the old parameters.
 */
export class Memory {
  /** The one that was given back first comes first. */
  readonly #free: ArrayBuffer[] = [];
  /** Bytes in all of them, and of large outputs in the run that had the most. */
  #bytes = 0;
  #most = 0;

  /** One for each output of a run, from their bytes. */
  take(sizes: readonly number[]): ArrayBuffer[] {
    const large = sizes.reduce((sum, size) => sum + (size < LARGE ? 0 : size), 0);
    this.#most = Math.max(this.#most, large);
    return sizes.map((size) => this.#reused(size) ?? new ArrayBuffer(size));
  }

  /** Takes memory back. */
  give(memory: ArrayBuffer): void {
    if (memory.byteLength < LARGE) return;
    this.#free.push(memory);
    this.#bytes += memory.byteLength;
    while (this.#bytes > 2 * this.#most) this.#drop();
  }

  /** Frees all that is kept. */
  clear(): void {
    this.#most = 0;
    while (this.#bytes > 0) this.#drop();
  }

  #reused(size: number): ArrayBuffer | undefined {
    const at = size < LARGE ? -1 : this.#free.findLastIndex(({ byteLength }) => byteLength === size);
    if (at < 0) return undefined;
    this.#bytes -= size;
    return this.#free.splice(at, 1)[0];
  }

  #drop(): void {
    const memory = this.#free.shift()!;
    this.#bytes -= memory.byteLength;
    free(memory);
  }
}

const nowhere = closedPort();

/** Frees memory at once, which the garbage collector would do later: what is transferred to a closed port is gone. */
function free(memory: ArrayBuffer): void {
  nowhere.postMessage(null, [memory]);
}

function closedPort() {
  const { port1 } = new MessageChannel();
  port1.close();
  return port1;
}
