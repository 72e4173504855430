import { OptionError } from "../util/errors.ts";
import type { Engine } from "./engine.ts";

let make: (() => Promise<Engine>) | undefined;
let shared: Promise<Engine> | undefined;

/** Says how the engine is made that is used where none is named. */
export function setDefaultEngine(factory: () => Promise<Engine>): void {
  make = factory;
  shared = undefined;
}

/**
 * The engine that is used where none is named, made at the first call: ONNX Runtime on the CPU in Node.
 * @throws OptionError where this platform has no default.
 */
export async function defaultEngine(): Promise<Engine> {
  if (!make) throw new OptionError("there is no default engine here: pass `engine`, or import grnewt in Node");
  shared ??= make();
  return await shared;
}
