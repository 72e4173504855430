import type { Engine, Mode } from "../engine/index.ts";
import type { Partition } from "../summary/index.ts";
import { OptionError } from "../util/errors.ts";
import type { Batch, Batches } from "../util/ndarray.ts";
import {
  checkBoolean,
  checkNonNegative,
  checkOneOf,
  checkPositive,
  checkShare,
  checkWhole,
  refuseUnknown,
} from "../util/options.ts";
import { AUTO_DAMPING_INT, AUTO_MEDIAN, AUTO_POLY_AVG, START } from "./auto-damping.ts";
import { type Averaging, type AveragingOptions, averagingOf } from "./averages.ts";
import { type Clipping, type ClipRatesOptions, clippingOf } from "./clipping.ts";
import type { SolveOptions } from "./rates.ts";
import type { StepResult } from "./result.ts";
import { SGDUpdater, type Updater } from "./updater.ts";

/** Where summaries draw their batches: a `Loader`, or anything that gives one batch after the other without end. */
export interface HgSource {
  draw(): Promise<Batch>;
  /** Where the source stands, for exact resume and for `probe`. */
  state?: unknown;
}

/** Anisotropic Nesterov cubic regularisation of the rates. */
export interface NesterovOptions {
  /** Whether the rates are regularised so; true by default. */
  readonly use?: boolean;
  /** λ_int, at least 0; 10 by default with automatic damping, else 1. */
  readonly dampingInt?: number;
  /** How much of the running average of D is kept, in [0, 1); 0 by default. */
  readonly momOrder3?: number;
}

/** What becomes of a step in which something is NaN or infinite. */
export type NonFinitePolicy = "throw" | "skip";

/** Options that all optimisers of this package have. */
export interface CommonOptions {
  /** The default engine if none is named. */
  readonly engine?: Engine;
  /**
   * The largest norm of the whole gradient; a longer one is scaled down. None by default. In float32, squares overflow from entries of
   * 1e19 on: such a gradient counts as not finite.
   */
  readonly clipGradNorm?: number;
  /**
   * The most samples in one run of a step; all by default. Larger batches are run in parts, whose gradients are added up: exact where
   * the loss is a sum or mean over samples. What couples samples, such as batch norm, is computed of each part alone.
   */
  readonly stepMicrobatch?: number;
  /** "throw" (default) or "skip": leave the step out and log it. Parameters never become NaN either way. */
  readonly onNonFinite?: NonFinitePolicy;
  /** Of the random masks that layers such as dropout draw; 0 by default. */
  readonly seed?: number;
  /** Called after each step. */
  readonly onStep?: (result: StepResult) => void;
  /** Takes warnings; `console.warn` by default. */
  readonly log?: (message: string) => void;
}

