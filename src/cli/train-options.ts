import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { parseWidths } from "../models/index.ts";
import { activations } from "../nn/index.ts";
import { OptionError } from "../util/errors.ts";
import { DATASETS, datasetEntry } from "./datasets.ts";
import { checkKind, MODELS, modelEntry } from "./models.ts";
import { OPTIMIZERS, type OptimizerTakes, optimizerEntry } from "./optimizers.ts";
import {
  type Defaults,
  flag,
  forOption,
  type Given,
  listed,
  type OptionSpec,
  type OptionTable,
  oneOf,
  parseOptions,
  real,
  text,
  whole,
} from "./options.ts";

const positive = real("above 0", (value) => value > 0);
const nonNegative = real("of at least 0", (value) => value >= 0);
/** A number, or auto. */
const orAuto =
  (read: OptionSpec<number>["read"]): OptionSpec<number | "auto">["read"] =>
  (value, name) =>
    value === "auto" ? value : read(value, name, "auto or ");
const share = real("from 0 to below 1", (value) => value >= 0 && value < 1);

/** The options of `grnewt train`, as its help shows them. */
export const TRAIN_GROUPS = {
  model: {
    model: {
      value: "NAME",
      help: listed(namesOf(MODELS)),
      otherwise: "perceptron",
      read: oneOf(namesOf(MODELS)),
    },
    layers: {
      value: "WIDTHS",
      help: "widths of the hidden layers, such as 200-100, or 20*1024 for twenty of 1024; of lenet the channels of its two convolutions come first; of a transformer the width of each block",
      otherwise: "1024-200-100; lenet 6-16-120-84, autoencoder 1000-500-250-30, transformer 4*128",
      read: widths,
    },
    activation: {
      value: "NAME",
      help: `of perceptron, lenet, vgg and autoencoder: ${listed(namesOf(activations))}`,
      otherwise: "tanh; vgg elu",
      read: oneOf(namesOf(activations)),
    },
    "sigma-w": {
      value: "X",
      help: "of the same: the initial weights' deviation, times the root of the number of inputs",
      otherwise: "1; vgg √2",
      read: positive,
    },
    scaling: { help: "of the same: layers divide their inputs by that root, not the weights", read: flag },
    "batch-norm": { help: "of the same: a batch norm behind each layer but the last", read: flag },
  },
  data: {
    dataset: {
      value: "NAME",
      help: `${listed(namesOf(DATASETS))}; images is a folder as ImageNet's, text any text file, character by character`,
      otherwise: "mnist; transformer text",
      read: oneOf(namesOf(DATASETS)),
    },
    data: {
      value: "PATH",
      help: "the folder or file of the data set; mnist comes with this package",
      otherwise: "data/NAME for fashion-mnist and cifar",
      read: text,
    },
    augment: { help: "cifar and images: train on random crops and mirrored images", read: flag },
    "image-size": {
      value: "N",
      help: "images: the side that they are resized and cut to",
      otherwise: "64",
      read: whole(1, 4096),
    },
    context: { value: "N", help: "text: characters in a sample", otherwise: "64", read: whole(1, 65_536) },
    limit: {
      value: "N",
      help: "train on N of the samples only, and test on N/6 of the test samples at most",
      otherwise: "all",
      read: whole(1),
    },
    "eval-samples": {
      value: "N",
      help: "after each epoch, measure loss and accuracy on N samples of each set at most",
      otherwise: "all; vgg, resnet18 and transformer 2000",
      read: whole(1),
    },
  },
  optimiser: {
    optimizer: {
      value: "NAME",
      help: `${listed(namesOf(OPTIMIZERS))}; newton is NewtonSummary, which finds its own learning rates; newton-hv is it along a direction learned from products with the Hessian, and has all of newton's options`,
      otherwise: "newton",
      read: oneOf(namesOf(OPTIMIZERS)),
    },
    lr: {
      value: "X",
      help: "of all but newton and newton-hv: learning rate; of prodigy a factor, of lbfgs the first step that a line search tries",
      otherwise: defaultsOf("lr"),
      read: positive,
    },
    momentum: {
      value: "X",
      help: "sgd, rmsprop, muon and kfac: how much of the gradients before is kept",
      otherwise: defaultsOf("momentum"),
      read: share,
    },
    "weight-decay": {
      value: "X",
      help: "of all but newton, newton-hv and lbfgs: this much of the weights is added to their gradient or direction",
      otherwise: defaultsOf("weight-decay"),
      read: nonNegative,
    },
    "max-iter": {
      value: "N",
      help: "lbfgs: iterations on each batch",
      otherwise: defaultsOf("max-iter"),
      read: whole(1),
    },
    "history-size": {
      value: "N",
      help: "lbfgs: iterations that curvature is estimated from",
      otherwise: defaultsOf("history-size"),
      read: whole(1),
    },
    damping: {
      value: "X",
      help: "newton: factor of the learning rates, or auto, which adapts it to what steps do to the loss; kfac: what is added to the Fisher matrix",
      otherwise: defaultsOf("damping"),
      read: orAuto(positive),
    },
    "damping-int": {
      value: "X",
      help: "newton: strength of the cubic regularisation",
      otherwise: "1; with --damping auto 10",
      read: nonNegative,
    },
    period: {
      value: "N",
      help: "newton: steps from one summary to the next, or auto: 10, or more where summaries would cost more than the steps",
      otherwise: "10; vgg, resnet18 and transformer auto",
      read: orAuto(whole(1)),
    },
    "period-order3": {
      value: "N",
      help: "newton: third derivatives are taken in every N-th summary only; the others cost less",
      otherwise: defaultsOf("period-order3"),
      read: whole(1),
    },
    "mom-lrs": {
      value: "X",
      help: "newton: how much of the previous learning rates is kept",
      otherwise: "0.5; with --damping auto 0, as rates are medians then",
      read: share,
    },
    "summary-batch-size": {
      value: "N",
      help: "newton: samples in a summary, or auto: from --batch-size to 1000, as many as make it cost what 10 steps do",
      otherwise: "1000; vgg, resnet18 and transformer auto",
      read: orAuto(whole(1)),
    },
    partition: {
      value: "NAME",
      help: "newton: the groups of parameters: canonical (each tensor one), scalars (each number one), trivial, wb, modules, modules-N, blocks-N or alternate-N",
      otherwise: "canonical; transformer modules-2, each block one",
      read: text,
    },
    "direction-lr": {
      value: "X",
      help: "newton-hv: how fast the direction is learned",
      otherwise: defaultsOf("direction-lr"),
      read: positive,
    },
    "direction-ridge": {
      value: "X",
      help: "newton-hv: what is added to the Hessian's diagonal",
      otherwise: defaultsOf("direction-ridge"),
      read: nonNegative,
    },
    "step-microbatch": {
      value: "N",
      help: "of all but kfac: samples in one run of a step at most; larger batches are run in parts, and their gradients added up",
      otherwise: "all",
      read: whole(1),
    },
  },
  run: {
    epochs: { value: "N", help: "times to go through the training data", otherwise: "3", read: whole(1, 1_000_000) },
    steps: { value: "N", help: "instead of --epochs: steps in all", read: whole(1) },
    "batch-size": {
      value: "N",
      help: "samples in a step",
      otherwise: "100; transformer 32, lbfgs 1000",
      read: whole(1),
    },
    seed: {
      value: "N",
      help: "of the initial weights and of the order of the data",
      otherwise: "0",
      read: whole(0, 2 ** 32 - 1),
    },
    threads: { value: "N", help: "of ONNX Runtime", otherwise: "all of this machine's", read: whole(1, 1024) },
    tuning: {
      value: "HOW",
      help: "auto measures which threads, forms of convolutions and microbatch of summaries are the fastest here, once for a model and its batches (about 5 s); a FILE of an earlier measurement takes just that; off goes by rules, so that every machine computes in the same way",
      otherwise: "off",
      read: text,
    },
    out: { value: "DIR", help: "the folder of the run", otherwise: "runs/<date>-<time>-<optimizer>", read: text },
    resume: {
      value: "DIR",
      help: "go on with the run in DIR from its last checkpoint, exactly; beside it only --epochs or --steps can be given, in all",
      read: text,
    },
    help: { help: "show this text", read: flag },
  },
} satisfies Record<string, OptionTable>;

