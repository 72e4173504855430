import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Random } from "../util/random.ts";
import { factorise } from "./cholesky.ts";
import { double2 } from "./double2.ts";
import { type CubicProblem, type CubicSolution, diagonalPart, nesterovLrs, newtonLrs } from "./index.ts";
import { diagonal, residual, weightedNorm } from "./matrix.ts";
import { cubicModel, matrixAt } from "./model.ts";

type Found = Extract<CubicSolution, { found: true }>;

const KINDS = ["definite", "indefinite", "singular", "hard", "wide", "partly free"] as const;

interface Recipe {
  readonly kind: (typeof KINDS)[number];
  readonly size: number;
  readonly seed: number;
}

const recipes = (maxSize: number): fc.Arbitrary<Recipe> =>
  fc.record({ kind: fc.constantFrom(...KINDS), size: fc.integer({ min: 1, max: maxSize }), seed: fc.nat(2 ** 30) });

describe("nesterovLrs, on random problems", () => {
  test("solves M(r) η = g with r = ‖Dη‖ and M(r) positive semidefinite", () => {
    fc.assert(
      fc.property(recipes(20), (recipe) => {
        const problem = randomProblem(recipe);
        const solution = solved(problem);
        expect(backwardError(problem, solution)).toBeLessThan(1e-12);
        expect(relative(weightedNorm(solution.lrs, problem.D), solution.r)).toBeLessThan(1e-12);
        expect(isDefinite(problem, solution.r * (1 + 1e-8) + 1e-12)).toBe(true);
      }),
      { numRuns: 600 },
    );
  });

  test("reports the hard case only where M(r) is singular", () => {
    fc.assert(
      fc.property(recipes(12), (recipe) => {
        const problem = randomProblem({ ...recipe, kind: "hard" });
        const { hard, r } = solved(problem);
        fc.pre(hard);
        expect(isDefinite(problem, r * (1 - 1e-8))).toBe(false);
      }),
      { numRuns: 100 },
    );
  });

  test("follows the scale of each group's direction, signs too", () => {
    fc.assert(
      fc.property(recipes(10), fc.constantFrom(1, 8), (recipe, decades) => {
        fc.pre(recipe.kind !== "hard");
        const problem = randomProblem(recipe);
        const random = new Random(recipe.seed + 1);
        const alpha = problem.g.map(() => (random.below(2) * 2 - 1) * 10 ** ((random.uniform() - 0.5) * decades));
        const expected = solved(problem);
        const actual = solved(scaled(problem, alpha));
        expect(relative(actual.r, expected.r)).toBeLessThan(1e-8);
        const back = actual.lrs.map((entry, s) => entry * alpha[s]!);
        expect(
          weightedNorm(
            back.map((entry, s) => entry - expected.lrs[s]!),
            problem.D,
          ),
        ).toBeLessThan(1e-5 * (expected.r + 1));
      }),
      { numRuns: 200 },
    );
  });

  test("S = 1: the closed form", () => {
    const number = fc.double({ min: -100, max: 100, noNaN: true }).map((value) => Math.fround(value));
    const positive = fc.double({ min: 0.01, max: 100, noNaN: true });
    fc.assert(
      fc.property(number, number, positive, positive, (h, g, d, dampingInt) => {
        fc.pre(Math.abs(g) > 1e-6);
        const { lrs } = solved({ H: [h], g: [g], D: [d], dampingInt });
        // ½ λ d³ η² + h η = |g|, for η > 0.
        const cubic = 0.5 * dampingInt * d ** 3;
        const root = Math.sqrt(h * h + 4 * cubic * Math.abs(g));
        const eta = h > 0 ? (2 * Math.abs(g)) / (h + root) : (root - h) / (2 * cubic);
        expect(relative(lrs[0]!, Math.sign(g) * eta)).toBeLessThan(1e-10);
      }),
      { numRuns: 500 },
    );
  });

  test("dampingInt = 0 and D = 0 give the Newton step where H is positive definite", () => {
    fc.assert(
      fc.property(recipes(20), fc.boolean(), (recipe, flat) => {
        const problem = randomProblem({ ...recipe, kind: "definite" });
        const newton = newtonLrs(problem);
        const free = flat ? { ...problem, D: problem.D.map(() => 0) } : { ...problem, dampingInt: 0 };
        if (!newton.found) throw new Error(newton.reason);
        expectClose(solved(free).lrs, newton.lrs, 1e-10);
      }),
    );
  });

  test("the diagonal variant solves each group with a common r", () => {
    const problem = randomProblem({ kind: "indefinite", size: 7, seed: 3 });
    const { lrs, r } = solved({ ...problem, H: diagonalPart(problem.H, 7) });
    const expected = lrs.map(
      (_, s) => problem.g[s]! / (problem.H[s * 8]! + 0.5 * problem.dampingInt * r * problem.D[s]! ** 2),
    );
    expectClose(lrs, expected, 1e-9);
  });
});

