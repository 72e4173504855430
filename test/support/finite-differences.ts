/** Derivatives of orders 1 to 3 of a function of one real number at 0. */
export type Derivatives = readonly [number, number, number];

/** A finite-difference estimate: derivatives, how far each may be off, and the largest value of the function seen. */
export interface Estimate {
  readonly derivatives: Derivatives;
  readonly errors: Derivatives;
  readonly size: number;
}

/** Points on either side of 0. With 5 a stencil is exact for polynomials of degree 10. */
const REACH = 5;

/**
 * The wider step. The stencil reaches ±5h = ±0.15 along a direction, so kinks and poles must stay further away than that.
 * For a function with its nearest singularity at distance 1 the truncation error of f‴, the worst of the three, is about
 * (5!^(1/5) h)⁸ = 1e-9; rounding adds about ε |f| / h³ = 1e-11 |f|.
 */
const STEP = 0.03;

/** The furthest that a function is evaluated from 0. */
export const FURTHEST: number = REACH * STEP;

/**
 * Central differences of order 8 and more at steps h and h/2. The finer one is the answer; how far the two are apart
 * bounds the truncation error of both, the finer one's being 2⁸ times smaller.
 */
export async function derivativesAtZero(f: (at: number) => number | Promise<number>): Promise<Estimate> {
  const known = new Map<number, number>();
  // Points are counted in half steps, so that both stencils share what they can.
  for (let k = -REACH; k <= REACH; k++)
    for (const at of [k, 2 * k]) if (!known.has(at)) known.set(at, await f((at * STEP) / 2));
  const coarse = stencil((k) => known.get(2 * k)!, STEP);
  const fine = stencil((k) => known.get(k)!, STEP / 2);
  return {
    derivatives: fine,
    errors: fine.map((value, i) => Math.abs(value - coarse[i]!)) as unknown as Derivatives,
    size: Math.max(...[...known.values()].map(Math.abs)),
  };
}

function stencil(value: (k: number) => number, step: number): Derivatives {
  return WEIGHTS.map((weights, i) => {
    const sum = weights.reduce((total, weight, k) => total + weight * value(k - REACH), 0);
    return sum / step ** (i + 1);
  }) as unknown as Derivatives;
}

/** Weights of the derivatives 1 to 3 on the points −REACH … REACH. */
const WEIGHTS = [1, 2, 3].map((order) => differenceWeights(order));

/** The weights that are exact for polynomials: Taylor coefficients of Lagrange's basis. */
function differenceWeights(order: number): number[] {
  const points = Array.from({ length: 2 * REACH + 1 }, (_, i) => i - REACH);
  const factorial = [1, 1, 2, 6][order]!;
  return points.map((own) => {
    let polynomial = [1];
    for (const other of points) if (other !== own) polynomial = timesRoot(polynomial, other, own - other);
    return factorial * polynomial[order]!;
  });
}

/** The polynomial times (x − root) / scale, coefficients from the constant one on. */
function timesRoot(polynomial: readonly number[], root: number, scale: number): number[] {
  return [...polynomial, 0].map((c, i) => ((polynomial[i - 1] ?? 0) - root * c) / scale);
}
