import { formatDim, type Graph, isBatch, type Node, type Shape, sameShape } from "../graph/index.ts";
import { commonShape, type Primitive, unrepeated } from "../ops/index.ts";
import { countUses, findGemms, type Gemm } from "./gemm.ts";
import { type ConvolutionForms, type Lower, Lowering, OWN, type Precision } from "./lowering.ts";
import type { OnnxGraph, OnnxValue } from "./model-proto.ts";
import { findQuotients } from "./quotient.ts";
import { lowerSums } from "./scan.ts";
import { lowerings } from "./table.ts";

export { type ConvolutionChoice, convolutionsOf } from "./conv.ts";
export { type ConvolutionForms, elementOf, OWN, type Precision } from "./lowering.ts";
export { type ElementType, encodeModel, type OnnxGraph } from "./model-proto.ts";
export { type Rows, type TiledGraph, tileGraph } from "./tiles.ts";

/** The ONNX name of an output, which must differ from those of the inputs. */
export function outputName(name: string): string {
  return `${OWN}out:${name}`;
}

/** Primitives that the operators which read them often do themselves. */
const ON_DEMAND: ReadonlySet<string> = new Set<Primitive>(["broadcast", "permute"]);

/**
 * A graph in ONNX's operators; real numbers are of the given precision, the batch axis stays symbolic.
 * @throws OptionError where a convolution cannot be written in the form that is asked for
 */
export function lowerGraph(graph: Graph, precision: Precision, convolutions?: ConvolutionForms): OnnxGraph {
  const to = new Lowering(precision, convolutions);
  for (const { name, node } of graph.inputs) to.offerBatch(name, node.shape);
  if (graph.ahead) lowerSums(to, graph.ahead, lowerGraph(graph.ahead.graph, precision, convolutions));
  const uses = countUses(graph);
  const { gemms, absorbed } = findGemms(graph, uses, precision);
  const quotients = findQuotients(graph, uses);
  const reciprocals = new Set([...quotients].map(([node, at]) => node.inputs[at]!));
  const lowered = new Map<Node, string>();
  const lower = (node: Node): string => {
    const known = lowered.get(node);
    if (known) return known;
    const name = lowerNew(node);
    lowered.set(node, name);
    return name;
  };
  const lowerNew = (node: Node): string => {
    const [gemm, quotient] = [gemms.get(node), quotients.get(node)];
    if (gemm) return lowerGemm(to, gemm, lower);
    if (quotient !== undefined) return lowerQuotient(to, node, quotient, lower);
    const rule = lowerings[node.op.name as Primitive] as Lower<unknown>;
    return rule(to, node, operands(node).map(lower));
  };
  const packs = new Set([...graph.outputs.values()].filter(isPack));
  for (const node of graph.nodes)
    if (![absorbed, reciprocals, packs].some((set) => set.has(node)) && !ON_DEMAND.has(node.op.name)) lower(node);
  const results = [...graph.outputs].map(([name, node]) => {
    const value = packs.has(node) ? pack(to, node.inputs.map(lower)) : lower(node);
    return { name: outputName(name), node, value };
  });
  for (const { value, name } of results) to.output(value, name);
  const outputs = results.map(({ name, node }) => valueInfo(to, name, node));
  const inputs = graph.inputs.map(({ name, node }) => valueInfo(to, name, node));
  const values = valuesBetween(to, lowered);
  return { nodes: to.nodes, initializers: to.initializers, inputs, outputs, values };
}

/**
 * The types of what operators give to one another. ONNX Runtime finds most of them itself, but loses the batch axis where
 * values are reshaped. What it does not know the shape of cannot take its input's memory, and is compared with all memory
 * that is free: planning then takes time that grows with the square of the graph.
 */
function valuesBetween(to: Lowering, lowered: ReadonlyMap<Node, string>): OnnxValue[] {
  const written = new Set(to.nodes.flatMap(({ outputs }) => outputs));
  const typed = new Map([...lowered].map(([node, name]) => [name, node]));
  return [...typed].filter(([name]) => written.has(name)).map(([name, node]) => valueInfo(to, name, node));
}

/** How many vectors are put together at once; see `pack`. */
const PACK = 8;

/** Whether an output is a long row of vectors, none of which is another one's input. */
function isPack({ op, inputs, shape }: Node): boolean {
  return op.name === "concat" && shape.length === 1 && inputs.length > PACK;
}

/**
 * Puts vectors together a few at a time. ONNX Runtime works back from the outputs, and of an operator's inputs it computes
 * first the one that was written last: with the heads of the row written last, it computes the row from its beginning,
 * and what a vector was computed from is freed before the next. From one long Concat it would compute the end first and
 * hold everything on the way there.
 */
function pack(to: Lowering, vectors: readonly string[]): string {
  const [head, rest] = [vectors.slice(0, PACK), vectors.slice(PACK)];
  let row = to.emit("Concat", head, { axis: 0 });
  for (let i = 0; i < rest.length; i += PACK) row = to.emit("Concat", [row, ...rest.slice(i, i + PACK)], { axis: 0 });
  return row;
}

function lowerGemm(to: Lowering, { left, right, added, ...gemm }: Gemm, lower: (node: Node) => string): string {
  const inputs = [left, right, ...(added ? [added] : [])].map(lower);
  const [alpha, beta] = [{ float: gemm.alpha }, { float: gemm.beta }];
  return to.emit("Gemm", inputs, { transA: gemm.transA, transB: gemm.transB, alpha, beta });
}

function lowerQuotient(to: Lowering, node: Node, at: 0 | 1, lower: (node: Node) => string): string {
  const [dividend, divisor] = [operands(node)[1 - at]!, node.inputs[at]!.inputs[0]!];
  return to.emit("Div", [lower(dividend), lower(divisor)]);
}

/** The inputs to read, past repetitions that ONNX's operators entry by entry make themselves (NumPy's rule). */
function operands(node: Node): readonly Node[] {
  if (!node.op.entrywise) return node.inputs;
  const sources = node.inputs.map(unrepeated);
  const shapes: Shape[] = sources.map((source) => source.shape);
  if (sameShape(commonShape(node.op.name, ...shapes), node.shape)) return sources;
  return sources.with(0, node.inputs[0]!);
}

function valueInfo(to: Lowering, name: string, { dtype, shape }: Node): OnnxValue {
  return { name, element: to.element(dtype), shape: shape.map((dim) => (isBatch(dim) ? formatDim(dim) : dim)) };
}
