export { activeNodes } from "./active.ts";
export { type MultiIndex, productCount } from "./multi-index.ts";
export { adjoints, gradients, hessianProduct } from "./reverse.ts";
export { BATCH_SHARE, type BatchSplit, ofParts, PART_SIZE, type SplitLoss, splitAsGiven, splitBatch } from "./split.ts";
export type { GroupIndex } from "./stack.ts";
export { type Seed, type SummaryGraph, seedsOf, summarize, type Term, type TermKind } from "./summary.ts";
export { deriveTensors, type TensorGraph, type TensorTerm } from "./tensors.ts";