/** The options of `grnewt train` by name. */
export const TRAIN_OPTIONS = {
  ...TRAIN_GROUPS.model,
  ...TRAIN_GROUPS.data,
  ...TRAIN_GROUPS.optimiser,
  ...TRAIN_GROUPS.run,
} satisfies OptionTable;

type Values = Required<Given<typeof TRAIN_OPTIONS>["options"]>;
type Always = "model" | "dataset" | "optimizer" | "seed" | "batch-size" | "threads" | "tuning";

/** All that determines a run. The names are those of the options, so that they read the same wherever they are shown. */
export type TrainSettings = Pick<Values, Always> & Partial<Omit<Values, Always | "out" | "resume" | "help">>;

/** How long a run is to be. */
export type Extent = Pick<TrainSettings, "epochs" | "steps">;

/** What `grnewt train` is asked to do. */
export type TrainRequest =
  | { readonly kind: "help" }
  | {
      readonly kind: "new";
      readonly settings: TrainSettings;
      readonly given: ReadonlySet<string>;
      readonly out?: string;
    }
  | { readonly kind: "resume"; readonly directory: string; readonly extent: Extent };

/** @throws OptionError where options are unknown, out of range, or contradict each other */
export function trainRequest(args: readonly string[]): TrainRequest {
  const { options, positionals } = parseOptions(TRAIN_OPTIONS, args);
  if (options.help) return { kind: "help" };
  if (positionals[0] !== undefined) throw new OptionError(`train takes options only; found "${positionals[0]}"`);
  const { resume, out, help, ...given } = options;
  if (given.epochs !== undefined && given.steps !== undefined)
    throw new OptionError("--epochs and --steps cannot both be given: a run ends after one or the other");
  if (resume !== undefined) {
    const { epochs, steps, ...others } = given;
    const other = [...Object.keys(others), ...(out === undefined ? [] : ["out"])][0];
    if (other) throw new OptionError(`--${other} cannot be given with --resume: the run goes on as it was begun`);
    return { kind: "resume", directory: resume, extent: extentOf({ epochs, steps }) };
  }
  return {
    kind: "new",
    settings: settingsOf(given),
    given: new Set(Object.keys(given)),
    ...(out !== undefined && { out }),
  };
}

