import { Queue } from "../util/queue.ts";
import type { Engine } from "./engine.ts";

const queues = new WeakMap<Engine, Queue>();

/**
 * Runs a task when all that came before it on this engine are done: optimisers and calls may share parameters, and what
 * one replaces another could be about to read. A task must not wait for another one of the same engine.
 */
export function inTurn<T>(engine: Engine, task: () => Promise<T>): Promise<T> {
  const queue = queues.get(engine) ?? new Queue();
  queues.set(engine, queue);
  return queue.run(task);
}
