import { formatShape } from "../graph/index.ts";
import * as ops from "../ops/index.ts";
import { OptionError, ShapeError } from "../util/errors.ts";
import { checkWhole } from "../util/options.ts";
import { currentTrace, randomMask, Tensor, where } from "./tensor.ts";

/** x Wᵀ + b, with W of shape [out, in]. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const product = x.matmul(weight.t());
  return bias ? product.add(bias) : product;
}

/**
 * The rows of a table that whole numbers name: an index of any shape [i…] and a weight [rows, width] give [i…, width].
 * @param paddingIdx a row that look-ups give no derivative; a negative one is counted from the end; none by default.
 * @throws ShapeError, OptionError; DataError where the model is run on a batch with an index outside [0, rows).
 */
export function embedding(index: Tensor, weight: Tensor, paddingIdx?: number): Tensor {
  const [rows, width] = weight.shape;
  if (index.node.dtype !== "int" || typeof rows !== "number" || width === undefined || weight.shape.length !== 2)
    throw new ShapeError(
      `embedding: expected whole-number indices and a weight [rows, width], found ${index.node.dtype}${formatShape(index.shape)} and ${formatShape(weight.shape)}`,
    );
  const found = weight.indexSelect(0, index);
  if (paddingIdx === undefined) return found;
  const padding = index.eq(rowOf("embedding: paddingIdx", paddingIdx, rows)).unsqueeze(-1);
  return where(padding, found.detach(), found);
}

/** A row by its number, which may be counted from the end. @throws OptionError */
export function rowOf(what: string, row: number, rows: number): number {
  checkWhole(what, row, -rows);
  if (row >= rows) throw new OptionError(`${what} must be below ${rows}, the number of rows; found ${row}`);
  return row < 0 ? row + rows : row;
}

/**
 * x Φ(x) with the normal distribution function Φ (Hendrycks & Gimpel, 2016).
 * @param approximate "tanh" for its approximation by a tanh; "none" by default.
 * @throws OptionError
 */
export function gelu(x: Tensor, approximate: "none" | "tanh" = "none"): Tensor {
  if (approximate !== "none" && approximate !== "tanh")
    throw new OptionError(`gelu: approximate is "none" or "tanh"; found ${JSON.stringify(approximate)}`);
  if (approximate === "none") return new Tensor(ops.gelu(currentTrace().builder, x.node));
  return x.mul(oddByTanh(x).add(1).mul(0.5));
}

/** Beyond ±9 the tanh is ±1 to the last place; x is held there, as powers of a larger one might overflow. */
function oddByTanh(x: Tensor): Tensor {
  const held = x.clamp(-9, 9);
  const cubic = held.mul(held.square().mul(0.044715).add(1));
  return cubic.mul(Math.sqrt(2 / Math.PI)).tanh();
}

/** x σ(x), also called swish. */
export function silu(x: Tensor): Tensor {
  return x.mul(x.sigmoid());
}

/** λ x where x > 0, λ α (eˣ − 1) elsewhere, with the constants of Klambauer et al. (2017). */
export function selu(x: Tensor): Tensor {
  const [alpha, lambda] = [1.6732632423543772, 1.0507009873554805];
  return where(x.gt(0), x, x.elu().mul(alpha)).mul(lambda);
}

/** x where x > 0, α (eˣ − 1) elsewhere (Clevert et al., 2016). */
export function elu(x: Tensor, alpha: number = 1): Tensor {
  return alpha === 1 ? x.elu() : where(x.gt(0), x, x.elu().mul(alpha));
}

/** x where x > 0, x times the slope elsewhere. */
export function leakyRelu(x: Tensor, negativeSlope: number = 0.01): Tensor {
  return where(x.gt(0), x, x.mul(negativeSlope));
}

/**
 * x with entries at random set to 0 and the others divided by 1 − p; x itself where the model isn't trained.
 * @param p the probability of 0.
 * @param training a module says `this.training`.
 * @throws OptionError
 */
export function dropout(x: Tensor, p: number = 0.5, training: boolean = true): Tensor {
  checkProbability("dropout: p", p);
  return training && p > 0 ? x.mul(randomMask(x.shape, 1 - p)) : x;
}

/** @throws OptionError */
export function checkProbability(name: string, p: number): void {
  if (!(p >= 0 && p <= 1)) throw new OptionError(`${name} must be from 0 to 1; found ${p}`);
}

/** log Σ exp along an axis, which stays with length 1; −∞ where all entries are. */
export function logsumexp(x: Tensor, dim: number): Tensor {
  const top = topOf(x, dim);
  // ∞ − ∞ would be NaN.
  const finite = where(top.abs().eq(Number.POSITIVE_INFINITY), 0, top);
  return x.sub(finite).exp().sum([dim], true).log().add(finite);
}

/** The logarithms of probabilities along an axis. */
export function logSoftmax(x: Tensor, dim: number): Tensor {
  const shifted = shiftedByMax(x, dim);
  return shifted.sub(shifted.exp().sum([dim], true).log());
}

/** Probabilities along an axis. */
export function softmax(x: Tensor, dim: number): Tensor {
  return new Tensor(ops.softmax(currentTrace().builder, x.node, dim));
}

/** A shift by the maximum keeps exp in range and changes no derivative, so the maximum counts as a constant. */
function shiftedByMax(x: Tensor, dim: number): Tensor {
  return x.sub(topOf(x, dim));
}

/** The maximum, as a constant, for a shift of what is summed up then: a NaN is in that sum, whatever the maximum is. */
function topOf(x: Tensor, dim: number): Tensor {
  return new Tensor(ops.max(currentTrace().builder, x.node, dim, { ofNaN: "any" })).detach();
}

/** The activations that models take by name. */
export const activations = {
  identity: (x: Tensor): Tensor => x,
  tanh: (x: Tensor): Tensor => x.tanh(),
  sigmoid: (x: Tensor): Tensor => x.sigmoid(),
  relu: (x: Tensor): Tensor => x.relu(),
  elu: (x: Tensor): Tensor => x.elu(),
  softplus: (x: Tensor): Tensor => x.softplus(),
  gelu: (x: Tensor): Tensor => gelu(x),
  silu,
  selu,
  leakyRelu: (x: Tensor): Tensor => leakyRelu(x),
};

/** The name of an activation. */
export type Activation = keyof typeof activations;
