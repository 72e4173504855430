import type { CubicProblem } from "../../src/nesterov/index.ts";
import type { Random } from "../../src/util/random.ts";

/** A cubic problem of so many groups. */
export type MakeProblem = (size: number, random: Random) => CubicProblem;

/** Kinds of cubic problems, from those of training to those that are made to break a solver. */
export const KINDS = {
  definite: (size, random) => problem(random, { H: gram(normals(size + 2, size, random)) }),
  indefinite: (size, random) => problem(random, { H: lowered(gram(normals(size + 2, size, random)), random) }),
  "no structure": (size, random) => problem(random, { H: symmetric(size, () => random.normal()) }),
  "negative definite": (size, random) => problem(random, { H: times(gram(normals(size + 2, size, random)), -1) }),
  diagonal: (size, random) => problem(random, { H: fromDiagonal(normal(size, random)) }),
  "no curvature": (size, random) => problem(random, { H: new Float64Array(size * size) }),
  "zero diagonal": (size, random) =>
    problem(random, { H: symmetric(size, (s, t) => (s === t ? 0 : integer(3, random))) }),
  singular: (size, random) => problem(random, { H: gram(integers(1 + random.below(size), size, random)) }),
  "singular, g in the range": (size, random) => {
    const H = gram(integers(1 + random.below(size), size, random));
    return problem(random, { H, g: product(H, integers(1, size, random)[0]!) });
  },
  "rank 1": (size, random) =>
    problem(random, { H: times(gram(normals(1, size, random)), random.below(2) === 0 ? 1 : -1) }),
  "near singular": (size, random) => {
    const H = gram(integers(Math.max(1, size - 1), size, random));
    return problem(random, { H: shifted(H, () => sign(random) * 10 ** -between(10, 18, random)) });
  },
  "indefinite by rounding": (size, random) =>
    problem(random, { H: gram(normals(Math.max(1, size - 2), size, random)) }),
  "D over 12 decades": (size, random) =>
    problem(random, {
      H: lowered(gram(normals(size + 2, size, random)), random),
      D: wide(size, 12, random),
    }),
  "directions over 12 decades": (size, random) => {
    const H = lowered(gram(normals(size + 2, size, random)), random);
    return rescaled(problem(random, { H }), wide(size, 12, random));
  },
  "D over 12 decades, singular": (size, random) =>
    problem(random, { H: gram(integers(1 + random.below(size), size, random)), D: wide(size, 12, random) }),
  "some D = 0": (size, random) => {
    const zeros = flags(size, random);
    const bound = gram(normals(size + 2, size, random));
    const H = shifted(bound, (s) => (zeros[s] ? 1 : -2 * size * random.uniform()));
    return problem(random, { H, D: some(zeros, positive(size, random)) });
  },
  "D = 0 where H has no curvature": (size, random) => {
    const zeros = flags(size, random);
    zeros[0] = true;
    const H = gram(integers(size + 2, size, random));
    for (let s = 0; s < size; s++) H[s] = H[s * size] = 0;
    return problem(random, { H, D: some(zeros, positive(size, random)) });
  },
  "D = 0 where H is not definite": (size, random) => {
    const zeros = flags(size, random);
    const H = symmetric(size, () => random.normal());
    return problem(random, { H, D: some(zeros, positive(size, random)) });
  },
  "D = 0": (size, random) => problem(random, { H: someDefinite(size, random), D: new Float64Array(size) }),
  "no damping": (size, random) => ({ ...problem(random, { H: someDefinite(size, random) }), dampingInt: 0 }),
  "g = 0": (size, random) => {
    const kinds = [
      someDefinite(size, random),
      symmetric(size, () => integer(3, random)),
      new Float64Array(size * size),
    ];
    return problem(random, { H: kinds[random.below(3)]!, g: new Float64Array(size) });
  },
  "groups twice": (size, random) => {
    const half = Math.ceil(size / 2);
    const H = lowered(gram(normals(half + 2, half, random)), random);
    return twice(problem(random, { H }), size);
  },
  "groups twice, the second with D = 0": (size, random) => {
    const half = Math.ceil(size / 2);
    const double = twice(problem(random, { H: gram(normals(half + 2, half, random)) }), size);
    return { ...double, D: double.D.map((d, s) => (s < half ? d : 0)) };
  },
  "a group that is noise": (size, random) => {
    const { H, g, D, dampingInt } = problem(random, { H: gram(normals(size + 2, size, random)) });
    const noise = (): number => 1e-17 * random.normal();
    for (let s = 0; s < size; s++) H[s * size] = H[s] = noise();
    g[0] = noise();
    D[0] = 1e-6;
    return { H, g, D, dampingInt };
  },
  hard: (size, random) => hard(size, random, 1),
  "hard, several directions": (size, random) => hard(size, random, 1 + random.below(Math.min(size, 4))),
  "hard, but for rounding": (size, random) => {
    const { H, g, D, dampingInt } = hard(size, random, 1);
    return rescaled(
      { H, g, D, dampingInt },
      D.map(() => sign(random) * random.uniform() + 0.1),
    );
  },
  "near hard": (size, random) => nearHard(size, random, 1, between(4, 16, random)),
  "nearer hard": (size, random) => nearHard(size, random, 1, between(16, 30, random)),
  "near hard, several directions": (size, random) =>
    nearHard(size, random, 1 + random.below(Math.min(size, 4)), between(4, 16, random)),
  "lowest eigenvalues in a cluster": (size, random) => {
    const gap = 10 ** -between(2, 16, random);
    const values = Float64Array.from({ length: size }, (_, s) =>
      s < 4 ? -1 + s * gap * random.uniform() : random.normal() + 1,
    );
    return problem(random, { H: withEigenvalues(values, random) });
  },
  "a cluster, near hard": (size, random) => {
    const gap = 10 ** -between(2, 16, random);
    const values = Float64Array.from({ length: size }, (_, s) =>
      s < 3 ? -1 + s * gap * random.uniform() : 1 + random.uniform(),
    );
    const H = withEigenvalues(values, random);
    const x = normal(size, random);
    // (H + 1)ᵏ x has less and less of the lowest eigenspace.
    let g = x;
    for (let k = 0; k < 1 + random.below(2); k++) g = product(H, g).map((entry, s) => (entry + g[s]!) / 8);
    return { H, g, D: new Float64Array(size).fill(1), dampingInt: 10 ** between(-1, 1, random) };
  },
  graded: (size, random) => {
    const values = Float64Array.from({ length: size }, (_, s) => sign(random) * 10 ** ((-16 * s) / size));
    return problem(random, { H: withEigenvalues(values, random) });
  },
  "Hilbert's": (size, random) =>
    problem(random, { H: symmetric(size, (s, t) => 1 / (s + t + 1)), D: positive(size, random) }),
  "a path's Laplacian": (size, random) => {
    const H = symmetric(size, (s, t) =>
      s === t ? ((s === 0) === (s === size - 1) ? 2 : 1) : Math.abs(s - t) === 1 ? -1 : 0,
    );
    return problem(random, { H, D: new Float64Array(size).fill(1) });
  },
  "a border": (size, random) => {
    const H = symmetric(size, (s, t) => (s === t ? between(-1, 3, random) : t === 0 ? random.normal() : 0));
    return problem(random, { H });
  },
  "g in a few groups": (size, random) => {
    const g = new Float64Array(size);
    g[random.below(size)] = sign(random);
    return problem(random, { H: lowered(gram(normals(size + 2, size, random)), random), g });
  },
  "small integers": (size, random) =>
    problem(random, {
      H: symmetric(size, () => integer(2, random)),
      g: integers(1, size, random)[0]!,
      D: Float64Array.from({ length: size }, () => random.below(3)),
      dampingInt: 2 ** (random.below(9) - 4),
    }),
  "huge and tiny": (size, random) => {
    const [h, g, d] = [0, 1, 2].map(() => 10 ** between(-30, 30, random));
    const { H, ...rest } = problem(random, { H: symmetric(size, () => random.normal()) });
    return { ...rest, H: times(H, h!), g: times(rest.g, g!), D: times(rest.D, d!) };
  },
  "huge and tiny, singular": (size, random) => {
    const [h, g, d] = [0, 1, 2].map(() => 10 ** between(-30, 30, random));
    const { H, ...rest } = problem(random, { H: gram(integers(1 + random.below(size), size, random)) });
    return { ...rest, H: times(H, h!), g: times(rest.g, g!), D: times(rest.D, d!) };
  },
} as const satisfies Record<string, MakeProblem>;

