import {
  checkFinite,
  defaultEngine,
  type Engine,
  type Program,
  sharedProgram,
  type Variable,
  variableInputs,
  variableTensors,
} from "../engine/index.ts";
import { BATCH, GraphBuilder, graphOf, isBatch, type Node } from "../graph/index.ts";
import { batchSize as batchSizeInput, input } from "../ops/index.ts";
import { GraphError, ShapeError } from "../util/errors.ts";
import { isFloat, type NDArray, sizeOf } from "../util/ndarray.ts";
import { checkWhole, refuseUnknown } from "../util/options.ts";
import { Tensor, type Trace, tracing } from "./tensor.ts";

/** What is needed of a model to trace it. */
export interface Traceable {
  forward(...inputs: Tensor[]): Tensor;
  namedParameters(): [string, { readonly variable: Variable }][];
}

/** The variables of a model by name. */
export function variablesOf(model: Traceable): Map<string, Variable> {
  return new Map(model.namedParameters().map(([name, { variable }]) => [name, variable]));
}

/** Runs a forward twice and makes sure that both times it recorded the same program. @throws GraphError */
export function traceTwice(trace: Trace, forward: () => Tensor): Node {
  const run = (on: Trace): Node => {
    const output: unknown = tracing(on, forward);
    if (!(output instanceof Tensor))
      throw new GraphError("forward must return a tensor, and return it at once (not a promise)");
    return tracing(on, () => output.node);
  };
  const first = run(trace);
  if (run({ ...trace, checks: [] }) !== first)
    throw new GraphError(
      "two traces of the model differ: it uses random numbers or other outside state, which would be baked in as constants",
    );
  return first;
}

/** See `Module.predict`. */
export async function predict(
  model: Traceable,
  x: NDArray,
  options: { readonly engine?: Engine; readonly batchSize?: number },
): Promise<NDArray> {
  refuseUnknown("predict", options, ["engine", "batchSize"]);
  const { engine = await defaultEngine(), batchSize = 1000 } = options;
  checkWhole("batchSize", batchSize, 1);
  const [samples] = x.shape;
  if (!samples) throw new ShapeError(`predict: expected an axis of samples, found shape [${x.shape}]`);
  if (isFloat(x)) checkFinite("predict x", x);
  const variables = variablesOf(model);
  const program = await forwardProgram(engine, model, variables, x);
  const parts: NDArray[] = [];
  for (let start = 0; start < samples; start += batchSize)
    parts.push(await runPart(engine, program, variables, x, start, Math.min(start + batchSize, samples)));
  return joinParts(parts);
}

function forwardProgram(
  engine: Engine,
  model: Traceable,
  variables: ReadonlyMap<string, Variable>,
  x: NDArray,
): Promise<Program<null>> {
  const builder = new GraphBuilder();
  const trace = { builder, variables: variableInputs(builder, variables), checks: [] };
  const data = input(builder, "x", [BATCH, ...x.shape.slice(1)], isFloat(x) ? "float" : "int");
  const output = traceTwice(trace, () => model.forward(new Tensor(data)));
  const [axis] = output.shape;
  if (axis === undefined || !isBatch(axis))
    throw new GraphError("predict: the model's output has no axis of samples in front");
  // The size of the batch is an input of any mean over it.
  batchSizeInput(builder);
  return sharedProgram(engine, { graph: graphOf({ output }), plan: null });
}

async function runPart(
  engine: Engine,
  program: Program<null>,
  variables: ReadonlyMap<string, Variable>,
  x: NDArray,
  start: number,
  end: number,
): Promise<NDArray> {
  const step = sizeOf(x.shape.slice(1));
  const part = { shape: [end - start, ...x.shape.slice(1)], data: x.data.subarray(start * step, end * step) };
  const own = {
    x: await engine.upload(part),
    batchSize: await engine.upload({ shape: [], data: Float64Array.of(end - start) }),
  };
  const { output } = await program.session.run(
    { ...(await variableTensors(engine, variables)), ...own },
    Object.values(own),
  );
  const value = await engine.read(output!);
  engine.release(output!);
  return value;
}

function joinParts(parts: readonly NDArray[]): NDArray {
  const [first] = parts;
  if (parts.length === 1) return first!;
  const length = parts.reduce((sum, part) => sum + part.data.length, 0);
  const data = new (first!.data.constructor as Float32ArrayConstructor)(length);
  let at = 0;
  for (const part of parts) {
    data.set(part.data as Float32Array, at);
    at += part.data.length;
  }
  const samples = parts.reduce((sum, part) => sum + part.shape[0]!, 0);
  return { shape: [samples, ...first!.shape.slice(1)], data };
}
