import { definiteFactor, descent, type Factor, notPositive, unitScale } from "./cholesky.ts";
import { Array2, add, divide, double2, squareRoot, timesPower } from "./double2.ts";
import { diagonal, type ShiftedMatrix } from "./matrix.ts";

/** A pivot of the scaled matrix below this, times its size, is rounding. */
const PIVOT_TOLERANCE = 2 * Number.EPSILON ** 2;

/** Residuals have as many digits as the factor, so that solutions lose what the inverse magnifies. */
const REFINED = 1e-6;

/**
 * As `factorise`, to about 32 digits: for a matrix of which doubles cannot tell whether it is positive definite. About ten
 * times slower.
 */
export function factorise2(matrix: ShiftedMatrix): Factor {
  const { size, base, shift } = matrix;
  const diag = diagonal(matrix);
  const flat = notPositive(diag);
  if (flat) return flat;
  const scale = unitScale(diag);
  const lower = new Array2(size * size);
  for (let s = 0; s < size; s++) {
    for (let t = 0; t < s; t++) {
      const entry = double2(base[s * size + t]! * scale[s]! * scale[t]!);
      lower.set(s * size + t, divide(lower.less(entry, t, s * size, 1, lower, t * size, 1), lower.at(t * size + t)));
    }
    const entry = timesPower(add(double2(base[s * size + s]!), shift[s]!), scale[s]! ** 2);
    const pivot = lower.less(entry, s, s * size, 1, lower, s * size, 1);
    if (!(pivot.hi > size * PIVOT_TOLERANCE)) {
      const direction = descent(lower.rounded(), size, s).map((each, t) => each * scale[t]!);
      return { definite: false, certain: true, direction };
    }
    lower.set(s * size + s, squareRoot(pivot));
  }
  const half = (b: Float64Array): Array2 => forward(lower, b);
  return definiteFactor(matrix, scale, {
    solve: (b) => backward(lower, half(b), size).rounded(),
    half: (b) => half(b).rounded(),
    tolerance: REFINED,
  });
}

/** L⁻¹ b. */
function forward(lower: Array2, b: Float64Array): Array2 {
  const size = b.length;
  const x = new Array2(size);
  for (let s = 0; s < size; s++)
    x.set(s, divide(lower.less(double2(b[s]!), s, s * size, 1, x, 0, 1), lower.at(s * size + s)));
  return x;
}

/** L⁻ᵀ b. */
function backward(lower: Array2, b: Array2, size: number): Array2 {
  const x = new Array2(size);
  for (let s = size - 1; s >= 0; s--) {
    const below = (s + 1) * size + s;
    x.set(s, divide(lower.less(b.at(s), size - 1 - s, below, size, x, s + 1, 1), lower.at(s * size + s)));
  }
  return x;
}
