export type { UniformAvgOptions } from "./averages.ts";
export type { ClipRatesOptions } from "./clipping.ts";
export type { OptimizerState } from "./fixed-rate.ts";
export { KFAC, type KFACOptions } from "./kfac/kfac.ts";
export { LBFGS, type LBFGSOptions } from "./lbfgs.ts";
export type {
  CommonOptions,
  HgSource,
  NesterovOptions,
  NewtonSummaryOptions,
  NonFinitePolicy,
} from "./newton-options.ts";
export { NewtonStochasticHv, type NewtonStochasticHvOptions } from "./newton-stochastic-hv.ts";
export { NewtonSummary, type NewtonSummaryState } from "./newton-summary.ts";
export { Optimizer, type OptimizerOptions } from "./optimizer.ts";
export type { StepArgument, StepResult, TrainingOptimizer, UpdateRecord } from "./result.ts";
export {
  type AppliesTo,
  GeometricDamping,
  type GeometricOptions,
  type PlateauOptions,
  type PlateauState,
  ReduceDampingOnPlateau,
  type Schedule,
  type Scheduled,
} from "./schedule.ts";
export { summaryBatchSize } from "./summary-cost.ts";
export {
  type EvaluationInputs,
  type SGDOptions,
  SGDUpdater,
  type SharedInputs,
  type SharedNumbers,
  type Updater,
  type UpdaterInputs,
  type UpdaterOutputs,
} from "./updater.ts";
export { type AdamOptions, AdamUpdater, AdamWUpdater } from "./updaters/adam.ts";
export { type LionOptions, LionUpdater } from "./updaters/lion.ts";
export { type MuonOptions, MuonUpdater } from "./updaters/muon.ts";
export { type ProdigyOptions, ProdigyUpdater } from "./updaters/prodigy.ts";
export { type RMSpropOptions, RMSpropUpdater } from "./updaters/rmsprop.ts";
export { type ScheduleFreeAdamWOptions, ScheduleFreeAdamWUpdater } from "./updaters/schedule-free.ts";
export { type StochasticHvOptions, StochasticHvUpdater } from "./updaters/stochastic-hv.ts";
