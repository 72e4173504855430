import { gradients } from "../derive/index.ts";
import {
  checkFinite,
  defaultEngine,
  type Engine,
  inTurn,
  type Needs,
  type Objective,
  perKind,
  runBatch,
  type Source,
  samplesOf,
  sharedProgram,
  variableInput,
  variableTensors,
} from "../engine/index.ts";
import { type GraphBuilder, graphOf, type Node } from "../graph/index.ts";
import { type Loss, type Module, objective } from "../nn/index.ts";
import { constant } from "../ops/index.ts";
import { NonFiniteError, OptionError } from "../util/errors.ts";
import { type Batch, type Batches, type FloatData, type NDArray, sizeOf } from "../util/ndarray.ts";
import { checkWhole, refuseUnknown } from "../util/options.ts";
import type { Random } from "../util/random.ts";
import {
  checkDirection,
  checkFiniteDirection,
  type Direction,
  HG_OPTIONS,
  type HgOptions,
  RUN_OPTIONS,
  type RunOptions,
  randomOf,
  uploadDirections,
} from "./along.ts";
import { type NamedGroup, nameGroups } from "./groups.ts";
import { SummaryMean, WeightedMean } from "./mean.ts";
import { canonical } from "./partition.ts";
import { partsOf } from "./run-parts.ts";
import {
  compileRest,
  derivedOnce,
  deriveSummary,
  runSummary,
  type Summary,
  type SummaryPlan,
  type TracedLoss,
  traceLoss,
} from "./summary.ts";

/** A loss and its gradient. */
export interface ValueAndGrad {
  readonly loss: number;
  /** By name, of every trainable parameter. */
  readonly gradient: Record<string, NDArray<FloatData>>;
}

/**
 * The loss and its gradient on one batch.
 * @param batch left out for a model without inputs.
 * @throws NonFiniteError where the loss or the gradient is NaN or infinite, and what tracing and running throw.
 */
export async function valueAndGrad(
  model: Module,
  loss: Loss,
  batch?: Batch,
  options: RunOptions = {},
): Promise<ValueAndGrad> {
  refuseUnknown("valueAndGrad", options, RUN_OPTIONS);
  const { engine = await defaultEngine() } = options;
  const target = objective(model, loss);
  const random = randomOf(options);
  return await inTurn(engine, () => gradientOn(engine, target, gradientSourceOn(engine, target, batch), batch, random));
}

async function gradientOn(
  engine: Engine,
  target: Objective,
  source: Source<Needs>,
  batch: Batch | undefined,
  random: Random,
): Promise<ValueAndGrad> {
  const program = await sharedProgram(engine, source, JSON.stringify(source.plan));
  const outputs = await runBatch(engine, program, await variableTensors(engine, target.variables), batch, random);
  const read = async (name: string) => (await engine.read(outputs[name]!)) as NDArray<FloatData>;
  const [value] = (await read(LOSS)).data;
  const gradient: Record<string, NDArray<FloatData>> = {};
  for (const name of target.variables.keys()) if (outputs[slope(name)]) gradient[name] = await read(slope(name));
  engine.release(...Object.values(outputs));
  if (!Number.isFinite(value)) throw new NonFiniteError(`the loss is ${value}`);
  for (const [name, { data }] of Object.entries(gradient)) checkFinite(`gradient of ${name}`, { shape: [], data });
  return { loss: value!, gradient };
}

/** What programs and sums call the loss. */
const LOSS = "loss";

/** What they call the derivative in a parameter, which may itself be called "loss". */
function slope(name: string): string {
  return `d:${name}`;
}

/** The graph of a loss and its gradient in all that is trained. */
export function gradientSource(target: Objective, batch: Batch | undefined): Source<Needs> {
  return deriveGradient(traceLoss(target, batch));
}

/** The same, once for equal losses on an engine. */
function gradientSourceOn(engine: Engine, target: Objective, batch: Batch | undefined): Source<Needs> {
  const traced = traceLoss(target, batch);
  return derivedOnce(engine, traced, "gradient", () => deriveGradient(traced));
}

function deriveGradient({ objective: { variables }, batch, b, loss, checks, masks }: TracedLoss): Source<Needs> {
  const trainable = [...variables].filter(([, variable]) => variable.trainable);
  const slopes = gradients(
    b,
    loss,
    trainable.map(([name, variable]) => variableInput(b, name, variable)),
  );
  const named = trainable.map(([name, { shape }], i) => [slope(name), slopes[i] ?? zeros(b, shape)] as const);
  const graph = graphOf(new Map<string, Node>([[LOSS, loss], ...named]));
  return { graph, plan: { checks, masks }, samples: batch && samplesOf(batch) };
}

function zeros(b: GraphBuilder, shape: readonly number[]): Node {
  return constant(b, new Array<number>(sizeOf(shape)).fill(0), shape);
}

/**
 * Loss, ḡ, H̄ and the diagonal of the third derivative along the group directions, on one batch
 * (P. Wolinski, arXiv 2312.03885, §3). Everything is a derivative along +u.
 * @param batch left out for a model without inputs.
 * @throws PartitionError, ShapeError (a direction of another shape or with missing names), NonFiniteError, DataError.
 */
