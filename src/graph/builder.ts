import { GraphError } from "../util/errors.ts";
import type { Builder, DType, Node, Op, TensorType } from "./node.ts";
import { formatShape, type Shape } from "./shape.ts";

/** Attributes of the `input` primitive. */
export interface InputAttrs extends TensorType {
  readonly name: string;
}

/**
 * Makes nodes. Equal operations on equal inputs give one node (hash consing), so a common subexpression is computed once.
 */
export class GraphBuilder implements Builder {
  readonly #nodes = new Map<string, Node>();
  #nextId = 0;

  apply<A>(op: Op<A>, inputs: readonly Node[], attrs: A): Node {
    const key = `${op.name}(${inputs.map((node) => node.id).join()})${formatAttrs(attrs)}`;
    const known = this.#nodes.get(key);
    if (known) return known;
    const type = op.infer(inputs, attrs);
    const simpler = op.simplify?.(inputs, attrs, type, this);
    if (simpler) return simpler;
    const node = { id: this.#nextId++, op: op as Op, inputs, attrs, shape: type.shape, dtype: type.dtype };
    this.#nodes.set(key, node);
    return node;
  }
}

/** A named input or output of a graph. */
export interface GraphInput {
  readonly name: string;
  readonly node: Node;
}

/** A tensor program: everything that its outputs need. */
export interface Graph {
  /** In the order in which they were made. */
  readonly inputs: readonly GraphInput[];
  readonly outputs: ReadonlyMap<string, Node>;
  /** Every node that an output needs, each after its inputs. */
  readonly nodes: readonly Node[];
  /** What is computed ahead of the nodes, part by part. */
  readonly ahead?: PartSums;
}

/** Sums over the parts of a batch. */
export interface PartSums {
  /** Run on each part. An output, added up over the parts, is the input of its name of the graph that comes after. */
  readonly graph: Graph;
  /** The input, a real number, that holds the samples of one part: a divisor of the batch size. */
  readonly size: GraphInput;
}

/** A graph some of whose inputs are sums over the parts of a batch; the others, and those of a part, are given. */
export function afterParts(graph: Graph, ahead: PartSums): Graph {
  const given = [...ahead.graph.inputs, ahead.size, ...graph.inputs].filter(
    ({ name }) => !ahead.graph.outputs.has(name),
  );
  return { ...graph, inputs: [...new Map(given.map((each) => [each.name, each])).values()], ahead };
}

/** Collects the nodes that the outputs need. */
export function graphOf(outputs: ReadonlyMap<string, Node> | Record<string, Node>): Graph {
  const named = outputs instanceof Map ? outputs : new Map(Object.entries(outputs));
  const nodes = ancestors([...named.values()]);
  return { inputs: inputsIn(nodes), outputs: named, nodes };
}

function inputsIn(nodes: readonly Node[]): GraphInput[] {
  return nodes
    .filter((node) => node.op.name === "input")
    .map((node) => ({ name: (node.attrs as InputAttrs).name, node }));
}

/** The nodes that `roots` depend on, themselves included, each after its inputs. */
export function ancestors(roots: readonly Node[]): Node[] {
  const seen = new Set<Node>();
  const pending = [...roots];
  for (let node = pending.pop(); node; node = pending.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    pending.push(...node.inputs);
  }
  return [...seen].sort((a, b) => a.id - b.id);
}

/** Of `nodes` (in topological order), those that depend on one of `sources`, the sources included. */
export function dependents(nodes: readonly Node[], sources: Iterable<Node>): Set<Node> {
  const reached = new Set<Node>(sources);
  for (const node of nodes) if (node.inputs.some((input) => reached.has(input))) reached.add(node);
  return reached;
}

/** Checks names, order and every shape rule of a graph. @throws GraphError */
export function checkGraph(graph: Graph): void {
  const names = new Set<string>();
  for (const { name } of graph.inputs) {
    if (names.has(name)) throw new GraphError(`two inputs are named ${name}`);
    names.add(name);
  }
  const seen = new Set<Node>();
  for (const node of graph.nodes) {
    if (node.inputs.some((input) => !seen.has(input))) throw new GraphError(`%${node.id} comes before its inputs`);
    const type = node.op.infer(node.inputs, node.attrs);
    if (formatType(type) !== formatType(node))
      throw new GraphError(`%${node.id} ${node.op.name} is ${formatType(node)}, its rule says ${formatType(type)}`);
    seen.add(node);
  }
  if (graph.ahead) checkAhead(graph, graph.ahead);
}

function checkAhead(graph: Graph, ahead: PartSums): void {
  checkGraph(ahead.graph);
  for (const { name, node } of inputsIn(graph.nodes)) {
    const sum = ahead.graph.outputs.get(name);
    if (sum && formatType(sum) !== formatType(node))
      throw new GraphError(`input ${name} is ${formatType(node)}, its part is ${formatType(sum)}`);
  }
}

function formatType({ dtype, shape }: { dtype: DType; shape: Shape }): string {
  return `${dtype}${formatShape(shape)}`;
}

/** Attributes as text; unlike in JSON, numbers that are not finite keep their names, and −0 its sign. */
function formatAttrs(attrs: unknown): string {
  return JSON.stringify(attrs, (_, value: unknown) => {
    if (Object.is(value, -0)) return "-0";
    return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
  });
}

/** A graph as text, one line for each node: `%3: float[batch, 10] = matmul(%0, %2) {…}`. */
export function printGraph(graph: Graph): string {
  const { ahead } = graph;
  const first = ahead ? [`of each ${ahead.size.name} samples, added up:`, printGraph(ahead.graph), "then:"] : [];
  const label = new Map(graph.nodes.map((node, i) => [node, `%${i}`]));
  const lines = graph.nodes.map((node) => {
    const attrs = formatAttrs(node.attrs);
    const inputs = node.inputs.map((input) => label.get(input)).join(", ");
    return `${label.get(node)}: ${formatType(node)} = ${node.op.name}(${inputs})${attrs === "{}" ? "" : ` ${attrs}`}`;
  });
  const outputs = [...graph.outputs].map(([name, node]) => `${name}: ${label.get(node)}`);
  return [...first, ...lines, `return { ${outputs.join(", ")} }`].join("\n");
}
