export type { Direction, HgOptions, RunOptions } from "./along.ts";
export {
  computeHg,
  computeHgFullbatch,
  fullbatchGradient,
  gradientSource,
  type ValueAndGrad,
  valueAndGrad,
} from "./compute.ts";
export { type DiffNOptions, diffN, diffNFullbatch } from "./diff-n.ts";
export {
  type LayerCut,
  membersOf,
  type NamedGroup,
  nameGroups,
  type Owners,
  ownersOf,
  type ParameterGroup,
  type ParameterLike,
  type ParameterPart,
  type ParameterTree,
  type Partition,
} from "./groups.ts";
export { SummaryMean, WeightedMean } from "./mean.ts";
export * as partition from "./partition.ts";
export type { Pattern } from "./pattern.ts";
export {
  type Compile,
  checkParts,
  compileTotals,
  evenParts,
  type PartPlan,
  partsOf,
  runParts,
  sideBySide,
  uploadShare,
  widest,
} from "./run-parts.ts";
export {
  compileRest,
  directionInput,
  runSummary,
  type Summary,
  type SummaryInputs,
  type SummaryPlan,
  summarySource,
} from "./summary.ts";
