import { DataError } from "../../util/errors.ts";
import type { Dataset } from "../dataset.ts";

/** Samples with labels: int32, the places of their classes in `classes`. */
export interface LabelledData {
  readonly train: Dataset;
  readonly test: Dataset;
  /** The names of the classes. */
  readonly classes: readonly string[];
}

/** Asserts that labels are in 0 … classes − 1. @throws DataError naming the file and the first sample at fault. */
export function checkLabels(labels: ArrayLike<number>, classes: number, path: string): void {
  for (let i = 0; i < labels.length; i++)
    if (labels[i]! >= classes)
      throw new DataError(`${path}: expected labels 0 to ${classes - 1}, found ${labels[i]} at sample ${i}`);
}