/** g, D and dampingInt at random, where nothing else is said. */
function problem(random: Random, given: Partial<CubicProblem> & Pick<CubicProblem, "H">): CubicProblem {
  const size = Math.sqrt(given.H.length);
  return { g: normal(size, random), D: positive(size, random), dampingInt: 10 ** between(-6, 6, random), ...given };
}

/**
 * H = K − x0 D² with K positive semidefinite, its kernel exact, and g = K x: all of it in whole numbers and powers of two, so that
 * with λ = 2 the kernel of M(x0) is exact too and g has no part along it. ‖D x‖ ≤ x0 makes x0 the root.
 */
function hard(size: number, random: Random, kernel: number): CubicProblem {
  const K = gram(withoutKernel(size, kernel, random));
  const D = Float64Array.from({ length: size }, () => 2 ** (random.below(5) - 2));
  const x = integers(1, size, random)[0]!;
  const x0 = 2 ** Math.ceil(Math.log2(1 + weighted(x, D)) + random.below(3));
  const H = shifted(K, (s) => -x0 * D[s]! ** 2);
  return { H, g: product(K, x), D, dampingInt: 2 };
}

/** A hard problem with a part of g, so many decades smaller than g, along each direction of the kernel. */
function nearHard(size: number, random: Random, kernel: number, decades: number): CubicProblem {
  const { H, g, D, dampingInt } = hard(size, random, kernel);
  const most = g.reduce((max, entry) => Math.max(max, Math.abs(entry)), 0) || 1;
  const along = kernelVectors(size, kernel).map((q) =>
    times(q, most * 10 ** -decades * sign(random) * random.uniform()),
  );
  return { H, g: g.map((entry, s) => along.reduce((sum, q) => sum + q[s]!, entry)), D, dampingInt };
}

