import { Worker } from "node:worker_threads";
import type { StartCall } from "./calls.ts";

/** Starts a thread of ONNX Runtime. */
export function startWorker(call: StartCall): Worker {
  return new Worker(new URL("./ort-worker.js", import.meta.url), {
    // Options of the process, such as --input-type, are not for its threads.
    execArgv: [],
    workerData: call,
    transferList: call.port ? [call.port] : [],
  });
}