describe("nesterovLrs, on single problems", () => {
  test("no groups", () => {
    expect(solved({ H: [], g: [], D: [], dampingInt: 1 })).toEqual({
      found: true,
      lrs: new Float64Array(),
      r: 0,
      hard: false,
    });
  });

  test("g = 0 stays put where H is positive definite, and leaves a saddle on the side of the sign rule", () => {
    expect(solved({ H: [2, 0, 0, 3], g: [0, 0], D: [1, 1], dampingInt: 1 }).lrs).toEqual(new Float64Array(2));
    const saddle = solved({ H: [2, 0, 0, -3], g: [0, 0], D: [1, 1], dampingInt: 1 });
    expect(saddle).toMatchObject({ r: 6, hard: true });
    expectClose(saddle.lrs, [0, 6], 1e-12);
  });

  test("a root that no double distinguishes from the pole has the sign of g", () => {
    for (const sign of [1, -1]) {
      const { lrs, r, hard } = solved({ H: [-1, 0, 0, 1], g: [sign * 1e-25, 0.5], D: [1, 1], dampingInt: 1 });
      expect(hard).toBe(false);
      expect(r).toBe(2);
      expectClose(lrs, [sign * Math.sqrt(4 - 1 / 16), 0.25], 1e-12);
    }
  });

  test("a g that is next to nothing beside H says on which side of the saddle to go", () => {
    for (const power of [100, 140, 150, 154, 170, 200, 300])
      for (const sign of [1, -1]) {
        const H = [-(10 ** power)];
        const { lrs, r, hard } = solved({ H, g: [sign], D: [1], dampingInt: 1 });
        expect(relative(lrs[0]!, sign * 2 * 10 ** power)).toBeLessThan(1e-14);
        expect(relative(r, 2 * 10 ** power)).toBeLessThan(1e-14);
        expect(hard).toBe(false);
      }
    const at = (s: number, sign: number): PlainProblem => ({
      H: [s, s / 2, s / 2, -s],
      g: [sign * s, sign * s],
      D: [s, s / 3],
      dampingInt: 1,
    });
    const expected = solved(at(1e-130, 1)).lrs;
    for (const sign of [1, -1])
      solved(at(1e-150, sign)).lrs.forEach((rate, i) => {
        expect(relative(rate, sign * expected[i]! * 1e40)).toBeLessThan(1e-12);
      });
    // The rate of a group that stands alone is made of g alone.
    const apart = { H: [-1e154, 0, 0, 1e154], g: [1, 1], D: [1, 1], dampingInt: 1 };
    expect(nesterovLrs(asProblem(apart))).toMatchObject({
      found: false,
      reason: expect.stringContaining("too much in scale"),
    });
    // And so where H is singular: −√(2 g / λ).
    const flat = { H: [1, 1, 1, 1].map((x) => x * 1e200), g: [1, 1], D: [1, 1], dampingInt: 1 };
    expect(nesterovLrs(asProblem(flat)).found).toBe(false);
  });

  test("a pole of several dimensions", () => {
    const solution = solved({ H: [-2, 0, 0, 0, -2, 0, 0, 0, 1], g: [0, 0, 1], D: [1, 1, 1], dampingInt: 1 });
    expect(solution.hard).toBe(true);
    expect(relative(solution.r, 4)).toBeLessThan(1e-12);
    expect(relative(weightedNorm(solution.lrs, Float64Array.of(1, 1, 1)), 4)).toBeLessThan(1e-12);
  });

  test.each([
    ["H indefinite and dampingInt 0", { H: [1, 0, 0, -1], g: [1, 1], D: [1, 1], dampingInt: 0 }, /dampingInt is 0/],
    ["H indefinite where D is 0", { H: [1, 0, 0, -1], g: [1, 1], D: [1, 0], dampingInt: 1 }, /groups 1\)/],
    ["H singular and D = 0", { H: [1, 1, 1, 1], g: [1, 1], D: [0, 0], dampingInt: 1 }, /groups 0, 1\)/],
  ])("%s: no minimum", (_, problem, reason) => {
    expect(nesterovLrs(asProblem(problem))).toEqual({ found: false, reason: expect.stringMatching(reason) });
  });

  test("ends on numbers at the edge of the range", () => {
    for (const size of [1e-300, 1e-150, 1e150, 1e300])
      for (const d of [1e-200, 1e-100, 1, 1e100])
        expect(
          nesterovLrs(asProblem({ H: [-size, size, size, 1], g: [1, size], D: [d, 1], dampingInt: 1 })),
        ).toHaveProperty("found");
  });
});

