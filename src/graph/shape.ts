import { sizeOf } from "../util/ndarray.ts";

/** A length that grows with the batch size B, known only when the graph runs: `factor · B^power`. */
export interface BatchDim {
  readonly factor: number;
  readonly power: number;
}

/** The length of one axis. */
export type Dim = number | BatchDim;

/** The lengths of all axes, outermost first; `[]` is a scalar. */
export type Shape = readonly Dim[];

/** The batch axis itself. */
export const BATCH: BatchDim = { factor: 1, power: 1 };

/** Whether an axis grows with the batch. */
export function isBatch(dim: Dim): dim is BatchDim {
  return typeof dim !== "number";
}

export function sameDim(a: Dim, b: Dim): boolean {
  return isBatch(a) ? isBatch(b) && a.factor === b.factor && a.power === b.power : a === b;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, i) => sameDim(dim, b[i]!));
}

/** The number of entries of a tensor: `factor · B^power`. */
export function countOf(shape: Shape): BatchDim {
  let [factor, power] = [1, 0];
  for (const dim of shape) {
    factor *= isBatch(dim) ? dim.factor : dim;
    power += isBatch(dim) ? dim.power : 0;
  }
  return { factor, power };
}

/** The axis that several merge into. */
export function mergeDims(dims: Shape): Dim {
  const count = countOf(dims);
  return count.power === 0 ? count.factor : count;
}

/** The numbers that a shape stands for at one batch size. */
export function concrete(shape: Shape, batchSize: number): number[] {
  return shape.map((dim) => (isBatch(dim) ? dim.factor * batchSize ** dim.power : dim));
}

/** The number of entries at a batch size of ordinary magnitude. */
export function typicalCount(shape: Shape): number {
  return sizeOf(concrete(shape, 100));
}

export function formatDim(dim: Dim): string {
  if (!isBatch(dim)) return String(dim);
  const power = dim.power === 1 ? "batch" : `batch^${dim.power}`;
  return dim.factor === 1 ? power : `${dim.factor}*${power}`;
}

export function formatShape(shape: Shape): string {
  return `[${shape.map(formatDim).join(", ")}]`;
}