export async function computeHg(model: Module, loss: Loss, batch?: Batch, options: HgOptions = {}): Promise<Summary> {
  refuseUnknown("computeHg", options, HG_OPTIONS);
  const along = await prepare(model, loss, options);
  const { engine, seed = 0 } = along;
  const direction = options.direction ?? (await valueAndGrad(model, loss, batch, { engine, seed })).gradient;
  return await inTurn(engine, () => summaryAlong(along, summarySourceFor(along, batch), batch, direction));
}

/** What a summary along a direction is told. */
interface Along extends HgOptions {
  readonly engine: Engine;
  readonly target: Objective;
  readonly groups: readonly NamedGroup[];
  readonly random: Random;
}

/** @throws OptionError, PartitionError */
async function prepare(model: Module, loss: Loss, options: HgOptions): Promise<Along> {
  const { partition = canonical(model), microbatch, engine = await defaultEngine() } = options;
  if (microbatch !== undefined) checkWhole("microbatch", microbatch, 1);
  const target = objective(model, loss);
  return { ...options, engine, target, groups: nameGroups(partition, target.variables), random: randomOf(options) };
}

/** The graph of a summary, once for equal losses on an engine. */
function summarySourceFor({ engine, target, groups }: Along, batch: Batch | undefined): Source<SummaryPlan> {
  const traced = traceLoss(target, batch);
  return derivedOnce(engine, traced, ["summary", groups], () => deriveSummary(traced, groups));
}

async function summaryAlong(
  { engine, target, groups, microbatch, random, signal }: Along,
  source: Source<SummaryPlan>,
  batch: Batch | undefined,
  direction: Direction,
): Promise<Summary> {
  checkDirection(direction, target, groups);
  const { checks, masks } = source.plan;
  const key = JSON.stringify({ groups, checks, masks });
  const parts = partsOf(source.plan, batch, engine, microbatch);
  const program = await sharedProgram(engine, { ...source, samples: parts[0] }, key);
  if (microbatch !== undefined && !program.plan.split.splits)
    throw new OptionError(`microbatch: this loss cannot be split, since ${program.plan.split.reason}`);
  const besides = await compileRest(program.plan, (_, each) => sharedProgram(engine, each, key));
  const directions = await uploadDirections(engine, direction, groups);
  const tensors = { ...(await variableTensors(engine, target.variables)), ...directions };
  const check = (): void => checkFiniteDirection(direction);
  try {
    return await runSummary({ engine, program, ...besides, tensors, batch, parts, random, signal, check }, groups);
  } finally {
    engine.release(...Object.values(directions));
  }
}

/**
 * The gradient over a whole data set: the mean of the batches' gradients, each weighted by its share of the samples.
 * The model and the loss are traced as in `evaluate`: once for each kind of batch and mode.
 * @throws DataError where there is no batch.
 */
export async function fullbatchGradient(
  model: Module,
  loss: Loss,
  batches: Batches,
  options: RunOptions = {},
): Promise<ValueAndGrad> {
  refuseUnknown("fullbatchGradient", options, RUN_OPTIONS);
  const { engine = await defaultEngine(), signal } = options;
  const target = objective(model, loss);
  const sourceOf = perKind(target, (batch) => gradientSourceOn(engine, target, batch));
  const random = randomOf(options);
  const mean = new WeightedMean();
  for await (const batch of batches) {
    signal?.throwIfAborted();
    const part = await inTurn(engine, () => gradientOn(engine, target, sourceOf(batch), batch, random));
    const { loss: value, gradient } = part;
    const arrays = Object.fromEntries(Object.entries(gradient).map(([name, { data }]) => [slope(name), data]));
    mean.add(samplesOf(batch), { ...arrays, [LOSS]: [value] });
  }
  const sums = mean.result();
  const gradient: Record<string, NDArray<FloatData>> = {};
  for (const [name, { shape }] of target.variables) {
    const data = sums[slope(name)];
    if (data) gradient[name] = { shape, data };
  }
  return { loss: sums[LOSS]![0]!, gradient };
}

/**
 * `computeHg` over a whole data set: the mean of the batches' summaries, each weighted by its share of the samples, along
 * one direction for all (the full gradient by default). Third derivatives are added with their signs.
 * The model and the loss are traced as in `evaluate`: once for each kind of batch and mode.
 * @throws DataError where there is no batch, and what `computeHg` throws.
 */
export async function computeHgFullbatch(
  model: Module,
  loss: Loss,
  batches: Batches,
  options: HgOptions = {},
): Promise<Summary> {
  refuseUnknown("computeHgFullbatch", options, HG_OPTIONS);
  const along = await prepare(model, loss, options);
  const { engine, target, signal, seed = 0 } = along;
  const direction =
    options.direction ??
    (await fullbatchGradient(model, loss, batches, { engine, seed, ...(signal && { signal }) })).gradient;
  const sourceOf = perKind(target, (batch) => summarySourceFor(along, batch));
  const mean = new SummaryMean();
  for await (const batch of batches) {
    const part = await inTurn(engine, () => summaryAlong(along, sourceOf(batch), batch, direction));
    mean.add(samplesOf(batch), part);
  }
  return mean.result();
}
