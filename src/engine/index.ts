export type { Precision } from "../onnx/index.ts";
export type { Engine, EngineTensor, Session, Tensors } from "./engine.ts";
export { ReferenceEngine } from "./reference.ts";
