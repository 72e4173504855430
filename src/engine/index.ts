export type { Precision } from "../onnx/index.ts";
export {
  checkBatch,
  checkFinite,
  type DataSpec,
  dataInputs,
  runOnce,
  samplesOf,
  sliceBatch,
  specOf,
  uploadBatch,
  uploadScalar,
} from "./data.ts";
export { defaultEngine, setDefaultEngine } from "./default.ts";
export type { Engine, EngineTensor, Session, Tensors } from "./engine.ts";
export { type Program, Programs, type Source, sharedProgram } from "./programs.ts";
export { ReferenceEngine } from "./reference.ts";
export { inTurn } from "./turns.ts";
export { DATA_INPUTS, type Objective, type RangeCheck, Variable, variableInputs, variableTensors } from "./variable.ts";
