import type { Builder, DType, InputAttrs, Node, Shape, SourceOp } from "../graph/index.ts";
import { internal } from "../util/errors.ts";

/** Attributes of a constant: its entries, row-major. */
export interface ConstantAttrs {
  readonly data: readonly number[];
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** A tensor given when the graph runs. */
export const inputOp: SourceOp<InputAttrs> = {
  name: "input",
  kind: "source",
  infer: (_, { shape, dtype }) => ({ shape, dtype }),
  value: (_, { name }) => internal(`input ${name} has no value of its own`),
};

/** A tensor known when the graph is made. */
export const constantOp: SourceOp<ConstantAttrs> = {
  name: "constant",
  kind: "source",
  infer: (_, { shape, dtype }) => ({ shape, dtype }),
  value: (_, { data }) => Float64Array.from(data),
};

export function input(b: Builder, name: string, shape: Shape, dtype: DType = "float"): Node {
  return b.apply(inputOp, [], { name, shape, dtype });
}

/** The name of the input that holds the number of samples B; a mean over the batch divides by it. */
export const BATCH_SIZE = "batchSize";

/** The number of samples in the whole batch, as a scalar that is given when the graph runs. */
export function batchSize(b: Builder): Node {
  return input(b, BATCH_SIZE, []);
}

export function constant(b: Builder, data: readonly number[], shape: readonly number[], dtype: DType = "float"): Node {
  return b.apply(constantOp, [], { data, shape, dtype });
}

export function scalar(b: Builder, value: number, dtype: DType = "float"): Node {
  return constant(b, [value], [], dtype);
}