/** Whole vectors orthogonal to {@link kernelVectors}. */
function withoutKernel(size: number, kernel: number, random: Random): Float64Array[] {
  const basis = kernelVectors(size, kernel);
  return integers(size + 2, size, random).map((v) =>
    basis.reduce((rest, q) => {
      const first = q.findIndex((entry) => entry !== 0);
      // The kernel's vectors have no entry in common, so that one entry of v for each makes v orthogonal to all of them.
      const out = rest.slice();
      out[first] = 0;
      out[first] = -dot(out, q) / q[first]!;
      return out;
    }, v),
  );
}

/** Vectors of ±1 and 0 that share no entry. */
function kernelVectors(size: number, kernel: number): Float64Array[] {
  return Array.from({ length: kernel }, (_, k) =>
    Float64Array.from({ length: size }, (_, s) => (s % kernel === k ? (-1) ** Math.floor(s / kernel) : 0)),
  );
}

/** Positive definite more often than not. */
function someDefinite(size: number, random: Random): Float64Array {
  const rank = [size + 2, size + 2, size, Math.max(1, size - 1)][random.below(4)]!;
  return gram(random.below(2) === 0 ? normals(rank, size, random) : integers(rank, size, random));
}

/** Each group s ≥ half is a copy of one before. */
function twice({ H, g, D, dampingInt }: CubicProblem, size: number): CubicProblem {
  const half = g.length;
  const double = (values: Float64Array): Float64Array =>
    Float64Array.from({ length: size }, (_, s) => values[s % half]!);
  return { H: symmetric(size, (s, t) => H[(s % half) * half + (t % half)]!), g: double(g), D: double(D), dampingInt };
}