/** Options of {@link NewtonSummary}, with the paper's names. */
export interface NewtonSummaryOptions extends CommonOptions, AveragingOptions {
  /** The groups; `partition.canonical(model)` by default. Not given where the optimiser is made from groups. */
  readonly partition?: Partition;
  /** Where summaries draw their batches; the step's own batch by default. */
  readonly hgLoader?: HgSource;
  /** Batches that are drawn from `hgLoader` for each summary, and averaged by their samples; 1 by default. */
  readonly hgBatches?: number;
  /** Instead of `hgLoader`: each summary is taken over all of these, an array or a loader of its own that does not shuffle. */
  readonly hgData?: Batches;
  /**
   * The updater sees the exact gradient over all of these at each step, an array or a loader of its own: the mean of the batches'
   * gradients, weighted by their samples. Steps then take no batch, and summaries are taken over these too unless `hgLoader` or
   * `hgData` is given. Not given by default: the gradient is that of the step's batch.
   */
  readonly gradientData?: Batches;
  /** The rule that proposes directions; SGD with momentum 0.9 and dampening 0.9 by default. */
  readonly updater?: Updater;
  /** Short for the SGD updater's momentum. */
  readonly momentum?: number;
  /** Short for the SGD updater's dampening. */
  readonly momentumDamp?: number;
  /**
   * λ₁: the rates are multiplied by it. "auto" (default) begins at 0.3 and adapts it to what the steps do to the loss of the
   * last summaries' batches; see `docs/damping.md`. Or a number above 0, or one for each group, that stays.
   */
  readonly damping?: number | readonly number[] | "auto";
  /**
   * Steps from one summary to the next; 10 by default. Or "auto": 10, or so many more that summaries cost no more than the steps
   * between them, by the products in the graphs at the first summary, with a few early ones; see `docs/cost.md`.
   */
  readonly periodHg?: number | "auto";
  /**
   * Every so many summaries take the third derivatives, 1 by default: each does. The others cost less; D is then estimated from
   * the last ones, taken to be the same for directions of the same norm.
   */
  readonly periodOrder3?: number;
  /** How much of the previous rates is kept, in [0, 1); 0 by default with `medianLrs` or automatic damping, else 0.5. */
  readonly momLrs?: number;
  /** Each rate is its median over so many summaries, before negative ones are removed; 9 by default with automatic damping, else 1. */
  readonly medianLrs?: number;
  /** Instead of cubic regularisation: added to the diagonal of H̄. */
  readonly ridge?: number;
  /** Solve with H̄ as it is. */
  readonly noregul?: boolean;
  /** Leave out the interactions between groups. */
  readonly diagonal?: boolean;
  /** Bounds on the rates as they are solved, by those of earlier summaries; none by default. */
  readonly clipRates?: ClipRatesOptions;
  /** Set negative rates to 0; true by default. */
  readonly removeNegative?: boolean;
  /** Smooth the rates as they come and remove negative ones afterwards, instead of before; false by default. */
  readonly maintainTrueLrs?: boolean;
  readonly nesterov?: NesterovOptions;
  /** Scale each group's direction to norm 1 in the summary; the steps until the next one keep that scale. */
  readonly normalizeDirs?: boolean;
  /**
   * Where H̄, ḡ and D give no rates: "recover" (default) keeps the last rates, and with none, or the second time in a row,
   * takes those of a damped Newton step; "compatible" sets all rates to 0, as the reference does.
   */
  readonly notFound?: "recover" | "compatible";
  /**
   * Whether summaries see the model as steps do, each module in its own mode ("train", the default), or as it is used, all in
   * evaluation mode ("eval"): then batch norm does not couple the samples, and nothing is dropped out.
   */
  readonly summaryMode?: Mode;
  /** Samples in one run of a summary; chosen from the model's widths by default. */
  readonly microbatch?: number;
}

/** The names of the options that all optimisers have. */
export const COMMON: readonly (keyof CommonOptions)[] = [
  "engine",
  "clipGradNorm",
  "stepMicrobatch",
  "onNonFinite",
  "seed",
  "onStep",
  "log",
];

/** The names of all options of {@link NewtonSummary}. */
export const NEWTON_OPTIONS: readonly (keyof NewtonSummaryOptions)[] = [
  ...COMMON,
  "partition",
  "hgLoader",
  "hgBatches",
  "hgData",
  "gradientData",
  "updater",
  "momentum",
  "momentumDamp",
  "damping",
  "periodHg",
  "periodOrder3",
  "momLrs",
  "medianLrs",
  "movavg",
  "movavgBiasCorrection",
  "uniformAvg",
  "polyAvg",
  "ridge",
  "noregul",
  "diagonal",
  "clipRates",
  "removeNegative",
  "maintainTrueLrs",
  "nesterov",
  "normalizeDirs",
  "notFound",
  "summaryMode",
  "microbatch",
];

/** All that the algorithm needs to know, with defaults filled in. */
export interface NewtonSettings {
  readonly updater: Updater;
  readonly damping: number | readonly number[];
  /** Whether damping adapts to what steps do. */
  readonly auto: boolean;
  readonly periodHg: number | "auto";
  readonly periodOrder3: number;
  readonly momLrs: number;
  readonly medianLrs: number;
  readonly averaging: Averaging;
  /** Summaries until the rates leave 0. */
  readonly warmup: number;
  readonly momOrder3: number;
  readonly solve: SolveOptions;
  readonly clipping: Clipping | undefined;
  readonly removeNegative: boolean;
  readonly maintainTrueLrs: boolean;
  readonly normalizeDirs: boolean;
  readonly notFound: "recover" | "compatible";
  /** Of a summary; undefined where each module keeps its own. */
  readonly summaryMode: Mode | undefined;
  readonly microbatch: number | undefined;
}

