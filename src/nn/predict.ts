import {
  checkFinite,
  defaultEngine,
  type Engine,
  inTurn,
  type Needs,
  type Program,
  runBatch,
  sharedProgram,
  sliceData,
  type Variable,
  variableTensors,
} from "../engine/index.ts";
import { BATCH, formatShape, GraphBuilder, graphOf, isBatch, sameDim } from "../graph/index.ts";
import { input } from "../ops/index.ts";
import { GraphError, ShapeError } from "../util/errors.ts";
import { checkArray, isFloat, type NDArray } from "../util/ndarray.ts";
import { checkWhole, refuseUnknown } from "../util/options.ts";
import { Random } from "../util/random.ts";
import { type Scope, Tensor } from "./tensor.ts";
import { traceTwice } from "./trace.ts";

/** How a model is run on an array of samples. */
export interface PredictOptions {
  /** Where to run; the default engine if none is named. */
  readonly engine?: Engine;
  /** Samples in one run; 1000 by default. */
  readonly batchSize?: number;
  /** Of the random masks of a model in training mode; 0 by default. */
  readonly seed?: number;
}

/** What is needed of a model to trace it. */
export interface Traceable {
  forward(...inputs: Tensor[]): Tensor;
  namedParameters(): [string, { readonly variable: Variable }][];
  namedBuffers(): [string, { readonly variable: Variable }][];
}

/** The variables of a model by name. */
export function variablesOf(model: Traceable): Map<string, Variable> {
  const named = [...model.namedParameters(), ...model.namedBuffers()];
  return new Map(named.map(([name, { variable }]) => [name, variable]));
}

/** What a model's traces share: no other variables than its own. */
export function modelScope(variables: ReadonlyMap<string, Variable>): Scope {
  const names = new Map([...variables].map(([name, variable]) => [variable, name]));
  return {
    nameOf(variable) {
      const name = names.get(variable);
      if (name !== undefined) return name;
      throw new GraphError("a parameter or buffer was used that the model does not have: make it a field of a module");
    },
    asked: new Set(),
  };
}

/** Asserts that what a user's function gave is a tensor. @throws GraphError */
export function checkTensor(what: string, value: unknown): asserts value is Tensor {
  if (value instanceof Tensor) return;
  const found = value instanceof Promise ? "a promise" : value === null ? "null" : typeof value;
  throw new GraphError(`${what} must return a tensor, and return it at once; it returned ${found}`);
}

/** See `Module.predict`. */
export async function predict(model: Traceable, x: NDArray, options: PredictOptions): Promise<NDArray> {
  refuseUnknown("predict", options, ["engine", "batchSize", "seed"]);
  const { engine = await defaultEngine(), batchSize = 1000, seed = 0 } = options;
  checkWhole("batchSize", batchSize, 1);
  checkWhole("seed", seed);
  checkArray("predict x", x);
  const [samples] = x.shape;
  if (!samples) throw new ShapeError(`predict: expected an axis of samples, found shape [${x.shape}]`);
  if (isFloat(x)) checkFinite("predict x", x);
  return await inTurn(engine, async () => {
    const variables = variablesOf(model);
    const program = await forwardProgram(engine, model, variables, x, Math.min(samples, batchSize));
    const random = new Random(seed);
    const parts: NDArray[] = [];
    for (let start = 0; start < samples; start += batchSize) {
      const part = sliceData({ x }, program.plan, start, Math.min(start + batchSize, samples));
      const { output } = await runBatch(engine, program, await variableTensors(engine, variables), part, random);
      parts.push(await engine.read(output!));
      engine.release(output!);
    }
    return joinParts(parts);
  });
}

function forwardProgram(
  engine: Engine,
  model: Traceable,
  variables: ReadonlyMap<string, Variable>,
  x: NDArray,
  samples: number,
): Promise<Program<Needs>> {
  const b = new GraphBuilder();
  const data = input(b, "x", [BATCH, ...x.shape.slice(1)], isFloat(x) ? "float" : "int");
  const { node: output, trace } = traceTwice(b, modelScope(variables), undefined, () => {
    const value: unknown = model.forward(new Tensor(data));
    checkTensor("forward", value);
    return value;
  });
  const [axis, ...rest] = output.shape;
  if (axis === undefined || !sameDim(axis, BATCH) || rest.some(isBatch))
    throw new GraphError(
      `predict: the model's output must have the axis of samples in front, and there only; found ${formatShape(output.shape)}`,
    );
  const plan = { checks: trace.checks, masks: trace.masks };
  return sharedProgram(engine, { graph: graphOf({ output }), plan, samples }, JSON.stringify(plan));
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
