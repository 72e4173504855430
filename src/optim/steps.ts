import { DataError } from "../util/errors.ts";
import { handled } from "../util/promises.ts";
import type { StepBatch, StepBatches, StepResult } from "./result.ts";
import type { BegunStep } from "./stepper.ts";

/** What of an optimiser takes steps that may have begun before their turn. */
export interface Stepping {
  /** Begins a step, after another one that has begun if there is one; undefined where it must wait for its turn. */
  readonly begin: (batch: StepBatch, after: BegunStep | undefined) => Promise<BegunStep | undefined>;
  readonly take: (batch: StepBatch, begun: BegunStep | undefined) => Promise<StepResult>;
  readonly drop: (begun: BegunStep) => Promise<void>;
}

/**
 * Takes a step on each batch. While one is computed, the next batch is fetched and its step begun; a result does not wait for
 * the next batch, nor does leaving the loop. Once a step that had begun did not count, no more begin ahead: what changes between two
 * steps is likely to change again.
 */
export async function* takeSteps(batches: StepBatches, stepping: Stepping): AsyncGenerator<StepResult> {
  const { take, drop } = stepping;
  const source = each(batches);
  let ahead: Ahead;
  let [fetching, pays] = [false, true];
  const fetch = (): Promise<IteratorResult<StepBatch>> => {
    fetching = true;
    return source.next().finally(() => {
      fetching = false;
    });
  };
  try {
    let next = await fetch();
    while (!next.done) {
      const batch = next.value;
      const begun = (await ahead) ?? (pays ? await begin(stepping, batch, undefined) : undefined);
      ahead = undefined;
      // One that has not begun may yet have to be read, from memory that the next one is fetched into.
      const coming = begun && handled(fetch());
      if (begun && coming) {
        ahead = beginNext(stepping, coming, begun);
        await Promise.race([ahead, ended(begun)]);
      }
      const result = await take(batch, begun).finally(() => begun && drop(begun));
      if (begun && begun.status !== "taken") {
        pays = false;
        ahead = dropped(stepping, ahead);
      }
      yield result;
      next = await (coming ?? fetch());
    }
  } finally {
    const end = handled(dropped(stepping, ahead).then(() => source.return(undefined)));
    if (!fetching) await end;
  }
}

/** A step that may have begun. */
type Ahead = Promise<BegunStep | undefined> | undefined;

/** What hinders a step from beginning, its turn will tell. */
function begin(stepping: Stepping, ...step: Parameters<Stepping["begin"]>): Promise<BegunStep | undefined> {
  return stepping.begin(...step).catch(() => undefined);
}

/** What hinders a batch from coming, its own turn will tell. */
async function beginNext(
  stepping: Stepping,
  coming: Promise<IteratorResult<StepBatch>>,
  after: BegunStep,
): Promise<BegunStep | undefined> {
  const { done, value } = await coming.catch(() => ({ done: true, value: undefined }) as const);
  return done ? undefined : await begin(stepping, value, after);
}

async function ended({ done }: BegunStep): Promise<void> {
  await done.catch(() => {});
}

async function dropped({ drop }: Stepping, ahead: Ahead): Promise<undefined> {
  const begun = await ahead;
  if (begun) await drop(begun);
}

/** @throws DataError where they are no batches that come one after the other */
async function* each(batches: StepBatches): AsyncGenerator<StepBatch> {
  const { [Symbol.iterator]: inTurn, [Symbol.asyncIterator]: later } = Object(batches);
  if (!inTurn && !later)
    throw new DataError(
      `steps: expected batches one after the other, as a loader gives; found ${batches instanceof Object ? `{ ${Object.keys(batches).join(", ")} }` : batches}`,
    );
  yield* batches;
}
