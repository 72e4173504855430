import { Worker } from "node:worker_threads";
import type { StartCall } from "./calls.ts";
import { Gate } from "./gate.ts";

/**
 * Starts a thread of ONNX Runtime, unless the process is ending. Its gate is entered for it, until ONNX Runtime is loaded, which is
 * native code, too.
 */
export function startWorker(call: StartCall): Worker | undefined {
  if (!new Gate(call.state).enter()) return undefined;
  return new Worker(new URL("./ort-worker.js", import.meta.url), {
    // Options of the process, such as --input-type, are not for its threads.
    execArgv: [],
    workerData: call,
    transferList: call.port ? [call.port] : [],
  });
}