/** The given one of the two. */
function extentOf({ epochs, steps }: Defaults<Extent>): Extent {
  return { ...(epochs !== undefined && { epochs }), ...(steps !== undefined && { steps }) };
}

/** An optimiser, model or data set. */
interface Choice {
  readonly takes: Defaults<TrainSettings>;
  readonly because?: string;
}

/** What the options of a run depend on: those that an entry does not take would be ignored by it. */
const CHOICES: Readonly<Record<"optimizer" | "model" | "dataset", Readonly<Record<string, Choice>>>> = {
  optimizer: OPTIMIZERS,
  model: MODELS,
  dataset: DATASETS,
};

type Chosen = Pick<TrainSettings, "optimizer" | "model" | "dataset">;

/** The options of a new run, with the defaults of whatever was chosen. @throws OptionError */
function settingsOf(given: Partial<TrainSettings>): TrainSettings {
  const { model = "perceptron", optimizer = "newton" } = given;
  const suits = { ...modelEntry(model).suits, ...optimizerEntry(optimizer).suits };
  const { dataset = suits.dataset ?? "mnist" } = given;
  const chosen = { model, dataset, optimizer };
  refuseIgnored(chosen, Object.keys(given));
  const { kind, takes, needs } = datasetEntry(dataset);
  checkKind(model, dataset, kind);
  const own: Defaults<TrainSettings> = { ...optimizerEntry(optimizer).takes, ...modelEntry(model).takes, ...takes };
  const threads = availableParallelism();
  const all = { seed: 0, "batch-size": 100, threads, tuning: "off", "eval-samples": undefined };
  const length = given.steps === undefined ? { epochs: 3 } : {};
  const defaults = { ...chosen, ...all, ...length, ...own };
  const suited = Object.entries(suits).filter(([name]) => name in defaults);
  const settings = { ...defaults, ...Object.fromEntries(suited), ...given };
  if (needs !== undefined && settings.data === undefined)
    throw new OptionError(`--dataset ${dataset} needs --data PATH: ${needs}`);
  const adapt = namesOf(OPTIMIZERS).filter((name) => optimizerEntry(name).takes.damping === "auto");
  if (settings.damping === "auto" && !adapt.includes(optimizer))
    throw new OptionError(`--damping auto is for ${listed(adapt, "and")}; ${optimizer} needs a number`);
  // A run can be resumed from another folder.
  const data = settings.data === undefined ? {} : { data: resolve(settings.data) };
  const known = Object.entries({ ...settings, ...data }).filter(([, value]) => value !== undefined);
  return Object.fromEntries(known) as unknown as TrainSettings;
}

/** @throws OptionError naming options that the run has no use for, and who has */
function refuseIgnored(chosen: Chosen, given: readonly string[]): void {
  for (const [choice, entries] of Object.entries(CHOICES)) {
    const name = chosen[choice as keyof Chosen];
    const { takes, because = "" } = entries[name]!;
    const takers = (option: string): string[] =>
      namesOf(entries).filter((each) => option in (entries[each]?.takes ?? {}));
    const ignored = given.filter((option) => !(option in takes) && takers(option).length > 0);
    if (ignored.length === 0) continue;
    const who = takers(ignored[0]!);
    const same = ignored.filter((option) => takers(option).join() === who.join()).map((option) => `--${option}`);
    throw new OptionError(
      `${listed(same, "and")} would be ignored by ${name}${because}; only ${listed(who, "and")} ${who.length > 1 ? "have" : "has"} ${same.length > 1 ? "them" : "it"}`,
    );
  }
}

/** The optimisers' defaults of an option, for its help: "0.1; adam 0.001, lion 0.0001". */
function defaultsOf(option: keyof OptimizerTakes): string {
  const takers = namesOf(OPTIMIZERS).flatMap((name) => {
    const value = optimizerEntry(name).takes[option];
    return value === undefined ? [] : [{ name, value }];
  });
  const values = [...new Set(takers.map(({ value }) => value))];
  if (values.length === 1) return String(values[0]);
  const namesWith = (value: unknown): string[] => takers.filter((each) => each.value === value).map(({ name }) => name);
  return values.map((value) => `${namesWith(value).join(", ")} ${value}`).join("; ");
}

function namesOf<Table extends object>(table: Table): (keyof Table & string)[] {
  return Object.keys(table) as (keyof Table & string)[];
}

/** Widths of layers, as `--layers` takes them: they stay a text. */
function widths(value: string, name: string): string {
  forOption(name, value, () => parseWidths(value));
  return value;
}
