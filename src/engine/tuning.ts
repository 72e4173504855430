import type { ConvolutionForms } from "../onnx/index.ts";
import { OptionError, StateError } from "../util/errors.ts";
import { dictionary, must, real, record, whole } from "../util/schema.ts";

/** Where a {@link Tuning} was measured. */
export interface Machine {
  readonly processor: string;
  /** How many threads it runs at once. */
  readonly threads: number;
  readonly onnxruntime: string;
}

/** What was chosen by measuring for one model and the shapes of its batches: plain JSON. */
export interface Tuning {
  readonly machine: Machine;
  /** Tells the model, its shapes and the number of samples that it was measured with. */
  readonly key: string;
  /** For one operator. */
  readonly threads: number;
  /** The form of every convolution that was measured. */
  readonly convolutions: ConvolutionForms;
  /** Samples in each part of a summary, by the real numbers that its widest stack of tangents holds for one sample. */
  readonly microbatches: Readonly<Record<string, number>>;
  /** The time with what was chosen over that by rule, of what was measured. */
  readonly gains: { readonly threads: number; readonly convolutions: number; readonly microbatch: number };
}

const text = must("a text", (value) => typeof value === "string");

const isTuning = record({
  machine: record({ processor: text, threads: whole(1), onnxruntime: text }),
  key: text,
  threads: whole(1, 1024),
  convolutions: dictionary(text),
  microbatches: dictionary(whole(1)),
  gains: record({ threads: real("positive"), convolutions: real("positive"), microbatch: real("positive") }),
});

/** @throws OptionError where it is none */
export function checkTuning(value: unknown): asserts value is Tuning {
  try {
    isTuning("", value);
  } catch (cause) {
    if (!(cause instanceof StateError)) throw cause;
    throw new OptionError(cause.message.replace(/^state/, "tuning"), { cause });
  }
}
