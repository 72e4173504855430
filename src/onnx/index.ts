import { formatDim, type Graph, isBatch, type Node, type Shape, sameShape, type TensorType } from "../graph/index.ts";
import { commonShape, type Primitive, unrepeated } from "../ops/index.ts";
import { Blocked } from "./blocked.ts";
import { findBlocks } from "./blocks.ts";
import { countUses, findGemms, lowerGemm, operandsOfGemm } from "./gemm.ts";
import { type ConvolutionForms, type Lower, Lowering, OWN, type Target } from "./lowering.ts";
import type { OnnxGraph, OnnxValue } from "./model-proto.ts";
import { findQuotients } from "./quotient.ts";
import { lowerSums } from "./scan.ts";
import { lowerings } from "./table.ts";

export { NCHWC } from "./blocked.ts";
export { type ConvolutionChoice, convolutionsOf } from "./conv.ts";
export { type ConvolutionForms, elementOf, OWN, type Precision, type Target } from "./lowering.ts";
export { type ElementType, encodeModel, type OnnxGraph } from "./model-proto.ts";
export { CHAIN, type Rows, TILE, type TiledGraph, tileGraph } from "./tiles.ts";

/** The ONNX name of an output, which must differ from those of the inputs. */
export function outputName(name: string): string {
  return `${OWN}out:${name}`;
}

/** Primitives that the operators which read them often do themselves. */
const ON_DEMAND: ReadonlySet<string> = new Set<Primitive>(["broadcast", "permute"]);

/** How a graph is to be written; by rule where nothing is said. */
export interface LowerOptions {
  readonly convolutions?: ConvolutionForms | undefined;
  /** Samples in each part of what the graph adds up ahead, if all parts are known to have so many. */
  readonly part?: number | undefined;
  /** From which worth on products of matrices are written in blocks (see `Blocking`); none are by default. */
  readonly worth?: number | undefined;
}

/** A graph in ONNX's operators. */
export interface Lowered extends OnnxGraph {
  /** How many samples its runs must have, where that is fixed. */
  readonly samples: number | undefined;
}

/**
 * Writes a graph in ONNX's operators; real numbers are of the given precision, the batch axis stays symbolic.
 * @throws OptionError where a convolution cannot be written in the form that is asked for
 */
export function lowerGraph(graph: Graph, target: Target, options: LowerOptions = {}): Lowered {
  const { precision, blockSize, samples } = target;
  const { convolutions, worth, part } = options;
  const to = new Lowering(target, convolutions);
  for (const { name, node } of graph.inputs) to.offerBatch(name, node.shape);
  if (graph.ahead) {
    const inPart = { precision, blockSize, samples: part };
    lowerSums(to, graph.ahead, lowerGraph(graph.ahead.graph, inPart, { convolutions, worth }));
  }
  const uses = countUses(graph);
  const { gemms, absorbed } = findGemms(graph, uses, precision);
  const quotients = findQuotients(graph, uses);
  const reciprocals = new Set([...quotients].map(([node, at]) => node.inputs[at]!));
  const operands = (node: Node): readonly Node[] => {
    const [at, read] = [quotients.get(node), operandsOf(node)];
    return at === undefined ? read : [read[1 - at]!, node.inputs[at]!.inputs[0]!];
  };
  const apply = (node: Node, inputs: readonly string[]): string =>
    quotients.has(node)
      ? to.emit("Div", inputs)
      : (lowerings[node.op.name as Primitive] as Lower<unknown>)(to, node, inputs);
  const blocking = blockSize && samples && worth !== undefined ? { size: blockSize, samples, worth } : undefined;
  const blocks = blocking && findBlocks(graph, { gemms, absorbed, operands }, blocking);
  const lowered = new Map<Node, string>();
  const lower = (node: Node): string => {
    const known = lowered.get(node);
    if (known) return known;
    const name = lowerNew(node);
    lowered.set(node, name);
    return name;
  };
  const blocked = blocks && new Blocked(to, blocks, blocking, { lower, apply, operands });
  const lowerNew = (node: Node): string => {
    const gemm = gemms.get(node);
    const outOfBlocks = blocked?.lower(node, gemm);
    if (outOfBlocks) return outOfBlocks;
    return gemm ? lowerGemm(to, gemm, operandsOfGemm(gemm).map(lower)) : apply(node, operands(node).map(lower));
  };
  const packs = new Set([...graph.outputs.values()].filter(isPack));
  for (const node of graph.nodes) {
    if ([absorbed, reciprocals, packs].some((set) => set.has(node)) || ON_DEMAND.has(node.op.name)) continue;
    if (!blocked?.write(node)) lower(node);
  }
  const results = [...graph.outputs].map(([name, node]) => {
    const value = packs.has(node) ? pack(to, node.inputs.map(lower)) : lower(node);
    return { name: outputName(name), node, value };
  });
  for (const { value, name } of results) to.output(value, name);
  const outputs = results.map(({ name, node }) => valueInfo(to, name, node));
  const inputs = graph.inputs.map(({ name, node }) => valueInfo(to, name, node));
  const plain = [...lowered].map(([{ dtype, shape }, name]) => ({ name, dtype, shape }));
  const values = valuesBetween(to, [...plain, ...(blocked?.written ?? [])]);
  return {
    nodes: to.nodes,
    initializers: to.initializers,
    inputs,
    outputs,
    values,
    samples: to.fixedSamples,
  };
}

/**
 * The types of what operators give to one another. ONNX Runtime finds most of them itself, but loses the batch axis where
 * values are reshaped. What it does not know the shape of cannot take its input's memory, and is compared with all memory
 * that is free: planning then takes time that grows with the square of the graph.
 */
function valuesBetween(to: Lowering, values: readonly (TensorType & { readonly name: string })[]): OnnxValue[] {
  const written = new Set(to.nodes.flatMap(({ outputs }) => outputs));
  const typed = new Map(values.map((value) => [value.name, value]));
  return [...typed].filter(([name]) => written.has(name)).map(([name, value]) => valueInfo(to, name, value));
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

/** The inputs to read, past repetitions that ONNX's operators entry by entry make themselves (NumPy's rule). */
function operandsOf(node: Node): readonly Node[] {
  if (!node.op.entrywise) return node.inputs;
  const sources = node.inputs.map(unrepeated);
  const shapes: Shape[] = sources.map((source) => source.shape);
  if (sameShape(commonShape(node.op.name, ...shapes), node.shape)) return sources;
  return sources.with(0, node.inputs[0]!);
}

function valueInfo(to: Lowering, name: string, { dtype, shape }: TensorType): OnnxValue {
  return { name, element: to.element(dtype), shape: shape.map((dim) => (isBatch(dim) ? formatDim(dim) : dim)) };
}
