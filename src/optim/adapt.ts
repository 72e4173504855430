import type { Mode } from "../engine/index.ts";
import { type AutoState, damped, judge, nextWatches, SPOILED, spoils, TRIES, type Watch } from "./auto-damping.ts";
import { lossOf } from "./loss-of.ts";
import type { Moved, Proposal, Stepper } from "./stepper.ts";

/** A step that automatic damping is to take. */
interface Attempt {
  readonly proposal: Proposal;
  /** In which the summary saw the model; undefined where each module keeps its own. */
  readonly mode: Mode | undefined;
  /** The rates of all groups with a damping. */
  readonly ratesAt: (damping: Float64Array) => Float64Array;
  /** Of the summary that the step follows from. */
  readonly watch: Watch;
  /** Steps to the next one. */
  readonly period: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Damping after the steps since the last summary, small enough that the loss bears the next one, and the parameters after that.
 * Nothing is changed.
 */
export async function adapt(
  stepper: Stepper,
  { proposal, mode, ratesAt, watch, period, signal }: Attempt,
  auto: AutoState,
  from: Float64Array,
): Promise<{ damping: Float64Array; moved: Moved; auto: AutoState }> {
  const past: Watch[] = [];
  for (const each of auto.watches) {
    signal?.throwIfAborted();
    past.push({ ...each, loss: await lossOf(stepper, each, mode) });
  }
  const { factor, successes } = judge(auto, past, from);
  const first = auto.first ?? watch.loss;
  const watches = nextWatches(past, watch, period);
  let damping = damped(from, factor);
  for (let left = TRIES; ; left--) {
    const moved = await stepper.moved(proposal, ratesAt(damping));
    if (left === 0 || !spoils(watch, await lossAfter(stepper, watch, mode, moved), first))
      return { damping, moved, auto: { successes, first, watches } };
    stepper.engine.release(...Object.values(moved));
    damping = damped(damping, SPOILED);
  }
}

/** The watched loss with other parameters, which are freed where that fails. */
async function lossAfter(stepper: Stepper, watch: Watch, mode: Mode | undefined, moved: Moved): Promise<number> {
  try {
    return await lossOf(stepper, watch, mode, moved);
  } catch (error) {
    stepper.engine.release(...Object.values(moved));
    throw error;
  }
}
