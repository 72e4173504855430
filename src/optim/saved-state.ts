import { membersOf, type NamedGroup } from "../summary/index.ts";
import { StateError } from "../util/errors.ts";
import type { RandomState } from "../util/random.ts";
import type { AverageState, Averaging } from "./averages.ts";
import type { Clipping } from "./clipping.ts";
import type { NewtonSettings } from "./newton-options.ts";
import type { RateState } from "./rate-state.ts";
import type { StepParts } from "./step-graph.ts";

/** The version of saved optimiser states. */
const FORMAT = "grnewt-optimizer-2";

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
    const [expected, actual] = [JSON.stringify(own[key]), JSON.stringify(other[key])];
    if (expected !== actual)
      throw new StateError(`state: it is of another ${what}: expected ${expected}, found ${actual}`);
  }
}

/** How far a run has come, as it is saved. */
interface Progress {
  readonly step: number;
  readonly damping: Float64Array;
  readonly dampingInt?: number;
  readonly rates: RateState;
}

function whole(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** @throws StateError where it is none */
export function checkRandomState(state: RandomState | undefined): void {
  const words: readonly unknown[] = Array.isArray(state?.words) ? state.words : [];
  if (words.length !== 4 || !words.every((word) => whole(word) && (word as number) < 2 ** 32))
    throw new StateError("state: the random numbers are damaged: expected four words of 32 bits");
}

/** @throws StateError where it is damaged: a number that is none, or arrays that do not fit the groups */
export function checkProgress(
  { step, damping, dampingInt, rates }: Progress,
  groups: number,
  { averaging, clipping }: Pick<NewtonSettings, "averaging" | "clipping">,
): void {
  if (!whole(step)) throw new StateError(`state: step is ${step}`);
  checkArrays({ damping }, { damping: groups });
  if (!damping?.every((value) => value > 0)) throw new StateError(`state: damping is ${damping}`);
  if (dampingInt !== undefined && !(Number.isFinite(dampingInt) && dampingInt >= 0))
    throw new StateError(`state: dampingInt is ${dampingInt}`);
  if (typeof rates !== "object" || rates === null || !whole(rates.misses) || !whole(rates.summaries))
    throw new StateError("state: the learning rates are damaged");
  checkArrays(rates, { smoothed: groups, D: groups, order3: groups, scale: groups });
  checkClipped(rates.clipped, groups, clipping);
  if (rates.average) checkAverage(rates.average, groups, averaging.kind);
}

function checkClipped(history: unknown, groups: number, clipping: Clipping | undefined): void {
  if (history === undefined) return;
  if (!clipping || !Array.isArray(history))
    throw new StateError(`state: expected rates ${clipping ? "that were clipped" : "without clipRates"}`);
  for (const clipped of history) checkArrays({ clipped }, { clipped: clipping.by === "r" ? 1 : groups });
}

function checkAverage({ kind, count, current, previous }: AverageState, groups: number, own: Averaging["kind"]): void {
  if (kind !== own)
    throw new StateError(`state: its summaries were averaged otherwise: expected ${own}, found ${kind}`);
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
