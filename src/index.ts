/**
 * Networks trained without a hand-picked learning rate, on any engine. Free of Node's own modules: bundlers may use it.
 * @module
 */
export {
  type CharText,
  type CharTextOptions,
  charText,
  Dataset,
  Loader,
  type LoaderOptions,
  type LoaderState,
  type SplitOptions,
  type ToyRegression,
  type ToyRegressionOptions,
  type Transform,
  toyRegression,
  transforms,
  Vocabulary,
} from "./datasets/index.ts";
export { defaultEngine, type Engine, type EngineTensor, ReferenceEngine, setDefaultEngine } from "./engine/index.ts";
export { decodeSafetensors, encodeSafetensors, type Safetensors } from "./interop/index.ts";
export * as models from "./models/index.ts";
export * as nesterov from "./nesterov/index.ts";
export { nesterovLrs } from "./nesterov/index.ts";
export * as nn from "./nn/index.ts";
export { type Evaluation, evaluate, type Loss, losses, Module, Parameter, Tensor } from "./nn/index.ts";
export {
  AdamUpdater,
  AdamWUpdater,
  type ClipRatesOptions,
  GeometricDamping,
  type GeometricOptions,
  type HgSource,
  KFAC,
  type KFACOptions,
  LBFGS,
  type LBFGSOptions,
  LionUpdater,
  MuonUpdater,
  NewtonStochasticHv,
  type NewtonStochasticHvOptions,
  NewtonSummary,
  type NewtonSummaryOptions,
  type NewtonSummaryState,
  Optimizer,
  type OptimizerOptions,
  type PlateauOptions,
  ProdigyUpdater,
  ReduceDampingOnPlateau,
  RMSpropUpdater,
  type Schedule,
  ScheduleFreeAdamWUpdater,
  SGDUpdater,
  type StepArgument,
  type StepResult,
  type StochasticHvOptions,
  StochasticHvUpdater,
  summaryBatchSize,
  type TrainingOptimizer,
  type UniformAvgOptions,
  type UpdateRecord,
  type Updater,
  type UpdaterInputs,
  type UpdaterOutputs,
} from "./optim/index.ts";
export {
  computeHg,
  computeHgFullbatch,
  type DiffNOptions,
  type Direction,
  diffN,
  diffNFullbatch,
  fullbatchGradient,
  type HgOptions,
  type LayerCut,
  type ParameterGroup,
  type ParameterPart,
  type Partition,
  type Pattern,
  partition,
  type RunOptions,
  type Summary,
  type ValueAndGrad,
  valueAndGrad,
} from "./summary/index.ts";
export {
  DataError,
  DisposedError,
  GraphError,
  GrnewtError,
  NonFiniteError,
  OptionError,
  PartitionError,
  ShapeError,
  StateError,
} from "./util/errors.ts";
export { type Batch, type Batches, type FloatData, type IntData, type NDArray, ndarray } from "./util/ndarray.ts";
export { Random } from "./util/random.ts";