/**
 * Checks options and fills in defaults.
 * @param finest whether every group is a single number.
 * @throws OptionError naming an option that is unknown, out of range, or that would be ignored beside another.
 */
export function newtonSettings(options: NewtonSummaryOptions, finest: boolean): NewtonSettings {
  refuseUnknown("NewtonSummary", options, NEWTON_OPTIONS);
  const { damping = "auto", periodHg = 10, notFound = "recover", microbatch } = options;
  const auto = damping === "auto";
  const { medianLrs = auto && !options.momLrs ? AUTO_MEDIAN : 1 } = options;
  const { momLrs = medianLrs > 1 ? 0 : 0.5 } = options;
  const { summaryMode = "train", periodOrder3 = 1 } = options;
  if (periodHg !== "auto") checkWhole("periodHg", periodHg, 1, '"auto" or ');
  else if (options.gradientData)
    throw new OptionError(
      'periodHg: "auto" weighs a summary against a step on a batch; with gradientData, give a number',
    );
  checkWhole("periodOrder3", periodOrder3, 1);
  checkShare("momLrs", momLrs);
  checkWhole("medianLrs", medianLrs, 1);
  if (microbatch !== undefined) checkWhole("microbatch", microbatch, 1);
  checkOneOf("notFound", notFound, ["recover", "compatible"]);
  checkOneOf("summaryMode", summaryMode, ["train", "eval"]);
  checkCommon(options);
  const flag = (
    name: "diagonal" | "removeNegative" | "maintainTrueLrs" | "normalizeDirs",
    otherwise: boolean,
  ): boolean => {
    const { [name]: value = otherwise } = options;
    checkBoolean(name, value);
    return value;
  };
  const [removeNegative, maintainTrueLrs] = [flag("removeNegative", true), flag("maintainTrueLrs", false)];
  if (maintainTrueLrs && !removeNegative)
    throw new OptionError("maintainTrueLrs would be ignored with removeNegative false");
  if (maintainTrueLrs && medianLrs > 1)
    throw new OptionError(
      `maintainTrueLrs would be ignored beside medianLrs, ${medianLrs}${options.medianLrs ? "" : " by default"}: it is for momLrs`,
    );
  if (medianLrs > 1 && momLrs > 0)
    throw new OptionError("momLrs and medianLrs both smooth the rates: give one of them");
  if (maintainTrueLrs && momLrs === 0) throw new OptionError("maintainTrueLrs would be ignored with momLrs 0");
  checkSource(options);
  const { regularization, momOrder3 } = regularizationOf(options, auto ? AUTO_DAMPING_INT : 1);
  return {
    updater: updaterOf(options),
    damping: damping === "auto" ? START : damping,
    auto,
    periodHg,
    periodOrder3,
    momLrs,
    medianLrs,
    ...averagingOf(options, auto ? AUTO_POLY_AVG : undefined),
    momOrder3,
    solve: { regularization, diagonal: flag("diagonal", false), cautious: !finest },
    clipping: clippingOf(options.clipRates),
    removeNegative,
    maintainTrueLrs,
    normalizeDirs: flag("normalizeDirs", false),
    notFound,
    summaryMode: summaryMode === "eval" ? "eval" : undefined,
    microbatch,
  };
}

/** Checks where summaries draw their batches. @throws OptionError */
function checkSource({ hgLoader, hgBatches, hgData, gradientData }: NewtonSummaryOptions): void {
  if (hgLoader !== undefined && typeof hgLoader?.draw !== "function")
    throw new OptionError("hgLoader must have a method draw(), as loaders have");
  if (hgBatches !== undefined) checkWhole("hgBatches", hgBatches, 1);
  if (hgBatches !== undefined && hgData !== undefined)
    throw new OptionError("hgBatches would be ignored beside hgData: it is for hgLoader");
  if (hgBatches !== undefined && !hgLoader) throw new OptionError("hgBatches would be ignored without hgLoader");
  if (hgData !== undefined && hgLoader)
    throw new OptionError("hgLoader and hgData are two sources of the same: give one of them");
  for (const [name, value] of Object.entries({ hgData, gradientData }))
    if (value !== undefined && !areBatches(value))
      throw new OptionError(`${name} must be batches: an array of them, or a loader`);
}

function areBatches(value: unknown): boolean {
  return typeof value === "object" && value !== null && (Symbol.iterator in value || Symbol.asyncIterator in value);
}

