/**
 * The unevaluated sum hi + lo of two doubles, about 32 digits (T. J. Dekker, Numer. Math. 18, 1971). A root next to a
 * pole needs it: a double cannot say how far from the pole it is.
 */
export interface Double2 {
  readonly hi: number;
  readonly lo: number;
}

export const ZERO: Double2 = { hi: 0, lo: 0 };

/** A double as it is. */
export function double2(value: number): Double2 {
  return { hi: value, lo: 0 };
}

/** The nearest double. */
export function round(a: Double2): number {
  return a.hi + a.lo;
}

/** a + b, to about 32 digits. */
export function add(a: Double2, b: Double2): Double2 {
  const hi = a.hi + b.hi;
  return normalise(hi, sumError(a.hi, b.hi, hi) + a.lo + b.lo);
}

/** a − b, rounded once: right to its last digits even where a and b agree in all of theirs. */
export function difference(a: Double2, b: Double2): number {
  return round(add(a, { hi: -b.hi, lo: -b.lo }));
}

/** a · b, to about 32 digits. */
export function multiply(a: Double2, b: Double2): Double2 {
  const hi = a.hi * b.hi;
  return normalise(hi, productError(a.hi, b.hi, hi) + a.hi * b.lo + a.lo * b.hi);
}

/** a · b for a power of two b. */
export function timesPower(a: Double2, b: number): Double2 {
  return { hi: a.hi * b, lo: a.lo * b };
}

/** a / b, to about 32 digits. */
export function divide(a: Double2, b: Double2): Double2 {
  const hi = a.hi / b.hi;
  return normalise(hi, round(subtractProduct(a, double2(hi), b)) / b.hi);
}

/** √a, to about 32 digits. */
export function squareRoot(a: Double2): Double2 {
  const hi = Math.sqrt(a.hi);
  return normalise(hi, round(subtractProduct(a, double2(hi), double2(hi))) / (2 * hi));
}

function subtractProduct(a: Double2, b: Double2, c: Double2): Double2 {
  const product = multiply(b, c);
  return add(a, { hi: -product.hi, lo: -product.lo });
}

/** Many {@link Double2}s. */
export class Array2 {
  readonly #hi: Float64Array;
  readonly #lo: Float64Array;
  /** The upper halves of `#hi`, which every product asks for. */
  readonly #top: Float64Array;

  constructor(length: number) {
    this.#hi = new Float64Array(length);
    this.#lo = new Float64Array(length);
    this.#top = new Float64Array(length);
  }

  at(i: number): Double2 {
    return { hi: this.#hi[i]!, lo: this.#lo[i]! };
  }

  set(i: number, { hi, lo }: Double2): void {
    this.#hi[i] = hi;
    this.#lo[i] = lo;
    this.#top[i] = highHalf(hi);
  }

  /** Each rounded to the nearest double. */
  rounded(): Float64Array {
    return this.#hi.map((hi, i) => hi + this.#lo[i]!);
  }

  /** start − Σ_k this[i + k stride] · other[j + k otherStride] over `count` products, to about 32 digits. */
  less(
    start: Double2,
    count: number,
    i: number,
    stride: number,
    other: Array2,
    j: number,
    otherStride: number,
  ): Double2 {
    let sum = start.hi;
    let error = start.lo;
    for (let k = 0; k < count; k++, i += stride, j += otherStride) {
      const x = this.#hi[i]!;
      const y = other.#hi[j]!;
      const xTop = this.#top[i]!;
      const yTop = other.#top[j]!;
      const product = x * y;
      const next = sum - product;
      const rest = next - sum;
      error += sum - (next - rest) - (product + rest);
      error -= xTop * yTop - product + xTop * (y - yTop) + (x - xTop) * yTop + (x - xTop) * (y - yTop);
      error -= x * other.#lo[j]! + this.#lo[i]! * y;
      sum = next;
    }
    return normalise(sum, error);
  }
}

/** A running sum of products, carried to about 32 digits (Ogita, Rump & Oishi, SIAM J. Sci. Comput. 26, 2005). */
export class Accumulator {
  #sum: number;
  #error = 0;

  constructor(start: number) {
    this.#sum = start;
  }

  /** Takes a · b away. */
  subtract(a: number, b: number): void {
    const product = -a * b;
    const sum = this.#sum + product;
    this.#error += sumError(this.#sum, product, sum) + productError(-a, b, product);
    this.#sum = sum;
  }

  get value(): number {
    return this.#sum + this.#error;
  }
}

function normalise(large: number, small: number): Double2 {
  const hi = large + small;
  return { hi, lo: small - (hi - large) };
}

/** a + b − sum, exactly, for sum = fl(a + b) (Knuth). */
function sumError(a: number, b: number, sum: number): number {
  const rest = sum - a;
  return a - (sum - rest) + (b - rest);
}

/** a · b − product, exactly, for product = fl(a · b) (Dekker). */
function productError(a: number, b: number, product: number): number {
  const aHigh = highHalf(a);
  const aLow = a - aHigh;
  const bHigh = highHalf(b);
  const bLow = b - bHigh;
  return aHigh * bHigh - product + aHigh * bLow + aLow * bHigh + aLow * bLow;
}

/** The upper 26 bits of a double (Veltkamp). */
function highHalf(value: number): number {
  const spread = 134217729 * value;
  return spread - (spread - value);
}
