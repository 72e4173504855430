import { type CompileOptions, type Engine, type EngineTensor, ReferenceEngine } from "../../src/engine/index.ts";
import { checkGraph, type Graph, graphOf, type Node } from "../../src/graph/index.ts";
import type { NDArray } from "../../src/util/ndarray.ts";

/** Arrays by the name of the graph's input or output. */
export type Arrays = Readonly<Record<string, NDArray>>;

/** A checked graph of these outputs: every graph that a test makes passes through here. */
export function checkedGraph(outputs: Readonly<Record<string, Node>>): Graph {
  const graph = graphOf(outputs);
  checkGraph(graph);
  return graph;
}

/** A graph compiled to run many times on arrays; `dispose` frees it. */
export async function compiled(engine: Engine, graph: Graph, options: CompileOptions = {}) {
  const session = await engine.compile(graph, options);
  return {
    run: async (feeds: Arrays): Promise<Record<string, NDArray>> => {
      const inputs: Record<string, EngineTensor> = {};
      for (const { name } of graph.inputs) if (feeds[name]) inputs[name] = await engine.upload(feeds[name]);
      const outputs = await session.run(inputs, Object.values(inputs));
      const arrays: Record<string, NDArray> = {};
      for (const [name, tensor] of Object.entries(outputs)) arrays[name] = await engine.read(tensor);
      engine.release(...Object.values(outputs));
      return arrays;
    },
    dispose: () => session.dispose(),
  };
}

/** Runs a program once, on the float64 oracle unless told otherwise. */
export async function evaluate(
  outputs: Readonly<Record<string, Node>>,
  feeds: Arrays = {},
  engine: Engine = new ReferenceEngine(),
): Promise<Record<string, NDArray>> {
  const program = await compiled(engine, checkedGraph(outputs));
  const arrays = await program.run(feeds);
  await program.dispose();
  return arrays;
}

/** The entries of an array as plain numbers. */
export function numbers(array: NDArray | undefined): number[] {
  if (!array) throw new Error("this array is missing");
  return Array.from(array.data as ArrayLike<number | bigint>, Number);
}

/** Real numbers as an array. */
export function real(data: readonly number[], shape: readonly number[] = [data.length]): NDArray {
  return { shape, data: Float64Array.from(data) };
}

/** Whole numbers as an array. */
export function whole(data: readonly number[], shape: readonly number[] = [data.length]): NDArray {
  return { shape, data: Int32Array.from(data) };
}
