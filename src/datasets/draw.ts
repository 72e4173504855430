import { Random } from "../util/random.ts";

/** Which batch samples are asked for: all that random transforms depend on, beside the sample itself. */
export interface Draw {
  /** Any whole number; its low 32 bits count. */
  readonly seed: number;
  readonly epoch: number;
  /** Aborted when the batch is not wanted any more. */
  readonly signal?: AbortSignal;
}

/** The first epoch of seed 0. */
export const FIRST_DRAW: Draw = { seed: 0, epoch: 0 };

/** Seeds for the random numbers of each stored sample: a pure function of the draw's seed, its epoch and the sample. */
export function sampleSeeds({ seed, epoch }: Draw): (sample: number) => number {
  // Not the seed itself, from which the loader's order is made.
  const base = new Random(new Random(~seed).uint32() + epoch).uint32();
  return (sample) => base + sample;
}
