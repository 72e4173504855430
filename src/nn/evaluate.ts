import {
  dataInputs,
  defaultEngine,
  type Engine,
  inTurn,
  type Mode,
  type Needs,
  type Objective,
  perKind,
  runBatch,
  type Source,
  samplesOf,
  sharedProgram,
  specOf,
  variableTensors,
} from "../engine/index.ts";
import { GraphBuilder, graphOf, type Node, sameShape } from "../graph/index.ts";
import { argmax, cast, equal, greater, greaterEqual, mul, scalar, sum, where } from "../ops/index.ts";
import { DataError, NonFiniteError } from "../util/errors.ts";
import type { Batch, Batches } from "../util/ndarray.ts";
import { checkOneOf, checkWhole, refuseUnknown } from "../util/options.ts";
import { Random } from "../util/random.ts";
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

/** How a model is evaluated. */
export interface EvaluateOptions {
  /** Where to run; the default engine if none is named. */
  readonly engine?: Engine;
  /** Stops the work between two batches. */
  readonly signal?: AbortSignal;
  /** The mode of all modules; each has its own by default, so a model in training mode is measured as it trains. */
  readonly mode?: Mode;
  /** Of the random masks of training mode; 0 by default. */
  readonly seed?: number;
}

/**
 * The loss of a model on a data set, and its accuracy where the targets are labels. Batches count by their samples. The
 * model stays as it is, its buffers too. It and the loss are traced once for each kind of batch (shapes, dtypes,
 * number of samples) and mode, so neither may change otherwise meanwhile.
 * @throws DataError where there is no batch, NonFiniteError where the loss is NaN or infinite.
 */
export async function evaluate(
  model: Module,
  loss: Loss,
  batches: Batches,
  options: EvaluateOptions = {},
): Promise<Evaluation> {
  refuseUnknown("evaluate", options, ["engine", "signal", "mode", "seed"]);
  const { engine = await defaultEngine(), signal, mode, seed = 0 } = options;
  if (mode !== undefined) checkOneOf("mode", mode, ["train", "eval"]);
  checkWhole("seed", seed);
  const target = objective(model, loss);
  const sourceOf = perKind(target, (batch) => evaluationSource(target, batch, mode));
  const random = new Random(seed);
  let [total, samples, correct, counted] = [0, 0, 0, 0];
  for await (const batch of batches) {
    signal?.throwIfAborted();
    const part = await inTurn(engine, () => evaluateBatch(engine, target, sourceOf(batch), batch, random));
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
  target: Objective,
  source: Source<Needs>,
  batch: Batch,
  random: Random,
): Promise<{ loss: number; correct: number; counted: number }> {
  const program = await sharedProgram(engine, source, JSON.stringify(source.plan));
  const outputs = await runBatch(engine, program, await variableTensors(engine, target.variables), batch, random);
  const read = async (name: string): Promise<number> =>
    outputs[name] ? Number((await engine.read(outputs[name])).data[0]) : 0;
  const result = { loss: await read("loss"), correct: await read("correct"), counted: await read("counted") };
  engine.release(...Object.values(outputs));
  return result;
}

function evaluationSource(target: Objective, batch: Batch, mode: Mode | undefined): Source<Needs> {
  const b = new GraphBuilder();
  const data = dataInputs(b, specOf(batch));
  const { loss, output, checks, masks } = target.trace(b, data, mode);
  const labels = checks.filter((check) => check.kind === "range").find((check) => check.input === "y");
  const graph = graphOf({ loss, ...(output && labelCounts(b, output, data[1]!, labels?.except)) });
  return { graph, plan: { checks, masks }, samples: samplesOf(batch) };
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
