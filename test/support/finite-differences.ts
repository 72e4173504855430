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
 * The widest step. The stencil reaches ±5h = ±0.15 along a direction, so kinks and poles must stay further away than that.
 * For a function with its nearest singularity at distance 1 the truncation error of f‴, the worst of the three, is about
 * (5!^(1/5) h)⁸ = 1e-9; rounding adds about ε |f| / h³ = 1e-11 |f|.
 */
const STEP = 0.03;
/** Halvings of the step for functions that vary faster; the last one has rounding errors of 1e-9 |f| in f‴. */
const HALVINGS = 3;
/** Errors, relative to |f| and to the derivative itself, at which the step is small enough. */
const GOOD: Derivatives = [1e-13, 1e-11, 1e-9];

/**
 * Central differences of order 8 and more. The step is halved until two steps agree; of each derivative the estimate is
 * taken that differs least from the one at twice its step. That difference bounds its truncation error many times over,
 * the error shrinking 2⁸ times with each halving, and shows its rounding error.
 */
export async function derivativesAtZero(f: (at: number) => number | Promise<number>): Promise<Estimate> {
  // Points in units of the smallest step, so that the stencils share what they can.
  const known = new Map<number, number>();
  const atStep = async (halvings: number): Promise<Derivatives> => {
    const unit = 2 ** (HALVINGS - halvings);
    for (let k = -REACH; k <= REACH; k++)
      if (!known.has(k * unit)) known.set(k * unit, await f((k * unit * STEP) / 2 ** HALVINGS));
    return stencil((k) => known.get(k * unit)!, STEP / 2 ** halvings);
  };
  const [derivatives, errors] = [
    [0, 0, 0],
    [Infinity, Infinity, Infinity],
  ];
  let size = 0;
  let coarse = await atStep(0);
  for (let halvings = 1; halvings <= HALVINGS; halvings++) {
    const fine = await atStep(halvings);
    size = Math.max(...[...known.values()].map(Math.abs));
    fine.forEach((value, i) => {
      const error = Math.abs(value - coarse[i]!);
      if (error < errors[i]!) [derivatives[i], errors[i]] = [value, error];
    });
    if (errors.every((error, i) => error <= GOOD[i]! * Math.max(size, Math.abs(derivatives[i]!)))) break;
    coarse = fine;
  }
  return { derivatives: derivatives as unknown as Derivatives, errors: errors as unknown as Derivatives, size };
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
