import { BATCH, type Builder, type DType, formatShape, type Node, type Shape } from "../graph/index.ts";
import { BATCH_SIZE, input } from "../ops/index.ts";
import { DataError, NonFiniteError, ShapeError } from "../util/errors.ts";
import { type Batch, checkArray, type FloatData, isFloat, type NDArray, sizeOf } from "../util/ndarray.ts";
import { handled } from "../util/promises.ts";
import type { Random } from "../util/random.ts";
import { type Engine, type EngineTensor, finished, type Running, type Session, type Tensors } from "./engine.ts";
import { drawMasks, sliceSamples } from "./masks.ts";
import type { Program } from "./programs.ts";
import {
  type BatchCheck,
  DATA_INPUTS,
  type Needs,
  type Objective,
  type RangeCheck,
  type SizeCheck,
} from "./variable.ts";

/** What a graph must know of a batch: shapes without the number of samples, and dtypes. */
export interface DataSpec {
  /** Equal for batches that one compiled graph serves. */
  readonly key: string;
  readonly types: readonly { readonly shape: Shape; readonly dtype: DType }[];
}

/** The shapes and dtypes of a batch, or of none. @throws DataError, ShapeError */
export function specOf(batch: Batch | undefined): DataSpec {
  const types = batch ? DATA_INPUTS.map((name) => typeOf(name, batch[name])) : [];
  if (batch) samplesOf(batch);
  return { key: types.map(({ shape, dtype }) => dtype + formatShape(shape)).join(), types };
}

function typeOf(name: string, array: NDArray): { shape: Shape; dtype: DType } {
  checkArray(`batch ${name}`, array);
  if (array.shape.length === 0) throw new ShapeError(`batch ${name}: expected an axis of samples, found a scalar`);
  return { shape: [BATCH, ...array.shape.slice(1)], dtype: isFloat(array) ? "float" : "int" };
}

/** The number of samples in a batch. @throws DataError where x and y differ, or where there is none */
export function samplesOf(batch: Batch): number {
  const [inputs, targets] = [batch.x.shape[0]!, batch.y.shape[0]!];
  if (inputs !== targets) throw new DataError(`batch: x has ${inputs} samples, y has ${targets}`);
  if (inputs < 1) throw new DataError("batch: expected at least one sample, found none");
  return inputs;
}

/**
 * What is traced of a loss for a batch, made once for each kind of batch, for one call that takes many: for batches of the
 * same shapes, dtypes and number of samples, while the modules that traces asked have the same modes.
 */
export function perKind<T>(objective: Objective, make: (batch: Batch) => T): (batch: Batch) => T {
  const made = new Map<string, T>();
  const keyOf = (batch: Batch): string => `${specOf(batch).key} ${samplesOf(batch)} ${objective.mode()}`;
  return (batch) => {
    const result = made.get(keyOf(batch)) ?? make(batch);
    // Asked again: making it finds out which modules count.
    made.set(keyOf(batch), result);
    return result;
  };
}

/** The graph's inputs for the batch, x and then y. */
export function dataInputs(b: Builder, spec: DataSpec): Node[] {
  return spec.types.map(({ shape, dtype }, i) => input(b, DATA_INPUTS[i]!, shape, dtype));
}

/** The arrays that a run is given, by the name of the graph's input. */
export type RunData = Readonly<Record<string, NDArray>>;

/**
 * A batch and freshly drawn masks for it.
 * @param batch x and y, x alone, or nothing for a model without inputs.
 * @param least the samples that layers see at least, fewer than the batch's where it is run in parts.
 * @throws DataError where the batch does not pass the program's checks.
 */
export function runData(
  engine: Engine,
  batch: Partial<Batch>,
  needs: Needs,
  random: Random,
  least: number = batch.x?.shape[0] ?? 1,
): RunData {
  const data: Record<string, NDArray> = {};
  for (const name of DATA_INPUTS) if (batch[name]) data[name] = batch[name];
  const samples = batch.x?.shape[0] ?? 1;
  checkFits(data, least, needs.checks);
  return { ...data, ...drawMasks(needs.masks, samples, random, engine.precision) };
}

/** Samples `start` to `end` (exclusive) of a run's data. */
export function sliceData(data: RunData, { masks }: Needs, start: number, end: number): RunData {
  const patterns = new Map(masks.map(({ name, shape }) => [name, shape]));
  return Object.fromEntries(
    Object.entries(data).map(([name, array]) => [
      name,
      sliceSamples(array, patterns.get(name) ?? [BATCH, ...array.shape.slice(1)], start, end),
    ]),
  );
}

/** @throws NonFiniteError naming the first entry of a batch that is NaN or infinite. */
export function checkFiniteBatch(batch: Partial<Batch>): void {
  for (const name of DATA_INPUTS) {
    const array = batch[name];
    if (array && isFloat(array)) checkFinite(`batch ${name}`, array);
  }
}

/**
 * Checks that a model's layers take data: labels in range, and as many samples as they need.
 * @throws DataError naming the layer, the input, the sample and the value; NonFiniteError, of which it is told first.
 */