interface PlainProblem {
  readonly H: ArrayLike<number>;
  readonly g: ArrayLike<number>;
  readonly D: ArrayLike<number>;
  readonly dampingInt: number;
}

function asProblem({ H, g, D, dampingInt }: PlainProblem): CubicProblem {
  return { H: Float64Array.from(H), g: Float64Array.from(g), D: Float64Array.from(D), dampingInt };
}

function solved(problem: PlainProblem): Found {
  const solution = nesterovLrs(asProblem(problem));
  if (!solution.found) throw new Error(`not found: ${solution.reason}`);
  return solution;
}

function randomProblem({ kind, size, seed }: Recipe): CubicProblem {
  const random = new Random(seed);
  const normals = (): Float64Array => Float64Array.from({ length: size }, () => random.normal());
  const dampingInt = 10 ** (random.uniform() * 3 - 1);
  const D = normals().map((entry) => (kind === "wide" ? 10 ** (2 * entry) : Math.abs(entry) + 0.01));
  const rank = kind === "singular" || kind === "hard" ? size - 1 : size + 2;
  const H = gram(Array.from({ length: rank }, normals), size);
  let g = normals();
  if (kind === "indefinite" || kind === "wide") for (let s = 0; s < size; s++) H[s * size + s]! -= 2 * random.uniform();
  if (kind === "partly free") {
    D[0] = 0;
    for (let s = 1; s < size; s++) H[s * size + s]! -= 2 * random.uniform();
  }
  if (kind === "hard") {
    g = product(
      H,
      normals().map((entry) => entry / 100),
    );
    const pole = 10 ** random.uniform();
    for (let s = 0; s < size; s++) H[s * size + s]! -= 0.5 * dampingInt * pole * D[s]! ** 2;
  }
  return { H, g, D, dampingInt };
}

function gram(vectors: readonly Float64Array[], size: number): Float64Array {
  return Float64Array.from({ length: size * size }, (_, i) =>
    vectors.reduce((sum, v) => sum + (v[Math.floor(i / size)]! * v[i % size]!) / size, 0),
  );
}

function product(H: Float64Array, x: Float64Array): Float64Array {
  return x.map((_, s) => x.reduce((sum, entry, t) => sum + H[s * x.length + t]! * entry, 0));
}

function scaled({ H, g, D, dampingInt }: CubicProblem, alpha: Float64Array): CubicProblem {
  const size = g.length;
  return {
    H: H.map((_, i) => {
      const [s, t] = [Math.min(Math.floor(i / size), i % size), Math.max(Math.floor(i / size), i % size)];
      return H[s * size + t]! * alpha[s]! * alpha[t]!;
    }),
    g: g.map((entry, s) => entry * alpha[s]!),
    D: D.map((entry, s) => entry * Math.abs(alpha[s]!)),
    dampingInt,
  };
}

/** The largest |M(r) η − g| relative to what was added up for it. */
function backwardError(problem: CubicProblem, { lrs, r }: Found): number {
  const model = cubicModel(problem);
  const matrix = matrixAt(model, double2(r));
  const error = residual(matrix, lrs, problem.g).map(Math.abs);
  const sizes = diagonal(matrix).map((entry, s) => Math.abs(entry * lrs[s]!) + Math.abs(problem.g[s]!));
  const added = product(problem.H.map(Math.abs), lrs.map(Math.abs));
  return Math.max(0, ...error) / Math.max(1e-300, ...sizes.map((entry, s) => entry + added[s]!));
}

function isDefinite(problem: CubicProblem, r: number): boolean {
  return factorise(matrixAt(cubicModel(problem), double2(r))).definite;
}

function relative(actual: number, expected: number): number {
  return actual === expected ? 0 : Math.abs(actual - expected) / Math.abs(expected);
}

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  const size = Math.max(...Array.from(expected, Math.abs));
  const error = Math.max(...Array.from(expected, (entry, s) => Math.abs(entry - actual[s]!)));
  expect(error).toBeLessThanOrEqual(tolerance * size);
}
