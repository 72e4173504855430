import { describe, expect, test } from "vitest";
import { faultBesideExact, faultOf } from "../../test/support/check-cubic.ts";
import { KINDS } from "../../test/support/cubic-problems.ts";
import { Random } from "../util/random.ts";
import { type CubicProblem, nesterovLrs } from "./index.ts";

const NAMES = Object.keys(KINDS) as (keyof typeof KINDS)[];

/** Problems of each of the 40 kinds, and their sizes: 9,920 small ones and 40 larger, or 120 on request (CONTRIBUTING.md). */
const SMALL = { count: 248, least: 1, most: 60 };
const LARGE = process.env.GRNEWT_ALL_PROBLEMS
  ? { count: 3, least: 60, most: 1000 }
  : { count: 1, least: 60, most: 400 };
/** Of these, so many are held against whole numbers: 200 in all. */
const EXACT = { count: 5, least: 1, most: 8 };

interface Named {
  /** From which the problem can be made again. */
  readonly name: string;
  readonly problem: CubicProblem;
}

/** Problems of a kind; their sizes are spread evenly over the orders of magnitude. */
function problems(kind: keyof typeof KINDS, { count, least, most }: typeof SMALL): Named[] {
  return Array.from({ length: count }, (_, i) => {
    const seed = 1000 * NAMES.indexOf(kind) + i;
    const random = new Random(seed);
    const size = Math.round(least * (most / least) ** random.uniform());
    return { name: `S = ${size}, seed ${seed}`, problem: KINDS[kind](size, random) };
  });
}

/** The first few faults are enough. */
function faults(list: readonly Named[], faultOfOne: typeof faultOf): string[] {
  const found = list.flatMap(({ name, problem }) => {
    const fault = faultOfOne(problem, nesterovLrs(problem));
    return fault === undefined ? [] : [`${name}: ${fault}`];
  });
  return found.slice(0, 3);
}

describe.each(NAMES)("nesterovLrs, %s", (kind) => {
  test("is never wrong nor stuck", () => expect(faults(problems(kind, SMALL), faultOf)).toEqual([]));

  test("is never wrong nor stuck, at size", { timeout: 600_000 }, () =>
    expect(faults(problems(kind, LARGE), faultOf)).toEqual([]),
  );

  test("finds the root that whole numbers find", () =>
    expect(faults(problems(kind, EXACT), faultBesideExact)).toEqual([]));
});

test("tells hard problems from nearly hard ones", () => {
  const hard = (kind: keyof typeof KINDS): boolean[] =>
    problems(kind, SMALL).map(({ problem }) => {
      const solution = nesterovLrs(problem);
      return solution.found && solution.hard;
    });
  for (const kind of ["hard", "hard, several directions"] as const)
    expect(new Set(hard(kind))).toEqual(new Set([true]));
  for (const kind of ["near hard", "near hard, several directions"] as const)
    expect(new Set(hard(kind))).toEqual(new Set([false]));
});
