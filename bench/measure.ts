import type { PacedEngine } from "./paced.ts";
import type { Product } from "./product.ts";
import type { Block, Request } from "./request.ts";

/** Times some blocks of runs, with looks at the product before and after each, and where the engine is paced, within. */
export async function measure(
  run: () => Promise<void>,
  product: Product,
  { repeats, blocks }: Pick<Request, "repeats" | "blocks">,
  paced: PacedEngine | undefined,
  settle: () => Promise<void> = async () => {},
): Promise<Block[]> {
  const measured: Block[] = [];
  for (let i = 0; i < blocks; i++) {
    await settle();
    const before = await product.look();
    const { times, looks } = paced
      ? await timedPaced(run, repeats, paced)
      : { times: await timed(run, repeats), looks: [] };
    await settle();
    measured.push({ times, product: [before, ...looks, await product.look()] });
  }
  return measured;
}

async function timedPaced(run: () => Promise<void>, repeats: number, paced: PacedEngine) {
  const times: number[] = [];
  const looks: number[] = [];
  for (let i = 0; i < repeats; i++) {
    paced.start();
    const [time] = await timed(run, 1);
    const stopped = paced.stop();
    times.push(time! - stopped.taken);
    looks.push(...stopped.looks);
  }
  return { times, looks };
}

/** Runs in a row, each one's time in ms. */
export async function timed(run: () => Promise<void>, repeats: number): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < repeats; i++) {
    const begun = performance.now();
    await run();
    times.push(performance.now() - begun);
  }
  return times;
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The middle one, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
}
