import { NonFiniteError, OptionError, ShapeError } from "../util/errors.ts";

/** The cubic model −gᵀη + ½ ηᵀHη + (dampingInt / 6) ‖Dη‖³ over S groups. */
export interface CubicProblem {
  /** Summary Hessian, [S, S] row-major, symmetric. */
  readonly H: Float64Array;
  /** Summary gradient, [S]. */
  readonly g: Float64Array;
  /** Diagonal scaling |order3|^(1/3), [S], nothing negative. */
  readonly D: Float64Array;
  /** λ_int, the strength of the regularisation, at least 0. */
  readonly dampingInt: number;
}

/** The system (H + ridge·I) η = g over S groups. */
export interface LinearProblem {
  /** Summary Hessian, [S, S] row-major, symmetric. */
  readonly H: Float64Array;
  /** Summary gradient, [S]. */
  readonly g: Float64Array;
  /** Added to the diagonal of H, at least 0; 0 if absent. */
  readonly ridge?: number;
}

/** H[s, t] and H[t, s] may differ by this fraction of their rows: rounding in float32, and no more. */
const SYMMETRY_TOLERANCE = 1e-4;

/** Checks a cubic problem; the copy that it returns has H symmetric to the last bit. */
export function checkedCubic({ H, g, D, dampingInt }: CubicProblem): CubicProblem {
  const symmetric = checkedSystem(H, g);
  checkArray("D", D);
  checkLength("D", D, g.length);
  checkFinite("D", D);
  const negative = D.findIndex((entry) => entry < 0);
  if (negative >= 0) throw new OptionError(`D[${negative}] must be at least 0, found ${D[negative]}`);
  checkStrength("dampingInt", dampingInt);
  return { H: symmetric, g, D, dampingInt };
}

/** Checks a linear problem; the copy that it returns has H symmetric to the last bit. */
export function checkedLinear({ H, g, ridge = 0 }: LinearProblem): Required<LinearProblem> {
  const symmetric = checkedSystem(H, g);
  checkStrength("ridge", ridge);
  return { H: symmetric, g, ridge };
}

function checkedSystem(H: Float64Array, g: Float64Array): Float64Array {
  checkFinite("g", g);
  const size = g.length;
  checkArray("H", H);
  if (H.length !== size * size)
    throw new ShapeError(`H must be [${size}, ${size}] to go with g of ${size} entries, found ${H.length} entries`);
  const bad = H.findIndex((entry) => !Number.isFinite(entry));
  if (bad >= 0) throw new NonFiniteError(`H[${Math.floor(bad / size)}, ${bad % size}] is ${H[bad]}`);
  return symmetrised(H, size);
}

function symmetrised(H: Float64Array, size: number): Float64Array {
  const out = H.slice();
  const rows = Float64Array.from({ length: size }, (_, s) =>
    H.subarray(s * size, (s + 1) * size).reduce((most, entry) => Math.max(most, Math.abs(entry)), 0),
  );
  for (let s = 0; s < size; s++)
    for (let t = 0; t < s; t++) {
      const below = H[s * size + t]!;
      const above = H[t * size + s]!;
      if (Math.abs(below / 2 - above / 2) > SYMMETRY_TOLERANCE * Math.sqrt(rows[s]!) * Math.sqrt(rows[t]!))
        throw new OptionError(`H must be symmetric, found H[${s}, ${t}] = ${below} but H[${t}, ${s}] = ${above}`);
      out[s * size + t] = out[t * size + s] = below / 2 + above / 2;
    }
  return out;
}

function checkArray(name: string, values: unknown): void {
  if (!(values instanceof Float64Array))
    throw new OptionError(
      `${name} must be a Float64Array; found ${Array.isArray(values) ? "an array" : typeof values}`,
    );
}

function checkLength(name: string, values: Float64Array, size: number): void {
  if (values.length !== size)
    throw new ShapeError(`${name} must have ${size} entries to go with g, found ${values.length}`);
}

function checkFinite(name: string, values: Float64Array): void {
  checkArray(name, values);
  const bad = values.findIndex((entry) => !Number.isFinite(entry));
  if (bad >= 0) throw new NonFiniteError(`${name}[${bad}] is ${values[bad]}`);
}

function checkStrength(name: string, value: number): void {
  if (!Number.isFinite(value)) throw new NonFiniteError(`${name} is ${value}`);
  if (value < 0) throw new OptionError(`${name} must be at least 0, found ${value}`);
}
