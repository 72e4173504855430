/** One of several ways to do the same. */
export interface Way {
  readonly name: string;
  /** Does it once. */
  readonly run: () => Promise<void>;
  /** How much of the work one run does, 1 by default: times are divided by it. */
  readonly work?: number;
}

/** Where times come from. */
export interface Watch {
  /** The time now, in ms. */
  now(): number;
  /** The least time in ms that a few runs in a row of this way take. */
  time(way: Way): Promise<number>;
}

/** Runs in a row last so long at least, in ms: the threads of what ran before are awake for a while. */
const TURN = 10;

/** Times by the machine's own clock. */
export const watch: Watch = {
  now: () => performance.now(),
  time: async ({ run }) => {
    const begun = performance.now();
    let least = Number.POSITIVE_INFINITY;
    let last = begun;
    do {
      await run();
      const now = performance.now();
      least = Math.min(least, now - last);
      last = now;
    } while (last - begun < TURN);
    return least;
  },
};

/** What a way may take of the best one's time so far to have another turn: the first is a warm-up too. */
const CONTENDS = [2, 1.3, 1.2, 1.15];

/**
 * Times ways in turns, so that what disturbs one disturbs all, as long as several contend.
 * @param ways the rule's first: it has two turns at least.
 * @param until when to stop, by the watch.
 * @returns the least time of each for all the work; undefined where there was no time for two turns.
 */
export async function race(ways: readonly Way[], { now, time }: Watch, until: number): Promise<number[] | undefined> {
  const least = ways.map(() => Number.POSITIVE_INFINITY);
  let contenders = [...ways.keys()];
  for (const [turn, factor] of CONTENDS.entries()) {
    for (const i of contenders) {
      if (now() >= until) return turn < 2 ? undefined : least;
      const way = ways[i]!;
      least[i] = Math.min(least[i]!, (await time(way)) / (way.work ?? 1));
    }
    contenders = contenders.filter((i) => (i === 0 && turn === 0) || least[i]! <= factor * Math.min(...least));
    if (contenders.length === 1) break;
  }
  return least;
}

/** What a way must take of the rule's time to be taken instead of it: less is within what the times of one way differ by. */
const CLEARLY = 0.95;

/** Which of some ways to take, and its time over that of the first, which is the rule's and taken where none is clearly faster. */
export function pick(times: readonly number[] = [1], clearly: number = CLEARLY): { index: number; gain: number } {
  const gain = Math.min(...times) / times[0]!;
  return gain < clearly ? { index: times.indexOf(Math.min(...times)), gain } : { index: 0, gain: 1 };
}
