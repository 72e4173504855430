import {
  checkBatch,
  dataInputs,
  defaultEngine,
  type Engine,
  inTurn,
  type RangeCheck,
  runOnce,
  type Source,
  samplesOf,
  sharedProgram,
  specOf,
  uploadBatch,
  uploadScalar,
  type Variable,
  variableInputs,
  variableTensors,
} from "../engine/index.ts";
import { GraphBuilder, graphOf, type Node, sameShape } from "../graph/index.ts";
import { argmax, BATCH_SIZE, cast, equal, greater, greaterEqual, mul, scalar, sum, where } from "../ops/index.ts";
import { DataError, NonFiniteError } from "../util/errors.ts";
import type { Batch, Batches } from "../util/ndarray.ts";
import { refuseUnknown } from "../util/options.ts";
import type { Loss } from "./losses.ts";
import type { Module } from "./module.ts";
import { objective } from "./objective.ts";

/** What `evaluate` measures. */
export interface Evaluation {
  /** The mean over the samples. */
  readonly loss: number;
  /**
   * The share of labels at which the output is largest; undefined where targets are not labels. Labels that the loss ignores,
   * or that are no class, do not count.
   */
  readonly accuracy: number | undefined;
  readonly samples: number;
}

/**
 * The loss of a model on a data set, and its accuracy where the targets are labels. Batches count by their samples.
 * @param options.engine where to run; the default engine if none is named.
 * @param options.signal stops the work between two batches.
 * @throws DataError where there is no batch, NonFiniteError where the loss is NaN or infinite.
 */
export async function evaluate(
  model: Module,
  loss: Loss,
  batches: Batches,
  options: { readonly engine?: Engine; readonly signal?: AbortSignal } = {},
): Promise<Evaluation> {
  refuseUnknown("evaluate", options, ["engine", "signal"]);
  const { engine = await defaultEngine(), signal } = options;
  let [total, samples, correct, counted] = [0, 0, 0, 0];
  for await (const batch of batches) {
    signal?.throwIfAborted();
    const part = await inTurn(engine, () => evaluateBatch(engine, model, loss, batch));
    const size = samplesOf(batch);
    if (!Number.isFinite(part.loss)) throw new NonFiniteError(`evaluate: the loss is ${part.loss}`);
    total += part.loss * size;
    samples += size;
    correct += part.correct;
    counted += part.counted;
  }
  if (samples === 0) throw new DataError("evaluate: expected at least one batch, found none");
  return { loss: total / samples, accuracy: counted > 0 ? correct / counted : undefined, samples };
}

async function evaluateBatch(
  engine: Engine,
  model: Module,
  loss: Loss,
  batch: Batch,
): Promise<{ loss: number; correct: number; counted: number }> {
  const { source, variables } = evaluationSource(model, loss, batch);
  const { session, plan } = await sharedProgram(engine, source, JSON.stringify(source.plan));
  checkBatch(batch, plan);
  const own = { ...(await uploadBatch(engine, batch)), [BATCH_SIZE]: await uploadScalar(engine, samplesOf(batch)) };
  const outputs = await runOnce(engine, session, await variableTensors(engine, variables), own);
  const read = async (name: string): Promise<number> =>
    outputs[name] ? Number((await engine.read(outputs[name])).data[0]) : 0;
  const result = { loss: await read("loss"), correct: await read("correct"), counted: await read("counted") };
  engine.release(...Object.values(outputs));
  return result;
}

function evaluationSource(
  model: Module,
  loss: Loss,
  batch: Batch,
): { source: Source<readonly RangeCheck[]>; variables: ReadonlyMap<string, Variable> } {
  const b = new GraphBuilder();
  const target = objective(model, loss);
  const data = dataInputs(b, specOf(batch));
  const { loss: node, output, checks } = target.trace(b, variableInputs(b, target.variables), data);
  const ignored = checks.find(({ input }) => input === "y")?.except;
  const graph = graphOf({ loss: node, ...(output && labelCounts(b, output, data[1]!, ignored)) });
  return { source: { graph, plan: checks }, variables: target.variables };
}

/** How many labels count, and at how many of them the output is largest, for outputs [batch, classes, …]. */
function labelCounts(
  b: GraphBuilder,
  output: Node,
  target: Node,
  ignored: number | undefined,
): { correct: Node; counted: Node } | undefined {
  const classes = output.shape[1];
  const fits = target.dtype === "int" && sameShape(output.shape.toSpliced(1, 1), target.shape);
  if (!fits || typeof classes !== "number") return undefined;
  const whole = (value: number): Node => scalar(b, value, "int");
  const count = (...conditions: Node[]): Node =>
    sum(
      b,
      conditions.map((each) => cast(b, each, "float")).reduce((x, y) => mul(b, x, y)),
    );
  const labels = ignored === undefined ? target : where(b, equal(b, target, whole(ignored)), whole(-1), target);
  return {
    correct: count(equal(b, sum(b, argmax(b, output, 1), [1]), labels)),
    counted: count(greaterEqual(b, labels, whole(0)), greater(b, whole(classes), labels)),
  };
}
