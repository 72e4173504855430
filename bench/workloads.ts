import type { ModelName } from "./request.ts";
import type { Bar } from "./rows.ts";

/** The models that have a name of their own. */
export type KnownModel = Exclude<ModelName, `chain-${string}`>;

/** All of them. */
export const MODELS: readonly KnownModel[] = ["shallow", "deep", "lenet", "vgg-a", "resnet18", "transformer"];

/** Samples in the batch of a step, and of a summary. */
export const BATCHES: Readonly<Record<KnownModel, Readonly<Record<"step" | "summary", number>>>> = {
  shallow: { step: 100, summary: 1000 },
  deep: { step: 100, summary: 1000 },
  lenet: { step: 100, summary: 1000 },
  "vgg-a": { step: 100, summary: 1000 },
  resnet18: { step: 32, summary: 128 },
  transformer: { step: 32, summary: 128 },
};

/** A step that is measured. */
export interface Step {
  readonly model: KnownModel;
  readonly method: "plain" | "momentum" | "adam";
  /** With which some steps are compared: large enough to move the parameters, too small to make rounding matter. */
  readonly lr: number;
  /**
   * Of the relative differences of moves: what float32 explains. Adam divides a gradient by its own size, and so magnifies the
   * rounding of small ones; a ReLU near its bend may be on either side of it, and of two places equal to rounding either may be
   * the maximum. Our float32 is up to 1e-3 off our float64 for LeNet, and 3e-3 for ResNet-18.
   */
  readonly tolerance: number;
  /** The bar: its time to that of PyTorch eager, at most. */
  readonly most: number;
}

/** The steps, with the usual method for each model. */
export const STEPS: readonly Step[] = [
  { model: "shallow", method: "plain", lr: 0.1, tolerance: 1e-4, most: 0.9 },
  { model: "shallow", method: "momentum", lr: 0.1, tolerance: 1e-4, most: 0.9 },
  { model: "shallow", method: "adam", lr: 1e-3, tolerance: 1e-3, most: 0.9 },
  { model: "deep", method: "adam", lr: 1e-4, tolerance: 1e-3, most: 1 },
  { model: "lenet", method: "momentum", lr: 0.1, tolerance: 3e-3, most: 1.2 },
  { model: "vgg-a", method: "momentum", lr: 1e-3, tolerance: 1e-4, most: 1 },
  { model: "resnet18", method: "momentum", lr: 0.01, tolerance: 1e-2, most: 1 },
  { model: "transformer", method: "momentum", lr: 0.1, tolerance: 1e-4, most: 1 },
];

const GB = 1e9;

/** The bars of summaries, and of convolutional ones. */
export const SUMMARY_BARS: Readonly<Partial<Record<KnownModel, readonly Bar[]>>> = {
  shallow: [{ of: "share", least: 60 }],
  deep: [
    { of: "share", least: 90 },
    { of: "peak", most: GB },
  ],
  lenet: [
    { of: "prediction", most: 1.2 },
    { of: "peak", most: 2 * GB },
  ],
  "vgg-a": [
    { of: "prediction", most: 1.2 },
    { of: "peak", most: 2 * GB },
  ],
  resnet18: [{ of: "peak", most: 6 * GB }],
};

/** How many times faster a summary is to be than the fastest of PyTorch's ways. */
export const SUMMARY_LEADS = { shallow: 5, deep: 8, lenet: 2.5, "vgg-a": 4 } as const;
