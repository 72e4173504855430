import { membersOf, type NamedGroup } from "../summary/index.ts";
import { StateError } from "../util/errors.ts";
import { type FloatData, isFloat, type NDArray, type Shapes, sizeOf } from "../util/ndarray.ts";
import type { RandomState } from "../util/random.ts";
import { anything, type Check, listOf, must, optional, real, record, vector, whole } from "../util/schema.ts";
import { MOST_WATCHES } from "./auto-damping.ts";
import { type Averaging, averageOf } from "./averages.ts";
import type { Clipping } from "./clipping.ts";
import type { NewtonSettings } from "./newton-options.ts";
import { names, type StepParts } from "./step-graph.ts";
import type { Updater } from "./updater.ts";

/** The version of saved optimiser states. */
const FORMAT = "grnewt-optimizer-4";

/** What a saved state must agree with to be restored. */
export interface Identity {
  readonly format: string;
  readonly kind: string;
  readonly updater: { readonly name: string; readonly options: object };
  readonly groups: readonly NamedGroup[];
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  /** The optimiser's options that say what it remembers, and in which units. */
  readonly settings: object;
}

export function identityOf(kind: string, { updater, groups, objective }: StepParts, settings: object): Identity {
  const shapes = Object.fromEntries(membersOf(groups).map((name) => [name, objective.variables.get(name)!.shape]));
  return { format: FORMAT, kind, updater: { name: updater.name, options: updater.options }, groups, shapes, settings };
}

/** @throws StateError naming what differs */
export function checkIdentity(own: Identity, found: unknown): void {
  if (typeof found !== "object" || found === null) throw new StateError("state: expected a saved optimiser state");
  const other = found as Partial<Identity>;
  const parts = {
    format: "version",
    kind: "optimiser",
    updater: "updater",
    groups: "partition",
    shapes: "model",
    settings: "optimiser's options",
  } as const;
  for (const [key, what] of Object.entries(parts) as [keyof typeof parts, string][]) {
    const difference = firstDifference(own[key], other[key], key);
    if (difference !== undefined) throw new StateError(`state: it is of another ${what}: ${difference}`);
  }
}

/** A value as JSON keeps it. */
function plain(value: unknown): unknown {
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value));
}

/** Where two trees differ first as JSON keeps them, and how; undefined where they do not. */
export function firstDifference(expected: unknown, found: unknown, path: string): string | undefined {
  return differenceOf(plain(expected), plain(found), path);
}

function differenceOf(expected: unknown, found: unknown, path: string): string | undefined {
  const isTree = (value: unknown): value is object => typeof value === "object" && value !== null;
  if (!isTree(expected) || !isTree(found) || Array.isArray(expected) !== Array.isArray(found))
    return expected === found
      ? undefined
      : `${path}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`;
  if (Array.isArray(expected) && Array.isArray(found) && expected.length !== found.length)
    return `${path}: expected ${expected.length}, found ${found.length}`;
  const [left, right] = [expected, found] as Record<string, unknown>[];
  for (const key of new Set([...Object.keys(left!), ...Object.keys(right!)])) {
    const difference = differenceOf(left![key], right![key], `${path}.${key}`);
    if (difference !== undefined) return difference;
  }
  return undefined;
}

/** What each field of a saved state must be. */
export type Fields = Readonly<Record<string, Check>>;

const IDENTITY: Readonly<Record<keyof Identity, Check>> = {
  format: anything,
  kind: anything,
  updater: anything,
  groups: anything,
  shapes: anything,
  settings: anything,
};

/**
 * Checks a whole saved state.
 * @param fields what it has beside its identity and step.
 * @throws StateError where it is damaged, or of another optimiser
 */
export function checkState(
  own: Identity,
  { updater }: StepParts,
  saved: unknown,
  fields: (saved: UncheckedState) => Fields,
): void {
  checkIdentity(own, saved);
  record({ ...IDENTITY, step: whole(0), ...fields(saved as UncheckedState) })("", saved);
  checkSigns(updater, (saved as { readonly stepper: StepperState }).stepper);
}