export function checkFits(data: RunData, samples: number, checks: readonly BatchCheck[]): void {
  for (const check of checks) {
    const wrong = check.kind === "range" ? outOfRange(data, check) : tooFew(samples, check);
    if (!wrong) continue;
    checkFiniteBatch(data);
    throw new DataError(check.layer === undefined ? wrong : `${check.layer}: ${wrong}`);
  }
}

function outOfRange(data: RunData, { input: name, what, bound, except }: RangeCheck): string | undefined {
  const { shape, data: entries } = data[name]!;
  const at = (entries as Int32Array).findIndex(
    (value) => Number(value) !== except && !(Number(value) >= 0 && Number(value) < bound),
  );
  if (at < 0) return undefined;
  const sample = Math.floor(at / sizeOf(shape.slice(1)));
  return `batch ${name}: ${what} ${entries[at]} of sample ${sample} is out of range, expected 0 to ${bound - 1}`;
}

function tooFew(samples: number, { least, reason }: SizeCheck): string | undefined {
  return samples < least ? `${reason}, found a batch of ${samples}` : undefined;
}

/** @throws NonFiniteError naming the first entry that is NaN or infinite. */
export function checkFinite(what: string, { shape, data }: NDArray): void {
  if (areFinite(data as FloatData)) return;
  const at = (data as Float64Array).findIndex((value) => !Number.isFinite(value));
  const sample = shape.length > 0 ? ` in sample ${Math.floor(at / sizeOf(shape.slice(1)))}` : "";
  throw new NonFiniteError(`${what}: entry ${at} is ${data[at]}${sample}`);
}

/** In one pass without branches: a sum of x − x is 0 unless some x is NaN or infinite. Of four sums none waits for another. */
function areFinite(data: FloatData): boolean {
  const fours = data.length - (data.length % 4);
  let [first, second, third, fourth] = [0, 0, 0, 0];
  for (let i = 0; i < fours; i += 4) {
    first += data[i]! - data[i]!;
    second += data[i + 1]! - data[i + 1]!;
    third += data[i + 2]! - data[i + 2]!;
    fourth += data[i + 3]! - data[i + 3]!;
  }
  for (let i = fours; i < data.length; i++) first += data[i]! - data[i]!;
  return first + second + third + fourth === 0;
}

/** Uploads a run's arrays. */
export async function uploadData(engine: Engine, data: RunData): Promise<Record<string, EngineTensor>> {
  const tensors: Record<string, EngineTensor> = {};
  for (const [name, array] of Object.entries(data)) tensors[name] = await engine.upload(array);
  return tensors;
}

/** Uploads all that a run over a whole batch is given beside variables: see {@link runData}. @throws DataError */
export async function uploadBatch(
  engine: Engine,
  batch: Partial<Batch> | undefined,
  needs: Needs,
  random: Random,
): Promise<Record<string, EngineTensor>> {
  const data = runData(engine, batch ?? {}, needs, random);
  const size = await uploadScalar(engine, batch?.x?.shape[0] ?? 1);
  return { ...(await uploadData(engine, data)), [BATCH_SIZE]: size };
}

/**
 * Runs a session on tensors that stay and on tensors made for this run, which are freed, also where it fails.
 * @param batch what the latter were made of, which is looked through while the session runs.
 * @throws NonFiniteError where an entry of it is NaN or infinite.
 */
export async function runOnce(
  engine: Engine,
  session: Session,
  kept: Tensors,
  own: Tensors,
  batch: Partial<Batch> = {},
): Promise<Record<string, EngineTensor>> {
  return await finished(await beginOnce(engine, session, kept, own, batch));
}

/** Begins such a run. What is wrong with the batch is told at its end. */
export async function beginOnce(
  engine: Engine,
  session: Session,
  kept: Tensors,
  own: Tensors,
  batch: Partial<Batch> = {},
): Promise<Running> {
  const donated = Object.values(own);
  const beginning = session.begin({ ...kept, ...own }, donated);
  const checked = handled(new Promise<void>((resolve) => resolve(checkFiniteBatch(batch))));
  const { outputs, done } = await beginning.catch(async (error: unknown) => {
    engine.release(...donated);
    await checked;
    throw error;
  });
  const ended = Promise.allSettled([done, checked]).then(([run, check]) => {
    if (run.status === "rejected") engine.release(...donated);
    else if (check.status === "rejected") engine.release(...Object.values(outputs));
    for (const each of [check, run]) if (each.status === "rejected") throw each.reason;
  });
  return { outputs, done: handled(ended) };
}

/**
 * Runs a program over a whole batch, of which masks are drawn freshly.
 * @param batch x and y, x alone, or nothing for a model without inputs.
 * @throws DataError, NonFiniteError where it does not pass the program's checks.
 */
export async function runBatch(
  engine: Engine,
  { session, plan }: Program<Needs>,
  kept: Tensors,
  batch: Partial<Batch> | undefined,
  random: Random,
): Promise<Record<string, EngineTensor>> {
  return await runOnce(engine, session, kept, await uploadBatch(engine, batch, plan, random), batch);
}

/** Uploads a number as a scalar input. */
export function uploadScalar(engine: Engine, value: number): Promise<EngineTensor> {
  return engine.upload({ shape: [], data: Float64Array.of(value) });
}
