import { setDefaultEngine } from "./default.ts";

let registered = false;

/** Makes ONNX Runtime's native engine the default one; its code is loaded when it is first needed. */
export function useOrtNodeByDefault(): void {
  // Once: to register again would leave an engine that is already in use, with the parameters on it, for a second one.
  if (registered) return;
  registered = true;
  setDefaultEngine(async () => new (await import("./ort-node.ts")).OrtNodeEngine());
}
