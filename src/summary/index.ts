export {
  computeHg,
  computeHgFullbatch,
  type Direction,
  fullbatchGradient,
  type HgOptions,
  type RunOptions,
  type ValueAndGrad,
  valueAndGrad,
} from "./compute.ts";
export {
  type LayerCut,
  type NamedGroup,
  nameGroups,
  type ParameterGroup,
  type ParameterLike,
  type ParameterTree,
  type Partition,
} from "./groups.ts";
export * as partition from "./partition.ts";
export type { Pattern } from "./pattern.ts";
export {
  compileRest,
  directionInput,
  runSummary,
  type Summary,
  type SummaryInputs,
  type SummaryPlan,
  summarySource,
} from "./summary.ts";