/** What may be there of a state before it is checked: whatever else is there instead is refused in the end. */
export interface UncheckedState {
  readonly step?: unknown;
  readonly stepper?: { readonly updates?: unknown; readonly tensors?: Readonly<Record<string, unknown>> };
  readonly rates?: { readonly summaries?: unknown; readonly misses?: unknown };
  readonly memory?: { readonly pairs?: unknown };
}

/** A number that may be a count; NaN, to which nothing compares, where it is none. */
function countIn(value: unknown): number {
  return typeof value === "number" ? value : Number.NaN;
}

const isWord = (value: unknown): boolean =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 32;

const RANDOM = record({
  words: must(
    "four words of 32 bits, not all 0",
    (value) => Array.isArray(value) && value.length === 4 && value.every(isWord) && value.some((word) => word > 0),
  ),
});

/** The updater's tensors and step count, and where the random numbers stand, plain enough to save. */
export interface StepperState {
  readonly updates: number;
  readonly random: RandomState;
  readonly tensors: Readonly<Record<string, NDArray<FloatData>>>;
}

/**
 * What the stepper remembers.
 * @param shapesOf of the updater's tensors and the preconditioner's, which follow from some of those that were found.
 */
export function stepperCheck({ step, stepper, rates }: UncheckedState, shapesOf: (found: Shapes) => Shapes): Check {
  // Before the first step tensors are the zeros that every run starts from.
  const tensors = countIn(stepper?.updates) > 0 ? [...shapesOf(shapesIn(stepper?.tensors))] : [];
  return record({
    // A step that was skipped, or that waits for the end of a warm-up, is no update; one with a summary is.
    updates: whole(rates ? countIn(rates.summaries) : 0, countIn(step)),
    random: RANDOM,
    tensors: record(Object.fromEntries(tensors.map(([name, shape]) => [name, tensor(shape)]))),
  });
}

const withoutNegatives = must("a tensor without negative numbers", (value) =>
  (value as NDArray<FloatData>).data.every((number) => number >= 0),
);

/** @throws StateError where what an updater says is never below 0 is */
function checkSigns({ nonNegative = [] }: Updater, { tensors }: StepperState): void {
  const holds = (tensor: string): boolean =>
    nonNegative.some((name) => tensor === names.shared(name) || tensor.startsWith(names.state(name, "")));
  for (const [name, value] of Object.entries(tensors))
    if (holds(name)) withoutNegatives(`stepper.tensors.${name}`, value);
}

/** The shapes of tensors that may be damaged. */
function shapesIn(tensors: Readonly<Record<string, unknown>> | undefined): Shapes {
  return new Map(
    Object.entries(tensors ?? {}).flatMap(([name, value]) => {
      const { shape } = Object(value) as { readonly shape?: unknown };
      return Array.isArray(shape) ? [[name, shape.map(countIn)] as const] : [];
    }),
  );
}

function tensor(shape: readonly number[]): Check {
  return must(`a tensor of shape [${shape}], all finite`, (value) => {
    const { shape: found, data } = Object(value) as NDArray;
    return (
      Array.isArray(found) &&
      found.join() === shape.join() &&
      isFloat({ shape, data }) &&
      data.length === sizeOf(shape) &&
      data.every(Number.isFinite)
    );
  });
}

/** The settings that say what a `NewtonSummary` remembers. */
export function settingsToKeep(settings: NewtonSettings): object {
  const { auto, periodHg, periodOrder3, medianLrs, averaging, warmup, clipping, normalizeDirs } = settings;
  return {
    damping: auto ? "auto" : "given",
    periodHg: periodHg === "auto" ? "auto" : "given",
    periodOrder3,
    medianLrs,
    averaging: { ...averageOf(averaging), warmup },
    clipRates: clipping ?? "none",
    normalizeDirs,
    nesterov: isCubic(settings),
  };
}

