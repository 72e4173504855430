import { samplesOf } from "../engine/index.ts";
import { type Direction, evenParts } from "../summary/index.ts";
import { DataError, ShapeError } from "../util/errors.ts";
import type { Batch, FloatData, NDArray } from "../util/ndarray.ts";
import type { StepArgument } from "./result.ts";
import type { StepInput } from "./stepper.ts";

/** A batch that comes in parts, one after the other. */
export class PartedBatch implements Batch {
  readonly x: NDArray;
  readonly y: NDArray;
  /** Samples in each part. */
  readonly parts: readonly number[];

  /** @throws DataError where there is no batch, ShapeError where they differ in more than their number of samples */
  constructor(batches: readonly Batch[]) {
    if (batches.length === 0) throw new DataError("step: expected at least one batch, found none");
    this.parts = batches.map(samplesOf);
    this.x = joined("x", batches);
    this.y = joined("y", batches);
  }
}

/** What a step works from. @throws DataError, ShapeError where it is none, or where batches do not go together */
export function stepInput(argument: StepArgument | undefined): StepInput {
  if (argument === undefined) return { batch: undefined };
  const { gradient } = Object(argument) as { readonly gradient?: Direction };
  if (gradient) return { gradient };
  const batches = (Array.isArray(argument) ? argument : [argument]) as readonly Batch[];
  for (const batch of batches) checkBatch(batch);
  return { batch: batches.length === 1 ? batches[0] : new PartedBatch(batches) };
}

/** @throws DataError */
function checkBatch(batch: unknown): void {
  const { x, y } = Object(batch) as Partial<Batch>;
  if (!x || !y)
    throw new DataError(
      `step: expected a batch { x, y }, a list of them, or { gradient }; found ${batch instanceof Object ? `{ ${Object.keys(batch).join(", ")} }` : batch}`,
    );
}

/** The samples of each run of a batch: its own parts, or the whole, none of them larger than `most`. */
export function runsOf(batch: Batch, most: number | undefined): number[] {
  const parts = batch instanceof PartedBatch ? batch.parts : [samplesOf(batch)];
  return parts.flatMap((samples) => evenParts(samples, most ?? samples));
}

function joined(name: "x" | "y", batches: readonly Batch[]): NDArray {
  const arrays = batches.map((batch) => batch[name]);
  const first = arrays[0]!;
  const kindOf = ({ shape, data }: NDArray): string =>
    `${data.constructor.name} [batch${shape
      .slice(1)
      .map((n) => `, ${n}`)
      .join("")}]`;
  const odd = arrays.findIndex((array) => kindOf(array) !== kindOf(first));
  if (odd >= 0)
    throw new ShapeError(
      `step: ${name} of batch ${odd}: expected ${kindOf(first)} as in the first, found ${kindOf(arrays[odd]!)}`,
    );
  const size = arrays.reduce((sum, { data }) => sum + data.length, 0);
  const data = new (first.data.constructor as Float64ArrayConstructor)(size);
  let at = 0;
  for (const array of arrays) {
    data.set(array.data as FloatData, at);
    at += array.data.length;
  }
  const samples = arrays.reduce((sum, { shape }) => sum + shape[0]!, 0);
  return { shape: [samples, ...first.shape.slice(1)], data };
}
