import { membersOf, type NamedGroup } from "../summary/index.ts";
import { StateError } from "../util/errors.ts";
import { type FloatData, isFloat, type NDArray, sizeOf } from "../util/ndarray.ts";
import type { RandomState } from "../util/random.ts";
import type { AutoState, Watch } from "./auto-damping.ts";
import { type AverageState, type Averaging, averageOf } from "./averages.ts";
import type { Clipping } from "./clipping.ts";
import type { NewtonSettings } from "./newton-options.ts";
import type { RateState } from "./rate-state.ts";
import type { StepParts } from "./step-graph.ts";

/** The version of saved optimiser states. */
const FORMAT = "grnewt-optimizer-3";

/** What a saved state must agree with to be restored. */
export interface Identity {
  readonly format: string;
  readonly kind: string;
  readonly updater: { readonly name: string; readonly options: object };
  readonly groups: readonly NamedGroup[];
  readonly shapes: Readonly<Record<string, readonly number[]>>;
}

export function identityOf(kind: string, { updater, groups, objective }: StepParts): Identity {
  const shapes = Object.fromEntries(membersOf(groups).map((name) => [name, objective.variables.get(name)!.shape]));
  return { format: FORMAT, kind, updater: { name: updater.name, options: updater.options }, groups, shapes };
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
  } as const;
  for (const [key, what] of Object.entries(parts) as [keyof typeof parts, string][]) {
    const difference = firstDifference(plain(own[key]), plain(other[key]), key);
    if (difference !== undefined) throw new StateError(`state: it is of another ${what}: ${difference}`);
  }
}

/** A value as JSON keeps it. */
function plain(value: unknown): unknown {
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value));
}

/** Where two plain trees differ first, and how; undefined where they do not. */
function firstDifference(expected: unknown, found: unknown, path: string): string | undefined {
  const isTree = (value: unknown): value is object => typeof value === "object" && value !== null;
  if (!isTree(expected) || !isTree(found) || Array.isArray(expected) !== Array.isArray(found))
    return expected === found
      ? undefined
      : `${path}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`;
  if (Array.isArray(expected) && Array.isArray(found) && expected.length !== found.length)
    return `${path}: expected ${expected.length}, found ${found.length}`;
  const [left, right] = [expected, found] as Record<string, unknown>[];
  for (const key of new Set([...Object.keys(left!), ...Object.keys(right!)])) {
    const difference = firstDifference(left![key], right![key], `${path}.${key}`);
    if (difference !== undefined) return difference;
  }
  return undefined;
}

/** How far a run has come, as it is saved. */
interface Progress {
  readonly step: number;
  readonly damping: Float64Array;
  readonly dampingInt?: number;
  readonly rates: RateState;
  readonly period?: number;
  readonly auto?: AutoState;
}

