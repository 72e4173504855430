export {
  ancestors,
  checkGraph,
  dependents,
  type Graph,
  GraphBuilder,
  type GraphInput,
  graphOf,
  type InputAttrs,
  printGraph,
} from "./builder.ts";
export type {
  BatchRule,
  BilinearOp,
  Builder,
  ChoiceOp,
  ConstantOp,
  DType,
  ElementwiseOp,
  Lead,
  LinearOp,
  Node,
  Op,
  SourceOp,
  TensorType,
  Value,
} from "./node.ts";
export * from "./shape.ts";
