import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type CubicSolution, nesterovLrs } from "./index.ts";

interface Exact {
  readonly lrs: readonly number[];
  readonly other_lrs?: readonly number[];
  readonly r: number;
  readonly hard?: boolean;
}

interface GoldenCase {
  readonly tag: string;
  readonly damping_int: number;
  readonly H: readonly (readonly number[])[];
  readonly g: readonly number[];
  readonly D: readonly number[];
  readonly exact?: Exact | null;
}

const plain = readCases("nesterov");
const hard = readCases("nesterov_hard");

describe.each([
  ["nesterov", plain, 97],
  ["nesterov_hard", hard, 36],
] as const)("golden %s", (_, cases, count) => {
  test("holds all its cases", () => expect(cases).toHaveLength(count));

  test.each(cases.map((item, i) => [i, item.tag, item] as const))("case %i: %s", (_, __, item) => {
    const exact = item.exact ?? sameData(item)?.exact;
    const solution = solve(item);
    if (exact) expectSolution(solution, exact);
    else expect(solution).toEqual({ found: false, reason: expect.stringMatching(/is not positive definite/) });
  });
});

function expectSolution(solution: CubicSolution, exact: Exact): void {
  if (!solution.found) throw new Error(`not found: ${solution.reason}`);
  expect(Math.abs(solution.r - exact.r)).toBeLessThanOrEqual(1e-8 * exact.r);
  expect(solution.hard).toBe(exact.hard ?? false);
  const size = Math.max(...exact.lrs.map(Math.abs));
  const error = Math.max(...exact.lrs.map((entry, s) => Math.abs(entry - solution.lrs[s]!)));
  expect(error).toBeLessThanOrEqual(1e-8 * size);
}

function solve({ H, g, D, damping_int }: GoldenCase): CubicSolution {
  return nesterovLrs({
    H: Float64Array.from(H.flat()),
    g: Float64Array.from(g),
    D: Float64Array.from(D),
    dampingInt: damping_int,
  });
}

/** Where the reference found nothing, nesterov.json may lack the solution that nesterov_hard.json has. */
function sameData(item: GoldenCase): GoldenCase | undefined {
  const key = (one: GoldenCase): string => JSON.stringify([one.H, one.g, one.D, one.damping_int]);
  return hard.find((other) => key(other) === key(item));
}

function readCases(name: string): readonly GoldenCase[] {
  const url = new URL(`../../test/golden/data/${name}.json`, import.meta.url);
  return (JSON.parse(readFileSync(url, "utf8")) as { cases: GoldenCase[] }).cases;
}
