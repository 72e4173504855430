import { DataError, StateError } from "../util/errors.ts";
import type { Batch } from "../util/ndarray.ts";
import { checkBoolean, checkWhole, refuseUnknown } from "../util/options.ts";
import { handled } from "../util/promises.ts";
import { Random } from "../util/random.ts";
import type { Draw } from "./draw.ts";

/** What a {@link Loader} draws from: anything that can put numbered samples into a batch, at once or later. */
export interface BatchSource {
  /** How many samples there are. */
  readonly length: number;
  /** The batch of these samples, in this order; every position is in 0 … length − 1. */
  batch(positions: Uint32Array, draw: Draw): Batch | Promise<Batch>;
  /** Batches worth asking for ahead of their use; none if left out. */
  readonly ahead?: number;
}

/** How a loader divides a data set into batches. */
export interface LoaderOptions {
  /** Samples per batch; the last batch of an epoch may be smaller. */
  readonly batchSize: number;
  /** Whether each epoch has its own random order (default false: the order of the data set). */
  readonly shuffle?: boolean;
  /** A whole number (its low 32 bits count) that, with the epoch, determines the order (default 0). */
  readonly seed?: number;
  /** Whether to leave out a last, smaller batch (default false). */
  readonly dropLast?: boolean;
  /**
   * Batches of an epoch to ask for ahead of their use, so that they are prepared during a step (default: 1 where other
   * threads read the samples, else 0).
   */
  readonly prefetch?: number;
}

/** Where a loader stands, plain enough for JSON, and what it must agree with to be restored. */
export interface LoaderState {
  /** The epoch under way, from 0. */
  readonly epoch: number;
  /** Batches of that epoch already handed out, the one in hand included. */
  readonly position: number;
  /** Samples in the data set. */
  readonly samples: number;
  readonly batchSize: number;
  readonly shuffle: boolean;
  readonly seed: number;
  readonly dropLast: boolean;
}

/**
 * Batches of a data set, epoch after epoch. Every `for await` runs over one epoch, the next one each time; epoch e is
 * a pure function of the seed and e. {@link draw} instead takes one batch at a time, without end.
 *
 * Breaking out of a `for await` gives up the rest of its epoch: the next `for await` runs over the next epoch. The
 * state saved there still says where it stopped: a loader that restores it continues the very same epoch. A state
 * saved with an epoch's last batch in hand continues with the nothing that is left of that epoch.
 *
 * Batches asked for ahead do not count as handed out, and are given up where an iteration ends.
 *
 * A loader stands in one place. Starting another `for await`, drawing, or restoring a state ends a `for await` under
 * way, with a StateError at its next batch: use one loader for each purpose.
 */
export class Loader<S extends BatchSource = BatchSource> implements AsyncIterable<Batch> {
  readonly dataset: S;
  readonly batchSize: number;
  /** Batches per epoch. */
  readonly length: number;
  readonly #shuffle: boolean;
  readonly #seed: number;
  readonly #dropLast: boolean;
  readonly #prefetch: number;
  #epoch = 0;
  #position = 0;
  /** Whether the position was restored, so that the next iteration continues there. */
  #restored = false;
  /** Who moves the position: the iteration that took the latest turn. */
  #turn = 0;
  /** The batches that come next in this epoch, asked for already. */
  #ahead: { readonly batch: Promise<Batch>; readonly wanted: AbortController }[] = [];
  #order: { readonly epoch: number; readonly positions: Uint32Array } | undefined;

  /**
   * @throws OptionError for an unknown option or a value out of range; DataError where an epoch would have no batch.
   */
  constructor(dataset: S, options: LoaderOptions) {
    refuseUnknown("loader", options, ["batchSize", "shuffle", "seed", "dropLast", "prefetch"]);
    const { batchSize, shuffle = false, seed = 0, dropLast = false, prefetch = dataset.ahead ?? 0 } = options;
    checkWhole("batchSize", batchSize, 1);
    checkBoolean("shuffle", shuffle);
    checkWhole("seed", seed);
    checkBoolean("dropLast", dropLast);
    checkWhole("prefetch", prefetch, 0);
    const { length } = dataset;
    this.length = dropLast ? Math.floor(length / batchSize) : Math.ceil(length / batchSize);
    if (this.length === 0)
      throw new DataError(
        `empty loader: ${length} samples make no ${dropLast ? "whole " : ""}batch of batchSize ${batchSize}`,
      );
    this.dataset = dataset;
    this.batchSize = batchSize;
    this.#shuffle = shuffle;
    this.#seed = seed;
    this.#dropLast = dropLast;
    this.#prefetch = prefetch;
  }

