import { type Dim, type DType, formatDim, formatShape, type Node, type Shape } from "../graph/index.ts";
import { ShapeError } from "../util/errors.ts";

/** The distance in memory between neighbours along each axis, row-major. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = strides[i + 1]! * shape[i + 1]!;
  return strides;
}

/**
 * For each entry of an array of `shape`, in row-major order, where `strides` lead: a strided read of another array,
 * from which broadcasting, transposition and slicing all follow.
 */
export function offsets(shape: readonly number[], strides: readonly number[], start = 0): Int32Array {
  let level = Int32Array.of(start);
  shape.forEach((length, axis) => {
    const next = new Int32Array(level.length * length);
    for (let i = 0, k = 0; i < level.length; i++)
      for (let j = 0; j < length; j++) next[k++] = level[i]! + j * strides[axis]!;
    level = next;
  });
  return level;
}

/** The axis as a number from 0, counted from the end where negative. @throws ShapeError */
export function normalizeAxis(axis: number, rank: number, what: string): number {
  const normal = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || normal < 0 || normal >= rank)
    throw new ShapeError(`${what}: axis ${axis} is out of range for a tensor of rank ${rank}`);
  return normal;
}

/** The length of an axis that must not grow with the batch. @throws ShapeError */
export function fixedDim(dim: Dim, what: string): number {
  if (typeof dim !== "number") throw new ShapeError(`${what} needs an axis of fixed length, found ${formatDim(dim)}`);
  return dim;
}

/** Checks that inputs have entries that an operation can take. @throws ShapeError */
export function checkDtype(what: string, allowed: readonly DType[], ...inputs: readonly Node[]): void {
  const wrong = inputs.find(({ dtype }) => !allowed.includes(dtype));
  if (wrong) throw new ShapeError(`${what}: expected ${allowed.join(" or ")} entries, found ${wrong.dtype}`);
}

/** The dtypes that can be added up and ordered. */
export const NUMBERS: readonly DType[] = ["float", "int"];

/** The error for inputs that do not fit an operation. */
export function mismatch(what: string, expected: string, ...found: (Node | Shape)[]): ShapeError {
  const shapes = found.map((item) => formatShape("shape" in item ? item.shape : item));
  return new ShapeError(`${what}: expected ${expected}, found ${shapes.join(" and ")}`);
}