function isCubic({ solve }: NewtonSettings): boolean {
  return "dampingInt" in solve.regularization;
}

/** What a `NewtonSummary` remembers beside its updater's tensors. */
export function newtonFields({ step, rates }: UncheckedState, groups: number, settings: NewtonSettings): Fields {
  const summaries = countIn(rates?.summaries);
  const begun = summaries > 0;
  return {
    damping: vector(groups, "positive"),
    ...(isCubic(settings) && { dampingInt: real("nonNegative") }),
    rates: record({
      summaries: whole(0, countIn(step)),
      ...ratesFields(summaries, countIn(rates?.misses), groups, settings),
    }),
    ...(settings.periodHg === "auto" && begun && { period: whole(1) }),
    ...(settings.auto && {
      auto: record({
        successes: whole(0, summaries),
        ...(begun && { first: real() }),
        watches: listOf(watch, begun ? 1 : 0, begun ? MOST_WATCHES : 0),
      }),
    }),
    hgLoader: anything,
    schedules: anything,
  };
}

/** What there is of rates after some summaries, the last ones of which gave none. */
function ratesFields(summaries: number, misses: number, groups: number, settings: NewtonSettings): Fields {
  if (summaries === 0) return { misses: whole(0, 0) };
  const { averaging, warmup, clipping, medianLrs, periodOrder3, normalizeDirs } = settings;
  /** Summaries that may have given rates; the last one has, if it is no miss. */
  const most = Math.max(0, summaries - warmup);
  const least = most > 0 && misses === 0 ? 1 : 0;
  const rates = vector(groups);
  return {
    misses: whole(0, most),
    smoothed: rates,
    average: averageCheck(summaries, groups, averaging),
    D: vector(groups, "nonNegative"),
    ...(periodOrder3 > 1 && { order3: rates }),
    ...(medianLrs > 1 && { solved: listOf(rates, least, Math.min(medianLrs, most)) }),
    ...(clipping && { clipped: clippedCheck(least, most, groups, clipping) }),
    ...(normalizeDirs && { scale: vector(groups, "positive") }),
  };
}

function clippedCheck(least: number, most: number, groups: number, { by, window }: Clipping): Check {
  const sizes = vector(by === "r" ? 1 : groups, "nonNegative");
  const history = listOf(sizes, 1, by === "average" ? 1 : Math.min(window, most));
  return least > 0 ? history : optional(history);
}

function averageCheck(summaries: number, groups: number, averaging: Averaging): Check {
  const moments = record({ H: vector(groups ** 2), g: vector(groups), order3: vector(groups) });
  const period = averaging.kind === "uniform" ? averaging.period : Number.POSITIVE_INFINITY;
  const count = averaging.kind === "uniform" ? ((summaries - 1) % period) + 1 : summaries;
  return record({
    current: moments,
    count: whole(count, count),
    ...(summaries > period && { previous: moments }),
  });
}

function watch(place: string, value: unknown): void {
  const samples = samplesIn(value);
  const array = arrayOf(samples);
  const batch = record({ x: array, y: array });
  record({
    // Without inputs a loss is that of one sample.
    batch: samples === 1 ? optional(batch) : batch,
    parts: listOf(whole(1), 1),
    random: RANDOM,
    loss: real(),
    decrement: real("nonNegative"),
  })(place, value);
}

function samplesIn(watch: unknown): number {
  const { parts } = Object(watch) as { readonly parts?: unknown };
  return Array.isArray(parts) ? parts.reduce((sum: number, part: unknown) => sum + countIn(part), 0) : Number.NaN;
}

function arrayOf(samples: number): Check {
  return must(`an array of ${samples} samples, as in its runs`, (value) => {
    const { shape, data } = Object(value) as NDArray;
    return Array.isArray(shape) && shape[0] === samples && ArrayBuffer.isView(data) && data.length === sizeOf(shape);
  });
}
