import { type BatchDim, isBatch, type PartSums } from "../graph/index.ts";
import { type Lowering, OWN } from "./lowering.ts";
import type { OnnxGraph, OnnxValue } from "./model-proto.ts";

/**
 * Adds a program's run over the parts of a batch, whose sums get the names of the program's outputs. What has samples is
 * cut by Scan, which copies nothing where they come first; the body reads the rest from the graph around it.
 * https://onnx.ai/onnx/operators/onnx__Scan.html
 * @param part the program in ONNX.
 */
export function lowerSums(to: Lowering, { graph, size }: PartSums, part: OnnxGraph): void {
  const samples = to.emit("Reshape", [to.emit("Cast", [size.name], { to: to.elementCode("int") }), to.ints([1])]);
  const cut = graph.inputs.flatMap(({ name, node: { shape } }, i) => {
    const axis = shape.findIndex(isBatch);
    return axis < 0 ? [] : [{ name, axis, factor: (shape[axis] as BatchDim).factor, value: part.inputs[i]! }];
  });
  const parts = cut.map(({ name, axis, factor, value: { shape } }) => {
    const length = factor === 1 ? samples : to.emit("Mul", [samples, to.ints([factor])]);
    const before = to.ints([...(shape.slice(0, axis) as number[]), -1]);
    const after = to.ints(shape.slice(axis + 1) as number[]);
    return to.emit("Reshape", [name, to.emit("Concat", [before, length, after], { axis: 0 })]);
  });
  const sums = [...graph.outputs.keys()];
  const zeros = part.outputs.map(({ shape }) => to.emit("Expand", [to.number(0), to.ints(shape as number[])]));
  const own = renamed(part, new Set(cut.map(({ name }) => name)));
  const sumsSoFar = own.outputs.map((value) => ({ ...value, name: `${value.name} so far` }));
  const added = own.outputs.map((value) => ({ ...value, name: `${value.name} added` }));
  const body: OnnxGraph = {
    ...own,
    nodes: [
      ...own.nodes,
      ...own.outputs.map(({ name }, i) => ({
        type: "Add",
        inputs: [sumsSoFar[i]!.name, name],
        outputs: [added[i]!.name],
        attributes: {},
      })),
    ],
    inputs: [...sumsSoFar, ...cut.map(({ value }) => inPart(value))],
    outputs: added,
  };
  const axes = cut.map(({ axis }) => axis);
  to.nodes.push({
    type: "Scan",
    inputs: [...zeros, ...parts],
    outputs: sums,
    attributes: { body, num_scan_inputs: cut.length, scan_input_axes: axes },
  });
}

/** A value of a part, which no value of the graph around it shares its name with. */
function inPart({ name, element, shape }: OnnxValue): OnnxValue {
  const lengths = (shape as readonly (number | string)[]).map((length) =>
    typeof length === "number" ? length : length.replace("batch", "part"),
  );
  return { name: `${OWN}part:${name}`, element, shape: lengths };
}

/** A part's graph with names of its own for all that it does not read from the graph around it. */
function renamed(part: OnnxGraph, cut: ReadonlySet<string>): OnnxGraph {
  const nameOf = (name: string): string => (name.startsWith(OWN) || cut.has(name) ? `${OWN}part:${name}` : name);
  return {
    nodes: part.nodes.map((node) => ({
      ...node,
      inputs: node.inputs.map(nameOf),
      outputs: node.outputs.map(nameOf),
    })),
    initializers: part.initializers.map((tensor) => ({ ...tensor, name: nameOf(tensor.name) })),
    inputs: [],
    outputs: part.outputs.map(inPart),
    values: part.values.map(inPart),
  };
}
