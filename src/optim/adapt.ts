import type { Mode } from "../engine/index.ts";
import {
  type AutoState,
  damped,
  judge,
  meanLoss,
  nextWatches,
  SPOILED,
  spoils,
  TRIES,
  type Watch,
} from "./auto-damping.ts";
import { lossOf } from "./loss-of.ts";
import type { Moved, Proposal, Stepper } from "./stepper.ts";

/** A step that automatic damping is to take. */
interface Attempt {
  readonly proposal: Proposal;
  /** In which the summary saw the model; undefined where each module keeps its own. */
  readonly mode: Mode | undefined;
  /** The rates of all groups with a damping. */
  readonly ratesAt: (damping: Float64Array) => Float64Array;
  /** Of the summary that the step follows from, one batch at least. */
  readonly latest: readonly Watch[];
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
  { proposal, mode, ratesAt, latest, period, signal }: Attempt,
  auto: AutoState,
  from: Float64Array,
): Promise<{ damping: Float64Array; moved: Moved; auto: AutoState }> {
  const lossesOf = async (watches: readonly Watch[], moved?: Moved): Promise<Watch[]> => {
    const later: Watch[] = [];
    for (const each of watches) later.push({ ...each, loss: await lossOf(stepper, each, { mode, moved, signal }) });
    return later;
  };
  /** With other parameters, which are freed where that fails. */
  const lossAfter = async (moved: Moved): Promise<number> => {
    try {
      return meanLoss(await lossesOf(latest, moved));
    } catch (error) {
      stepper.engine.release(...Object.values(moved));
      throw error;
    }
  };
  const past = await lossesOf(auto.watches);
  const { factor, successes } = judge(auto, past, from);
  const before = { loss: meanLoss(latest), decrement: latest[0]!.decrement };
  const first = auto.first ?? before.loss;
  const watches = nextWatches(past, latest, period);
  let damping = damped(from, factor);
  for (let left = TRIES; ; left--) {
    signal?.throwIfAborted();
    const moved = await stepper.moved(proposal, ratesAt(damping));
    if (left === 0 || !spoils(before, await lossAfter(moved), first))
      return { damping, moved, auto: { successes, first, watches } };
    stepper.engine.release(...Object.values(moved));
    damping = damped(damping, SPOILED);
  }
}
