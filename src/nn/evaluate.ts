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
import { GraphBuilder, graphOf, type Node } from "../graph/index.ts";
import { argmax, BATCH_SIZE, cast, equal, sum } from "../ops/index.ts";
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
  /** The share of samples whose largest output is at their label; undefined where targets are not labels. */
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
  let [total, samples] = [0, 0];
  let correct: number | undefined;
  for await (const batch of batches) {
    signal?.throwIfAborted();
    const part = await inTurn(engine, () => evaluateBatch(engine, model, loss, batch));
    const size = samplesOf(batch);
    if (!Number.isFinite(part.loss)) throw new NonFiniteError(`evaluate: the loss is ${part.loss}`);
    total += part.loss * size;
    samples += size;
    if (part.correct !== undefined) correct = (correct ?? 0) + part.correct;
  }
  if (samples === 0) throw new DataError("evaluate: expected at least one batch, found none");
  return { loss: total / samples, accuracy: correct === undefined ? undefined : correct / samples, samples };
}

async function evaluateBatch(
  engine: Engine,
  model: Module,
  loss: Loss,
  batch: Batch,
): Promise<{ loss: number; correct: number | undefined }> {
  const { source, variables } = evaluationSource(model, loss, batch);
  const { session, plan } = await sharedProgram(engine, source, JSON.stringify(source.plan));
  checkBatch(batch, plan);
  const own = { ...(await uploadBatch(engine, batch)), [BATCH_SIZE]: await uploadScalar(engine, samplesOf(batch)) };
  const outputs = await runOnce(engine, session, await variableTensors(engine, variables), own);
  const read = async (name: string): Promise<number | undefined> =>
    outputs[name] && Number((await engine.read(outputs[name])).data[0]);
  const result = { loss: (await read("loss"))!, correct: await read("correct") };
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
  const correct = output && countCorrect(b, output, data[1]!);
  const graph = graphOf(new Map([["loss", node], ...(correct ? [["correct", correct] as const] : [])]));
  return { source: { graph, plan: checks }, variables: target.variables };
}

/** The number of samples whose largest output is at their label, for outputs [batch, classes]. */
function countCorrect(b: GraphBuilder, output: Node, labels: Node): Node | undefined {
  if (labels.dtype !== "int" || labels.shape.length !== 1 || output.shape.length !== 2) return undefined;
  const predicted = sum(b, argmax(b, output, 1), [1]);
  return sum(b, cast(b, equal(b, predicted, labels), "float"));
}