/** Checks what all optimisers share. @throws OptionError */
export function checkCommon(options: CommonOptions): void {
  const { clipGradNorm, stepMicrobatch, onNonFinite = "throw", seed = 0, onStep, log } = options;
  if (clipGradNorm !== undefined) checkPositive("clipGradNorm", clipGradNorm);
  if (stepMicrobatch !== undefined) checkWhole("stepMicrobatch", stepMicrobatch, 1);
  checkOneOf("onNonFinite", onNonFinite, ["throw", "skip"]);
  checkWhole("seed", seed);
  for (const [name, value] of Object.entries({ onStep, log }))
    if (value !== undefined && typeof value !== "function") throw new OptionError(`${name} must be a function`);
}

/** @throws OptionError naming what an updater lacks */
export function checkUpdater(updater: Updater): void {
  if (typeof updater?.update !== "function")
    throw new OptionError("updater must be one, such as new SGDUpdater() or new AdamUpdater()");
  const { name, options, stateNames } = updater;
  if (typeof name !== "string") throw new OptionError(`updater: its name must be text; found ${String(name)}`);
  if (typeof options !== "object" || options === null)
    throw new OptionError(`updater ${name}: its options must be an object, {} for none; found ${String(options)}`);
  if (!Array.isArray(stateNames) && typeof stateNames !== "function")
    throw new OptionError(
      `updater ${name}: its stateNames must be a list, [] for none, or a function of the shape; found ${String(stateNames)}`,
    );
}

function regularizationOf(
  { ridge, noregul = false, nesterov }: NewtonSummaryOptions,
  otherwise: number,
): {
  regularization: SolveOptions["regularization"];
  momOrder3: number;
} {
  checkBoolean("noregul", noregul);
  if (ridge !== undefined) checkNonNegative("ridge", ridge);
  if (nesterov !== undefined) refuseUnknown("nesterov", nesterov, ["use", "dampingInt", "momOrder3"]);
  const other = noregul ? "noregul" : ridge !== undefined ? "ridge" : undefined;
  const { use = other === undefined, dampingInt, momOrder3 } = nesterov ?? {};
  checkBoolean("nesterov.use", use);
  if (noregul && ridge) throw new OptionError("ridge would be ignored beside noregul");
  if (use && other) throw new OptionError(`${other} would be ignored beside nesterov; set nesterov: { use: false }`);
  for (const [name, value] of Object.entries({ dampingInt, momOrder3 }))
    if (!use && value !== undefined)
      throw new OptionError(
        `nesterov.${name} would be ignored ${other ? `beside ${other}` : "with nesterov.use false"}`,
      );
  if (!use) return { regularization: { ridge: ridge ?? 0 }, momOrder3: 0 };
  if (dampingInt !== undefined) checkNonNegative("nesterov.dampingInt", dampingInt);
  checkShare("nesterov.momOrder3", momOrder3 ?? 0);
  return { regularization: { dampingInt: dampingInt ?? otherwise }, momOrder3: momOrder3 ?? 0 };
}

function sgd(momentum: number = 0.9, dampening: number = momentum): Updater {
  return new SGDUpdater({ momentum, dampening });
}

function updaterOf({ updater, momentum, momentumDamp }: NewtonSummaryOptions): Updater {
  if (momentum === 0 && momentumDamp) throw new OptionError("momentumDamp would be ignored with momentum 0");
  if (updater === undefined) return sgd(momentum, momentumDamp);
  checkUpdater(updater);
  for (const [name, value] of Object.entries({ momentum, momentumDamp }))
    if (value !== undefined) throw new OptionError(`${name} would be ignored beside updater: give it to the updater`);
  if (maximizes(updater.options))
    throw new OptionError(
      `updater ${updater.name}: maximize would be undone by NewtonSummary, whose rates lower the loss along every direction: negate the loss`,
    );
  if (updater.evaluation)
    throw new OptionError(
      `updater ${updater.name} is for Optimizer: the weights to use follow from its one learning rate, NewtonSummary has many`,
    );
  return updater;
}

/** Whether an updater with these options, or one inside it, follows the gradient upwards. */
function maximizes(options: object): boolean {
  return Object.entries(options).some(
    ([name, value]) => (name === "maximize" && value === true) || (value instanceof Object && maximizes(value)),
  );
}
