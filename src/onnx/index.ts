import { formatDim, type Graph, isBatch, type Node, type Shape, sameShape } from "../graph/index.ts";
import { commonShape, type Primitive } from "../ops/index.ts";
import { type Lower, Lowering, OWN, type Precision } from "./lowering.ts";
import { encodeModel, type OnnxValue } from "./model-proto.ts";
import { lowerings } from "./table.ts";

export type { Precision } from "./lowering.ts";

/** The ONNX name of an output, which must differ from those of the inputs. */
export function outputName(name: string): string {
  return `${OWN}out:${name}`;
}

/** Primitives whose ONNX operators repeat their inputs themselves (NumPy's rule). */
const BROADCASTING: ReadonlySet<string> = new Set<Primitive>(["add", "sub", "mul", "where", "greater", "equal"]);

/** A graph as a serialised ONNX model; real numbers are of the given precision, the batch axis stays symbolic. */
export function toOnnx(graph: Graph, precision: Precision): Uint8Array {
  const to = new Lowering(precision);
  for (const { name, node } of graph.inputs) to.offerBatch(name, node.shape);
  const lowered = new Map<Node, string>();
  const lower = (node: Node): string => {
    const known = lowered.get(node);
    if (known) return known;
    const rule = lowerings[node.op.name as Primitive] as Lower<unknown>;
    const name = rule(to, node, operands(node).map(lower));
    lowered.set(node, name);
    return name;
  };
  for (const node of graph.nodes) if (node.op.name !== "broadcast") lower(node);
  const results = [...graph.outputs].map(([name, node]) => ({ name: outputName(name), node, value: lower(node) }));
  for (const { value, name } of results) to.output(value, name);
  const outputs = results.map(({ name, node }) => valueInfo(to, name, node));
  const inputs = graph.inputs.map(({ name, node }) => valueInfo(to, name, node));
  return encodeModel({ nodes: to.nodes, initializers: to.initializers, inputs, outputs });
}

/** The inputs to read, past repetitions that the operator makes itself. */
function operands(node: Node): readonly Node[] {
  if (!BROADCASTING.has(node.op.name)) return node.inputs;
  const sources = node.inputs.map((input) => (input.op.name === "broadcast" ? input.inputs[0]! : input));
  const shapes: Shape[] = sources.map((source) => source.shape);
  if (sameShape(commonShape(node.op.name, ...shapes), node.shape)) return sources;
  return sources.with(0, node.inputs[0]!);
}

function valueInfo(to: Lowering, name: string, { dtype, shape }: Node): OnnxValue {
  return { name, element: to.element(dtype), shape: shape.map((dim) => (isBatch(dim) ? formatDim(dim) : dim)) };
}