  /** The next epoch, or after restoring a state the rest of its epoch. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Batch, void, undefined> {
    if (this.#position > 0 && !this.#restored) this.#nextEpoch();
    this.#restored = false;
    const turn = ++this.#turn;
    try {
      while (this.#position < this.length) {
        yield await this.#take();
        if (turn !== this.#turn)
          throw new StateError("loader moved during its iteration, by another one, draw() or a restored state");
      }
      this.#nextEpoch();
    } finally {
      if (turn === this.#turn) this.#giveUp();
    }
  }

  /** The next batch, of the next epoch where this one is exhausted. */
  async draw(): Promise<Batch> {
    this.#turn++;
    this.#restored = false;
    if (this.#position === this.length) this.#nextEpoch();
    return this.#take();
  }

  get state(): LoaderState {
    return { epoch: this.#epoch, position: this.#position, ...this.#identity() };
  }

  /** @throws StateError where the state is malformed or of a loader with another data set size or other options. */
  set state(state: LoaderState) {
    for (const [name, own] of Object.entries(this.#identity())) {
      const found = state?.[name as keyof LoaderState];
      if (found !== own) throw new StateError(`loader state: ${name} is ${found}, this loader's is ${own}`);
    }
    const { epoch, position } = state;
    if (!isCount(epoch) || !isCount(position) || position > this.length)
      throw new StateError(
        `loader state: found epoch ${epoch}, position ${position}; this loader has ${this.length} batches per epoch`,
      );
    this.#turn++;
    this.#giveUp();
    this.#restored = true;
    this.#epoch = epoch;
    this.#position = position;
  }

  #identity(): Omit<LoaderState, "epoch" | "position"> {
    return {
      samples: this.dataset.length,
      batchSize: this.batchSize,
      shuffle: this.#shuffle,
      seed: this.#seed,
      dropLast: this.#dropLast,
    };
  }

  #nextEpoch(): void {
    this.#giveUp();
    this.#epoch++;
    this.#position = 0;
  }

  /** Forgets the batches asked for ahead. */
  #giveUp(): void {
    for (const { wanted } of this.#ahead) wanted.abort();
    this.#ahead = [];
  }

  /** The batch at the position, which advances at once: also where the batch comes later. */
  #take(): Promise<Batch> {
    const batch = this.#ahead.shift()?.batch ?? this.#ask(this.#position);
    this.#position++;
    const end = Math.min(this.#position + this.#prefetch, this.length);
    while (this.#position + this.#ahead.length < end) this.#askAhead(this.#position + this.#ahead.length);
    return batch;
  }

  #askAhead(position: number): void {
    const wanted = new AbortController();
    const batch = handled(this.#ask(position, wanted.signal));
    this.#ahead.push({ batch, wanted });
  }

  async #ask(position: number, signal?: AbortSignal): Promise<Batch> {
    const start = position * this.batchSize;
    const positions = this.#positions().subarray(start, start + this.batchSize);
    return this.dataset.batch(positions, { seed: this.#seed, epoch: this.#epoch, ...(signal && { signal }) });
  }

  #positions(): Uint32Array {
    if (this.#order?.epoch !== this.#epoch) this.#order = { epoch: this.#epoch, positions: this.#ordered() };
    return this.#order.positions;
  }

  #ordered(): Uint32Array {
    const { length } = this.dataset;
    if (!this.#shuffle) return Uint32Array.from({ length }, (_, i) => i);
    // The seed is scrambled first: with seed + epoch, neighbouring seeds would share all but one of their orders.
    return new Random(new Random(this.#seed).uint32() + this.#epoch).permutation(length);
  }
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
