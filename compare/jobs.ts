import { keyOf, type Run } from "./runs.ts";

/**
 * Makes runs, as many at once as there are jobs, until none is left. What is left is asked for anew whenever a job is free: a
 * run that is done can bring others.
 * @throws what a run throws, at once
 */
export async function makeAll(
  jobs: number,
  left: () => readonly Run[],
  make: (run: Run) => Promise<void>,
): Promise<void> {
  const underWay = new Map<string, Promise<void>>();
  const begin = (run: Run): void => {
    const key = keyOf(run);
    const made = make(run).finally(() => underWay.delete(key));
    underWay.set(key, made);
  };
  for (;;) {
    const waiting = left().filter((run) => !underWay.has(keyOf(run)));
    waiting.slice(0, jobs - underWay.size).forEach(begin);
    if (underWay.size === 0) return;
    await Promise.race(underWay.values());
  }
}
