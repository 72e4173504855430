import { parentPort, type Transferable, workerData } from "node:worker_threads";
import { Queue } from "../../util/queue.ts";
import type { Answer, Call, Calls, Message, StartCall } from "./calls.ts";
import { Gate } from "./gate.ts";
import { OrtHost } from "./host.ts";

const { state, port = parentPort! } = workerData as StartCall;
const gate = new Gate(state);
const host = new OrtHost();
const queue = new Queue();

/** `null` ends the thread. */
port.on("message", (message: Message | null) => queue.run(() => handle(message)));
// ONNX Runtime is loaded.
gate.leave();

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
    port.postMessage({ answer } satisfies Answer, memoryOf(answer));
  } catch (error) {
    port.postMessage({ error: error as Error } satisfies Answer);
  }
}

function answerTo([kind, asked]: Call): Promise<Calls[keyof Calls]["answer"]> {
  // TypeScript does not see that the two belong together.
  return (host.answers[kind] as (asked: unknown) => Promise<Calls[keyof Calls]["answer"]>)(asked);
}

/** What goes over to the other side with an answer. */
function memoryOf(answer: Calls[keyof Calls]["answer"]): Transferable[] {
  if (!answer) return [];
  return "length" in answer && !ArrayBuffer.isView(answer)
    ? answer.map(({ data }) => data.buffer)
    : [(answer as Float32Array<ArrayBuffer>).buffer];
}

async function end(): Promise<void> {
  await host.end();
  port.close();
}
