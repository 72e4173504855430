import type { InferenceSession } from "onnxruntime-node";
import type { Precision } from "../../onnx/index.ts";

/**
 * Rewrites of ONNX Runtime that find nothing in a lowered graph: it has no quantised values, and none of the operators by which
 * exported transformers are told. Each would still search every graph.
 */
const IDLE: readonly string[] = [
  "DoubleQDQPairsRemover",
  "EnsureUniqueDQForNodeUnit",
  "QDQPropagationTransformer",
  "QDQFinalCleanupTransformer",
  "QDQS8ToU8Transformer",
  "QDQSelectorActionTransformer",
  "WeightBiasQuantization",
  "WhereDummyDq",
  "DynamicQuantizeMatMulFusion",
  "MatMulIntegerToFloatFusion",
  "MatMulNBitsFusion",
  "AttentionFusion",
  "GroupQueryAttentionFusion",
  "GroupQueryAttentionPreNormFusion",
  "EmbedLayerNormFusion",
  "SkipLayerNormFusion",
  "BiasSkipLayerNormFusion",
  "LayerNormFusionL1",
  "LayerNormFusionL2",
  "SimplifiedLayerNormFusion",
  "GeluFusionL1",
  "GeluFusionL2",
  "FastGeluFusion",
  "BiasGeluFusion",
  "BiasDropoutFusion",
  "BiasSoftmaxFusion",
  "SliceConcatToSpaceToDepthFusion",
  "FreeDimensionOverrideTransformer",
];

/** Rewrites that move transpositions, into products too, where that is slower: the graph is lowered as is best. */
export const SLOWER: readonly string[] = [
  "GemmTransposeFusion",
  "TransposeOptimizer",
  "TransposeOptimizer_CPUExecutionProvider",
];

/** Rewrites without an operator for them in float64, and one that rounds the factor of a product to float32. */
const INEXACT: readonly string[] = ["MatMulScaleFusion", "QuickGeluFusion"];

/** Session options that leave out the rewrites which are of no use in this precision; unknown names are ignored. */
export function withoutRewrites(precision: Precision): NonNullable<InferenceSession.SessionOptions["extra"]> {
  const names = [...IDLE, ...SLOWER, ...(precision === "float64" ? INEXACT : [])];
  return { optimization: { disable_specified_optimizers: names.join(";") } };
}
