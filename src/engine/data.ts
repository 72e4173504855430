import { BATCH, type Builder, type DType, formatShape, type Node, type Shape } from "../graph/index.ts";
import { input } from "../ops/index.ts";
import { DataError, NonFiniteError, ShapeError } from "../util/errors.ts";
import { type Batch, checkArray, isFloat, type NDArray, sizeOf } from "../util/ndarray.ts";
import type { Engine, EngineTensor, Session, Tensors } from "./engine.ts";
import { DATA_INPUTS, type RangeCheck } from "./variable.ts";

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

/** The graph's inputs for the batch, x and then y. */
export function dataInputs(b: Builder, spec: DataSpec): Node[] {
  return spec.types.map(({ shape, dtype }, i) => input(b, DATA_INPUTS[i]!, shape, dtype));
}

/** Samples `start` to `end` (exclusive), sharing memory. */
export function sliceBatch(batch: Batch, start: number, end: number): Batch {
  return { x: sliceArray(batch.x, start, end), y: sliceArray(batch.y, start, end) };
}

function sliceArray({ shape, data }: NDArray, start: number, end: number): NDArray {
  const step = sizeOf(shape.slice(1));
  return { shape: [end - start, ...shape.slice(1)], data: data.subarray(start * step, end * step) };
}

/**
 * Checks that data can be used: finite, and labels in range.
 * @throws NonFiniteError, DataError naming the input, the sample and the value.
 */
export function checkBatch(batch: Batch, checks: readonly RangeCheck[]): void {
  for (const name of DATA_INPUTS) {
    const array = batch[name];
    if (isFloat(array)) checkFinite(`batch ${name}`, array);
  }
  for (const { input: name, what, bound, except } of checks) {
    const { shape, data } = batch[name as keyof Batch];
    const at = (data as Int32Array).findIndex(
      (value) => Number(value) !== except && !(Number(value) >= 0 && Number(value) < bound),
    );
    if (at >= 0)
      throw new DataError(
        `batch ${name}: ${what} ${data[at]} of sample ${Math.floor(at / sizeOf(shape.slice(1)))} is out of range, expected 0 to ${bound - 1}`,
      );
  }
}

/** @throws NonFiniteError naming the first entry that is NaN or infinite. */
export function checkFinite(what: string, { shape, data }: NDArray): void {
  // One pass without branches: the sum of x − x is 0 unless some x is NaN or infinite.
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += Number(data[i]) - Number(data[i]);
  if (sum === 0) return;
  const at = (data as Float64Array).findIndex((value) => !Number.isFinite(value));
  const sample = shape.length > 0 ? ` in sample ${Math.floor(at / sizeOf(shape.slice(1)))}` : "";
  throw new NonFiniteError(`${what}: entry ${at} is ${data[at]}${sample}`);
}

/** Uploads a batch as the graph's inputs. */
export async function uploadBatch(engine: Engine, batch: Batch | undefined): Promise<Record<string, EngineTensor>> {
  if (!batch) return {};
  const tensors: Record<string, EngineTensor> = {};
  for (const name of DATA_INPUTS) tensors[name] = await engine.upload(batch[name]);
  return tensors;
}

/** Runs a session on tensors that stay and on tensors made for this run, which are freed, also where it fails. */
export async function runOnce(
  engine: Engine,
  session: Session,
  kept: Tensors,
  own: Tensors,
): Promise<Record<string, EngineTensor>> {
  const donated = Object.values(own);
  try {
    return await session.run({ ...kept, ...own }, donated);
  } catch (error) {
    engine.release(...donated);
    throw error;
  }
}

/** Uploads a number as a scalar input. */
export function uploadScalar(engine: Engine, value: number): Promise<EngineTensor> {
  return engine.upload({ shape: [], data: Float64Array.of(value) });
}
