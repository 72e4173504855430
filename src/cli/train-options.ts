import { availableParallelism } from "node:os";
import { OptionError } from "../util/errors.ts";
import { flag, listed, type OptionTable, oneOf, parseOptions, real, text, whole } from "./options.ts";

const OPTIMIZERS = ["newton", "adam", "sgd"] as const;
const positive = real("above 0", (value) => value > 0);

/** The options of `grnewt train`. */
export const TRAIN_OPTIONS = {
  optimizer: {
    value: "NAME",
    help: "newton (NewtonSummary: finds its own learning rates), adam or sgd (momentum 0.9)",
    otherwise: "newton",
    read: oneOf(OPTIMIZERS),
  },
  epochs: { value: "N", help: "times to go through the training data", otherwise: "3", read: whole(1, 1_000_000) },
  seed: {
    value: "N",
    help: "of the initial weights and of the order of the data",
    otherwise: "0",
    read: whole(0, 2 ** 32 - 1),
  },
  limit: {
    value: "N",
    help: "train on the first N samples only, and test on N/6 of the test samples at most",
    otherwise: "all",
    read: whole(1),
  },
  "batch-size": { value: "N", help: "samples in a step", otherwise: "100", read: whole(1) },
  lr: {
    value: "X",
    help: "learning rate of adam (default 0.001) or sgd (default 0.1); newton needs none",
    read: positive,
  },
  damping: { value: "X", help: "newton: factor of the learning rates", otherwise: "0.3", read: positive },
  "damping-int": {
    value: "X",
    help: "newton: strength of the cubic regularisation",
    otherwise: "1",
    read: real("of at least 0", (value) => value >= 0),
  },
  period: { value: "N", help: "newton: steps from one summary to the next", otherwise: "10", read: whole(1) },
  "mom-lrs": {
    value: "X",
    help: "newton: how much of the previous learning rates is kept",
    otherwise: "0.5",
    read: real("from 0 to below 1", (value) => value >= 0 && value < 1),
  },
  "summary-batch-size": { value: "N", help: "newton: samples in a summary", otherwise: "1000", read: whole(1) },
  threads: { value: "N", help: "of ONNX Runtime", otherwise: "all of this machine's", read: whole(1, 1024) },
  out: { value: "DIR", help: "the folder of the run", otherwise: "runs/<date>-<time>-<optimizer>", read: text },
  resume: {
    value: "DIR",
    help: "go on with the run in DIR from its last checkpoint, exactly; beside it only --epochs can be given, the epochs in all",
    read: text,
  },
  help: { help: "show this text", read: flag },
} satisfies OptionTable;

const NEWTON_ONLY = ["damping", "damping-int", "period", "mom-lrs", "summary-batch-size"] as const;

/** All that determines a run. The names are those of the options, so that they read the same wherever they are shown. */
export interface TrainSettings {
  readonly optimizer: (typeof OPTIMIZERS)[number];
  readonly epochs: number;
  readonly seed: number;
  readonly limit?: number;
  readonly "batch-size": number;
  readonly threads: number;
  readonly lr?: number;
  readonly damping?: number;
  readonly "damping-int"?: number;
  readonly period?: number;
  readonly "mom-lrs"?: number;
  readonly "summary-batch-size"?: number;
}

/** What `grnewt train` is asked to do. */
export type TrainRequest =
  | { readonly kind: "help" }
  | {
      readonly kind: "new";
      readonly settings: TrainSettings;
      readonly given: ReadonlySet<string>;
      readonly out?: string;
    }
  | { readonly kind: "resume"; readonly directory: string; readonly epochs?: number };

/** @throws OptionError where options are unknown, out of range, or contradict each other */
export function trainRequest(args: readonly string[]): TrainRequest {
  const { options, positionals } = parseOptions(TRAIN_OPTIONS, args);
  if (options.help) return { kind: "help" };
  if (positionals[0] !== undefined) throw new OptionError(`train takes options only; found "${positionals[0]}"`);
  const { resume, out, help, ...rest } = options;
  if (resume !== undefined) {
    const other = Object.keys(options).find((name) => name !== "resume" && name !== "epochs");
    if (other) throw new OptionError(`--${other} cannot be given with --resume: the run goes on as it was begun`);
    return { kind: "resume", directory: resume, ...(rest.epochs !== undefined && { epochs: rest.epochs }) };
  }
  const { optimizer = "newton" } = rest;
  refuseIgnored(optimizer, Object.keys(rest));
  const given = new Set(Object.keys(rest));
  return { kind: "new", settings: { ...defaults(optimizer), ...rest }, given, ...(out !== undefined && { out }) };
}

function refuseIgnored(optimizer: TrainSettings["optimizer"], given: readonly string[]): void {
  if (optimizer === "newton") {
    if (given.includes("lr"))
      throw new OptionError(
        "--lr would be ignored by newton, which finds its own learning rates; drop it, or add --optimizer adam",
      );
    return;
  }
  const ignored = NEWTON_ONLY.filter((name) => given.includes(name)).map((name) => `--${name}`);
  if (ignored.length > 0)
    throw new OptionError(
      `${listed(ignored, "and")} would be ignored by ${optimizer}; only newton has ${ignored.length > 1 ? "them" : "it"}`,
    );
}

function defaults(optimizer: TrainSettings["optimizer"]): TrainSettings {
  const all = { optimizer, epochs: 3, seed: 0, "batch-size": 100, threads: availableParallelism() };
  if (optimizer !== "newton") return { ...all, lr: optimizer === "adam" ? 1e-3 : 0.1 };
  return { ...all, damping: 0.3, "damping-int": 1, period: 10, "mom-lrs": 0.5, "summary-batch-size": 1000 };
}
