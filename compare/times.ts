import { OptionError } from "../src/util/errors.ts";
import type { Timing } from "./clock.ts";
import { keyOf, type Run, type Times } from "./runs.ts";

/** Fresh processes that each step is timed in. */
export const ROUNDS = 3;

/** Facts that differ each time, on the same machine too. */
const PASSING = ["load", "date"];

/**
 * The times to add others to: those known, or none.
 * @param file where the known ones are
 * @throws OptionError where these are of another machine, or of other versions
 */
export function timesToGoOn(known: Times | undefined, machine: Times["machine"], file: string): Times {
  if (!known) return { machine, timings: [] };
  const facts = new Set([...Object.keys(known.machine), ...Object.keys(machine)]);
  const other = [...facts].find((fact) => !PASSING.includes(fact) && known.machine[fact] !== machine[fact]);
  if (other === undefined) return known;
  const found = `its ${other} is ${known.machine[other]}, here it is ${machine[other]}`;
  throw new OptionError(`${file} has times of another machine or version (${found}): move it away to begin anew`);
}

/** What to time next: all runs in turn over some rounds, backwards in every second one. Undefined where nothing is left. */
export function nextTimed(runs: readonly Run[], { timings }: Times): { run: Run; round: number } | undefined {
  const done = new Map(timings.map((timing) => [keyOf(timing), timing.rounds.length]));
  for (let round = 0; round < ROUNDS; round++) {
    const inTurn = round % 2 === 0 ? runs : runs.toReversed();
    const run = inTurn.find((each) => (done.get(keyOf(each)) ?? 0) <= round);
    if (run) return { run, round };
  }
  return undefined;
}

/** The times with one more round of a run. */
export function withTiming({ machine, timings }: Times, { args }: Run, timing: Timing): Times {
  const key = keyOf({ args });
  const others = timings.filter((each) => keyOf(each) !== key);
  const rounds = timings.find((each) => keyOf(each) === key)?.rounds ?? [];
  return { machine, timings: [...others, { args, rounds: [...rounds, timing] }] };
}
