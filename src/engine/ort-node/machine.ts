import { createRequire } from "node:module";
import { availableParallelism, cpus } from "node:os";
import type { Machine } from "../tuning.ts";

/** The machine that this process runs on, as far as the speed of ONNX Runtime depends on it. */
export function thisMachine(): Machine {
  const { version } = createRequire(import.meta.url)("onnxruntime-node/package.json") as { readonly version: string };
  const processor = cpus()[0]?.model.trim() ?? "unknown";
  return { processor, threads: availableParallelism(), onnxruntime: version };
}
