import { parentPort, workerData } from "node:worker_threads";
import { Queue } from "../../util/queue.ts";
import type { Answer, Call, Calls, Message } from "./calls.ts";
import { Gate } from "./gate.ts";
import { OrtHost } from "./host.ts";

const port = parentPort!;
const gate = new Gate(workerData as Int32Array);
const host = new OrtHost();
const queue = new Queue();

/** `null` ends the thread. */
port.on("message", (message: Message | null) => queue.run(() => handle(message)));

async function handle(message: Message | null): Promise<void> {
  if (!gate.enter()) return;
  try {
    if (message) await follow(message);
    else await end();
  } finally {
    gate.leave();
  }
}

async function follow({ uploads, released, call }: Message): Promise<void> {
  for (const each of uploads) host.upload(each);
  host.release(released);
  if (!call) return;
  try {
    const answer = await answerTo(call);
    port.postMessage({ answer } satisfies Answer, answer ? [answer.buffer as ArrayBuffer] : []);
  } catch (error) {
    port.postMessage({ error: error as Error } satisfies Answer);
  }
}

function answerTo([kind, asked]: Call): Promise<Calls[keyof Calls]["answer"]> {
  // TypeScript does not see that the two belong together.
  return (host.answers[kind] as (asked: unknown) => Promise<Calls[keyof Calls]["answer"]>)(asked);
}

async function end(): Promise<void> {
  await host.end();
  port.close();
}
