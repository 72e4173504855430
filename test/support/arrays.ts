import { expect } from "vitest";
import { type NDArray, ndarray, sizeOf } from "../../src/util/ndarray.ts";

/** Numbers between −1 and 1, each other than its neighbours: sin 1, sin 2, …. */
export function wave(...shape: number[]): NDArray<Float64Array> {
  return ndarray(
    Float64Array.from({ length: sizeOf(shape) }, (_, i) => Math.sin(i + 1)),
    shape,
  );
}

/** Entries in runs of one length. */
export function chunks(data: ArrayLike<number>, size: number): number[][] {
  return Array.from({ length: data.length / size }, (_, i) => Array.from(data).slice(i * size, (i + 1) * size));
}

/** Asserts that entries agree to twelve places. */
export function expectClose(found: ArrayLike<number | bigint>, expected: readonly number[]): void {
  expect(found).toHaveLength(expected.length);
  for (const [i, value] of expected.entries()) expect(Number(found[i])).toBeCloseTo(value, 12);
}
