/** Signals that ask a command to stop, and the exit status that says so. */
const STATUS = { SIGINT: 130, SIGTERM: 143 } as const;

type StopSignal = keyof typeof STATUS;

/**
 * npm passes on to its child the signal that the terminal has sent to both: what comes within this time, in
 * milliseconds, is the same Ctrl-C.
 */
const SAME = 500;

/** Watches for requests to stop: the first is passed on as an abort, the second ends the process. */
export class StopRequests {
  readonly #abort = new AbortController();
  readonly #onFirst: () => void;
  readonly #onSecond: () => void;
  readonly #handlers = new Map<StopSignal, () => void>();
  #first: { readonly signal: StopSignal; readonly time: number } | undefined;

  /**
   * @param onFirst tells the user that the request is heard.
   * @param onSecond leaves the terminal as it was before the process ends.
   */
  constructor(onFirst: () => void, onSecond: () => void) {
    this.#onFirst = onFirst;
    this.#onSecond = onSecond;
    for (const signal of Object.keys(STATUS) as StopSignal[]) {
      const handler = (): void => this.#request(signal);
      this.#handlers.set(signal, handler);
      process.on(signal, handler);
    }
  }

  /** Aborted by the first request. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** The exit status that the request asks for, if there was one. */
  get status(): number | undefined {
    return this.#first && STATUS[this.#first.signal];
  }

  /** Stops watching. */
  release(): void {
    for (const [signal, handler] of this.#handlers) process.off(signal, handler);
    this.#handlers.clear();
  }

  #request(signal: StopSignal): void {
    if (!this.#first) {
      this.#first = { signal, time: performance.now() };
      this.#onFirst();
      this.#abort.abort();
    } else if (performance.now() - this.#first.time > SAME) {
      this.release();
      this.#onSecond();
      process.kill(process.pid, signal);
    }
  }
}
