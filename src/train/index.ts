export {
  type EndEvent,
  type EpochEvent,
  type MetricNumber,
  parseMetrics,
  type ResumeEvent,
  type RunFacts,
  type StartEvent,
  type StepEvent,
  type TrainEvent,
  type UpdateEvent,
  warningsOf,
} from "./metrics.ts";
export { doneAlready, type Progress, type RunState, type TrainOptions, type TrainResult, train } from "./train.ts";
