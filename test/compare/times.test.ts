import { expect, test } from "vitest";
import type { Timing } from "../../compare/clock.ts";
import { runOf } from "../../compare/plan.ts";
import type { Times } from "../../compare/runs.ts";
import { nextTimed, timesToGoOn, withTiming } from "../../compare/times.ts";
import { OptionError } from "../../src/util/errors.ts";
import { CHOICE } from "./results.ts";

const MACHINE = { grnewt: "1.0.0", cpu: "X, 2 threads", load: "0.10", date: "today" };
const TIMING: Timing = { secondsPerStep: 1, compilation: 2 };
const runs = [1, 2, 3].map((value) => runOf(CHOICE, "lenet", "adam", value, 0));

/** Times all that is left, at most so many times. @returns the times, and the values in turn */
function timed(times: Times, most = Number.POSITIVE_INFINITY): { times: Times; values: number[] } {
  const values: number[] = [];
  for (let next = nextTimed(runs, times); next && values.length < most; next = nextTimed(runs, times)) {
    times = withTiming(times, next.run, TIMING);
    values.push(next.run.value);
  }
  return { times, values };
}

test("rounds go through all runs in turn, and backwards, and on where they were stopped", () => {
  const all = timed(timesToGoOn(undefined, MACHINE, "times.json"));
  expect(all.values).toEqual([1, 2, 3, 3, 2, 1, 1, 2, 3]);
  expect(all.times.timings.map(({ rounds }) => rounds)).toEqual([1, 2, 3].map(() => [TIMING, TIMING, TIMING]));
  for (let stop = 0; stop <= 9; stop++) {
    const first = timed({ machine: MACHINE, timings: [] }, stop);
    const rest = timed(timesToGoOn(first.times, { ...MACHINE, load: "0.20", date: "tomorrow" }, "times.json"));
    expect([...first.values, ...rest.values]).toEqual(all.values);
  }
});

test("times of runs that are not asked for are kept", () => {
  const other = { args: ["--optimizer", "sgd"], rounds: [TIMING] };
  expect(timed({ machine: MACHINE, timings: [other] }).times.timings).toContainEqual(other);
});

test("times of another machine or version are refused", () => {
  const known = { machine: MACHINE, timings: [] };
  const here = (facts: Times["machine"]) => () => timesToGoOn(known, facts, "times.json");
  expect(here({ ...MACHINE, cpu: "Y" })).toThrow(OptionError);
  expect(here({ ...MACHINE, cpu: "Y" })).toThrow(
    "times.json has times of another machine or version (its cpu is X, 2 threads, here it is Y): move it away to begin anew",
  );
  expect(here({ ...MACHINE, grnewt: "1.0.1" })).toThrow("its grnewt is 1.0.0, here it is 1.0.1");
});
