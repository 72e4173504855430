export type { Precision } from "../onnx/index.ts";
export {
  beginOnce,
  checkFinite,
  checkFiniteBatch,
  checkFits,
  type DataSpec,
  dataInputs,
  perKind,
  type RunData,
  runBatch,
  runData,
  runOnce,
  samplesOf,
  sliceData,
  specOf,
  uploadBatch,
  uploadData,
  uploadScalar,
} from "./data.ts";
export { defaultEngine, setDefaultEngine } from "./default.ts";
export {
  type CompileOptions,
  type Engine,
  type EngineTensor,
  finished,
  type Running,
  type Session,
  type Tensors,
} from "./engine.ts";
export type { Mask } from "./masks.ts";
export { type Program, Programs, type Source, sharedProgram, sharedSource } from "./programs.ts";
export { ReferenceEngine } from "./reference.ts";
export { checkTuning, type Machine, type Tuning } from "./tuning.ts";
export { inTurn } from "./turns.ts";
export {
  type BatchCheck,
  DATA_INPUTS,
  type Mode,
  type Needs,
  type Objective,
  type Traced,
  Variable,
  variableInput,
  variableTensors,
} from "./variable.ts";
