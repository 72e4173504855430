export {
  type ConvOptions,
  type ConvTransposeOptions,
  conv1d,
  conv2d,
  convTranspose1d,
  convTranspose2d,
  type Size,
} from "./conv.ts";
export { type EvaluateOptions, type Evaluation, evaluate } from "./evaluate.ts";
export { fromFunction, type ParameterFunction } from "./function-module.ts";
export {
  type Activation,
  activations,
  dropout,
  elu,
  embedding,
  gelu,
  leakyRelu,
  linear,
  logSoftmax,
  logsumexp,
  selu,
  silu,
  softmax,
} from "./functional.ts";
export * as init from "./init.ts";
export { manualSeed } from "./init.ts";
export { type AttentionOptions, MultiHeadAttention, scaledDotProductAttention } from "./layers/attention.ts";
export { Lambda, Residual, Sequential } from "./layers/container.ts";
export { Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d } from "./layers/conv.ts";
export { Dropout } from "./layers/dropout.ts";
export { Embedding, type EmbeddingOptions } from "./layers/embedding.ts";
export {
  ELU,
  Flatten,
  GELU,
  Identity,
  LeakyReLU,
  LogSoftmax,
  ReLU,
  SELU,
  Sigmoid,
  SiLU,
  Softmax,
  Softplus,
  Tanh,
} from "./layers/functions.ts";
export { Linear } from "./layers/linear.ts";
export {
  BatchNorm1d,
  BatchNorm2d,
  type BatchNormOptions,
  GroupNorm,
  type GroupNormOptions,
  LayerNorm,
  type LayerNormOptions,
  RMSNorm,
  type RMSNormOptions,
} from "./layers/norm.ts";
export {
  AdaptiveAvgPool2d,
  AdaptiveMaxPool2d,
  AvgPool1d,
  AvgPool2d,
  MaxPool1d,
  MaxPool2d,
} from "./layers/pool.ts";
export type {
  BceOptions,
  BceWithLogitsOptions,
  CrossEntropyOptions,
  HuberOptions,
  Loss,
  NllOptions,
  SmoothL1Options,
} from "./losses.ts";
export * as losses from "./losses.ts";
export { Buffer, Module, Parameter, type StateDict } from "./module.ts";
export { type FullLoss, fullObjective, objective } from "./objective.ts";
export {
  type AvgPoolOptions,
  adaptiveAvgPool2d,
  adaptiveMaxPool2d,
  avgPool1d,
  avgPool2d,
  type MaxPoolOptions,
  maxPool1d,
  maxPool2d,
} from "./pool.ts";
export type { PredictOptions } from "./predict.ts";
export { cat, constant, Tensor, type TensorLike, where } from "./tensor.ts";
export { traceApart } from "./trace.ts";