function rescaled({ H, g, D, dampingInt }: CubicProblem, alpha: Float64Array): CubicProblem {
  const size = g.length;
  return {
    H: symmetric(size, (s, t) => H[s * size + t]! * alpha[s]! * alpha[t]!),
    g: g.map((entry, s) => entry * alpha[s]!),
    D: D.map((entry, s) => entry * Math.abs(alpha[s]!)),
    dampingInt,
  };
}

/** Q diag(values) Qᵀ with a random orthogonal Q: a few reflections, so that it costs size². */
function withEigenvalues(values: Float64Array, random: Random): Float64Array {
  const size = values.length;
  const H = fromDiagonal(values);
  for (let k = 0; k < 3; k++) {
    const v = normal(size, random);
    const norm = dot(v, v);
    if (norm === 0) continue;
    const image = product(H, v).map((entry) => (2 * entry) / norm);
    const along = dot(v, image) / norm;
    for (let s = 0; s < size; s++)
      for (let t = 0; t <= s; t++) {
        const change = v[s]! * image[t]! + image[s]! * v[t]! - 2 * along * v[s]! * v[t]!;
        H[s * size + t] = H[t * size + s] = H[s * size + t]! - change;
      }
  }
  return H;
}

/** Σ v vᵀ. */
function gram(vectors: readonly Float64Array[]): Float64Array {
  const size = vectors[0]!.length;
  const columns = Array.from({ length: size }, (_, s) => Float64Array.from(vectors, (v) => v[s]!));
  return symmetric(size, (s, t) => dot(columns[s]!, columns[t]!));
}

function symmetric(size: number, entry: (s: number, t: number) => number): Float64Array {
  const H = new Float64Array(size * size);
  for (let s = 0; s < size; s++) for (let t = 0; t <= s; t++) H[s * size + t] = H[t * size + s] = entry(s, t);
  return H;
}

function fromDiagonal(values: Float64Array): Float64Array {
  return symmetric(values.length, (s, t) => (s === t ? values[s]! : 0));
}

function shifted(H: Float64Array, by: (s: number) => number): Float64Array {
  const size = Math.sqrt(H.length);
  return H.map((entry, i) => (i % (size + 1) === 0 ? entry + by(i / (size + 1)) : entry));
}

/** With a diagonal that is lower by up to twice its size. */
function lowered(H: Float64Array, random: Random): Float64Array {
  const size = Math.sqrt(H.length);
  return shifted(H, () => -2 * size * random.uniform());
}

function times(values: Float64Array, by: number): Float64Array {
  return values.map((entry) => entry * by);
}

function product(H: Float64Array, x: Float64Array): Float64Array {
  const size = x.length;
  return x.map((_, s) => dot(H.subarray(s * size, (s + 1) * size), x));
}

function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0;
  for (let s = 0; s < x.length; s++) sum += x[s]! * y[s]!;
  return sum;
}

function weighted(x: Float64Array, D: Float64Array): number {
  return Math.hypot(...x.map((entry, s) => entry * D[s]!));
}

function some(zeros: readonly boolean[], values: Float64Array): Float64Array {
  return values.map((entry, s) => (zeros[s] ? 0 : entry));
}

function flags(size: number, random: Random): boolean[] {
  return Array.from({ length: size }, () => random.below(2) === 0);
}

function wide(size: number, decades: number, random: Random): Float64Array {
  return Float64Array.from({ length: size }, () => 10 ** between(-decades / 2, decades / 2, random));
}

function positive(size: number, random: Random): Float64Array {
  return normal(size, random).map((entry) => Math.abs(entry) + 0.01);
}

function normals(count: number, size: number, random: Random): Float64Array[] {
  return Array.from({ length: count }, () => normal(size, random));
}

function normal(size: number, random: Random): Float64Array {
  return Float64Array.from({ length: size }, () => random.normal());
}

function integers(count: number, size: number, random: Random): Float64Array[] {
  return Array.from({ length: count }, () => Float64Array.from({ length: size }, () => integer(3, random)));
}

function integer(most: number, random: Random): number {
  return random.below(2 * most + 1) - most;
}

function between(low: number, high: number, random: Random): number {
  return low + (high - low) * random.uniform();
}

function sign(random: Random): number {
  return random.below(2) * 2 - 1;
}
