import type * as ort from "onnxruntime-node";
import { type OnnxGraph, OWN } from "../../onnx/index.ts";

/** The name of an output that is never read. */
const REFUSED = `${OWN}refused`;

/**
 * A model whose first output is a sequence. onnxruntime-node (1.30) has ONNX Runtime write into tensors that are given for the
 * outputs, but then copies them all into fresh memory, one after the other; at a sequence it gives up.
 */
export function withRefusal(graph: OnnxGraph): OnnxGraph {
  return {
    ...graph,
    nodes: [{ type: "SequenceEmpty", inputs: [], outputs: [REFUSED], attributes: {} }, ...graph.nodes],
    outputs: [{ name: REFUSED, element: "float32", shape: "sequence" }, ...graph.outputs],
  };
}

/** Runs such a model; its outputs are written into the tensors that are given for them. */
export async function runInPlace(
  session: ort.InferenceSession,
  inputs: Readonly<Record<string, ort.Tensor>>,
  outputs: Readonly<Record<string, ort.Tensor>>,
): Promise<void> {
  try {
    await session.run(inputs, { [REFUSED]: null, ...outputs });
  } catch (error) {
    if (!/^Non tensor type/.test((error as Error).message)) throw error;
  }
}