function whole(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** @throws StateError where it is none */
function checkRandomState(state: RandomState | undefined): void {
  const words: readonly unknown[] = Array.isArray(state?.words) ? state.words : [];
  if (words.length !== 4 || !words.every((word) => whole(word) && (word as number) < 2 ** 32))
    throw new StateError("state: the random numbers are damaged: expected four words of 32 bits");
}

/** @throws StateError where it is no number of steps */
export function checkStep(step: unknown): asserts step is number {
  if (!whole(step)) throw new StateError(`state: step is ${step}`);
}

/** The updater's tensors and step count, and where the random numbers stand, plain enough to save. */
export interface StepperState {
  readonly updates: number;
  readonly random: RandomState;
  readonly tensors: Readonly<Record<string, NDArray<FloatData>>>;
}

/**
 * @param shapes of the updater's tensors.
 * @param keeps whether a tensor of this name may be there beside them.
 * @throws StateError where it is damaged, or of another updater
 */
export function checkStepper(
  state: StepperState | undefined,
  shapes: ReadonlyMap<string, readonly number[]>,
  keeps: (name: string) => boolean = () => false,
): void {
  const { updates, random, tensors } = state ?? ({} as Partial<StepperState>);
  if (!whole(updates) || typeof tensors !== "object" || tensors === null)
    throw new StateError("state: what the updater remembers is damaged");
  checkRandomState(random);
  for (const [name, found] of Object.entries(tensors)) {
    if (updates === 0 || !(shapes.has(name) || keeps(name))) throw new StateError(`state: unknown tensor ${name}`);
    const size = Array.isArray(found?.shape) ? sizeOf(found.shape) : undefined;
    if (size === undefined || found?.data?.length !== size || !isFloat(found) || !found.data.every(Number.isFinite))
      throw new StateError(`state: ${name}: expected ${size ?? "an array of"} finite numbers`);
  }
  for (const [name, shape] of updates === 0 ? [] : shapes) {
    const found = tensors[name];
    if (found?.shape.join() !== shape.join())
      throw new StateError(`state: ${name}: expected shape [${shape}], found ${found ? `[${found.shape}]` : "none"}`);
  }
}

/** @throws StateError where it is damaged: a number that is none, or arrays that do not fit the groups */
export function checkProgress(
  { step, damping, dampingInt, rates, period, auto }: Progress,
  groups: number,
  { averaging, clipping, normalizeDirs, medianLrs, auto: adapts }: NewtonSettings,
): void {
  checkStep(step);
  checkArrays({ damping }, { damping: groups });
  if (!damping?.every((value) => value > 0)) throw new StateError(`state: damping is ${damping}`);
  if (dampingInt !== undefined && !(Number.isFinite(dampingInt) && dampingInt >= 0))
    throw new StateError(`state: dampingInt is ${dampingInt}`);
  if (typeof rates !== "object" || rates === null || !whole(rates.misses) || !whole(rates.summaries))
    throw new StateError("state: the learning rates are damaged");
  checkArrays(rates, { smoothed: groups, D: groups, order3: groups, scale: groups });
  checkClipped(rates.clipped, groups, clipping);
  checkSolved(rates, groups, medianLrs);
  if (period !== undefined && !(whole(period) && period > 0)) throw new StateError(`state: period is ${period}`);
  checkAuto(auto, adapts);
  if (rates.summaries > 0 && (rates.scale !== undefined) !== normalizeDirs)
    throw new StateError(`state: normalizeDirs: expected ${normalizeDirs}, found ${!normalizeDirs}`);
  if (rates.average) checkAverage(rates.average, groups, averaging);
}

function checkClipped(history: unknown, groups: number, clipping: Clipping | undefined): void {
  if (history === undefined) return;
  if (!clipping || !Array.isArray(history))
    throw new StateError(`state: expected rates ${clipping ? "that were clipped" : "without clipRates"}`);
  for (const clipped of history) checkArrays({ clipped }, { clipped: clipping.by === "r" ? 1 : groups });
}

function checkSolved({ solved, summaries }: RateState, groups: number, medianLrs: number): void {
  const [expected, found] = [medianLrs > 1 && summaries > 0, solved !== undefined];
  if (expected ? !Array.isArray(solved) || solved.length > medianLrs : found)
    throw new StateError(`state: medianLrs: expected ${medianLrs}, found rates of ${solved?.length ?? 0} summaries`);
  for (const rates of solved ?? []) checkArrays({ rates }, { rates: groups });
}

function checkAuto(auto: AutoState | undefined, adapts: boolean): void {
  const name = (is: boolean): string => (is ? '"auto"' : "numbers");
  if ((auto !== undefined) !== adapts)
    throw new StateError(`state: damping: expected ${name(adapts)}, found ${name(!adapts)}`);
  if (auto === undefined) return;
  const { successes, first, watches } = auto ?? {};
  if (!whole(successes) || !Array.isArray(watches) || watches.length > 0 !== (first !== undefined))
    throw new StateError("state: what automatic damping remembers is damaged");
  for (const watch of watches) checkWatch(watch, first);
}

function checkWatch(watch: Watch, first: number | undefined): void {
  const { loss, decrement, random, batch, parts } = watch ?? {};
  if (![loss, decrement, first].every(Number.isFinite))
    throw new StateError("state: what automatic damping remembers is damaged");
  checkRandomState(random);
  for (const array of batch ? [batch.x, batch.y] : [])
    if (!Array.isArray(array?.shape) || array.data?.length !== sizeOf(array.shape))
      throw new StateError("state: a batch of automatic damping is damaged");
  const samples = batch ? batch.x.shape[0] : 1;
  if (!Array.isArray(parts) || !parts.every((part) => whole(part) && part > 0) || sumOf(parts) !== samples)
    throw new StateError(`state: a batch of automatic damping has ${samples} samples; its runs are of ${parts}`);
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

function checkAverage(state: AverageState, groups: number, own: Averaging): void {
  const { kind, period, keep, power, count, current, previous } = state;
  const difference = firstDifference(plain(averageOf(own)), plain({ kind, period, keep, power }), "average");
  if (difference !== undefined) throw new StateError(`state: its summaries were averaged otherwise: ${difference}`);
  if (!whole(count)) throw new StateError(`state: an average is of ${count} summaries`);
  for (const moments of [current, ...(previous ? [previous] : [])])
    checkArrays(moments, { H: groups ** 2, g: groups, order3: groups });
}

/** Checks those arrays of a record that are there. */
function checkArrays(record: object, lengths: Readonly<Record<string, number>>): void {
  for (const [name, length] of Object.entries(lengths)) {
    const values: unknown = (record as Record<string, unknown>)[name];
    if (values === undefined) continue;
    if (!(values instanceof Float64Array) || values.length !== length || !values.every(Number.isFinite))
      throw new StateError(`state: ${name} must be a Float64Array of ${length} finite numbers`);
  }
}
