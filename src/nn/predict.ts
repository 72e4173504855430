import {
  checkFinite,
  defaultEngine,
  type Engine,
  inTurn,
  type Program,
  runOnce,
  sharedProgram,
  uploadScalar,
  type Variable,
  variableInputs,
  variableTensors,
} from "../engine/index.ts";
import { BATCH, formatShape, GraphBuilder, graphOf, isBatch, type Node, sameDim } from "../graph/index.ts";
import { BATCH_SIZE, input } from "../ops/index.ts";
import { GraphError, ShapeError } from "../util/errors.ts";
import { checkArray, isFloat, type NDArray, sizeOf } from "../util/ndarray.ts";
import { checkWhole, refuseUnknown } from "../util/options.ts";
import { Tensor, type Trace, tracing } from "./tensor.ts";

/** What is needed of a model to trace it. */
export interface Traceable {
  readonly training: boolean;
  forward(...inputs: Tensor[]): Tensor;
  /** The model and its parts. */
  modules(): readonly { readonly training: boolean }[];
  namedParameters(): [string, { readonly variable: Variable }][];
}

/** The variables of a model by name. */
export function variablesOf(model: Traceable): Map<string, Variable> {
  return new Map(model.namedParameters().map(([name, { variable }]) => [name, variable]));
}

/** Asserts that what a user's function gave is a tensor. @throws GraphError */
export function checkTensor(what: string, value: unknown): asserts value is Tensor {
  if (value instanceof Tensor) return;
  const found = value instanceof Promise ? "a promise" : value === null ? "null" : typeof value;
  throw new GraphError(`${what} must return a tensor, and return it at once; it returned ${found}`);
}

/** Runs a model's code twice and makes sure that both times it recorded the same program. @throws GraphError */
export function traceTwice(trace: Trace, code: () => Tensor): Node {
  const run = (on: Trace): Node => tracing(on, () => code().node);
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
  checkArray("predict x", x);
  if (isFloat(x)) checkFinite("predict x", x);
  return await inTurn(engine, async () => {
    const variables = variablesOf(model);
    const program = await forwardProgram(engine, model, variables, x);
    const parts: NDArray[] = [];
    for (let start = 0; start < samples; start += batchSize)
      parts.push(await runPart(engine, program, variables, x, start, Math.min(start + batchSize, samples)));
    return joinParts(parts);
  });
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
  const output = traceTwice(trace, () => {
    const value: unknown = model.forward(new Tensor(data));
    checkTensor("forward", value);
    return value;
  });
  const [axis, ...rest] = output.shape;
  if (axis === undefined || !sameDim(axis, BATCH) || rest.some(isBatch))
    throw new GraphError(
      `predict: the model's output must have the axis of samples in front, and there only; found ${formatShape(output.shape)}`,
    );
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
    [BATCH_SIZE]: await uploadScalar(engine, end - start),
  };
  const { output } = await runOnce(engine, program.session, await variableTensors(engine, variables), own);
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
