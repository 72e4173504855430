import { formatShape } from "../graph/index.ts";
import { OptionError, ShapeError } from "../util/errors.ts";
import { ndarray } from "../util/ndarray.ts";
import { checkWhole, refuseUnknown } from "../util/options.ts";
import { logSoftmax } from "./functional.ts";
import { constant, requireRange, type Tensor, where } from "./tensor.ts";

/** A loss: a scalar from a model's output and a target. Any traced function of that form is one. */
export type Loss = (output: Tensor, target: Tensor) => Tensor;

/** Options of the losses on class labels. */
export interface NllOptions {
  /** A weight for each class, 1 by default; the mean is then weighted by them, as in PyTorch. */
  readonly weight?: readonly number[];
  /** A label to leave out of the mean; none by default. */
  readonly ignoreIndex?: number;
}

/**
 * Negative log-likelihood: −Σ w_y output[b, y_b] / Σ w_y.
 * @param output log-probabilities [batch, classes, …].
 * @param target labels [batch, …], whole numbers from 0.
 */
export function nll(output: Tensor, target: Tensor, options: NllOptions = {}): Tensor {
  const { weight, ignoreIndex } = options;
  const classes = output.shape[1];
  if (typeof classes !== "number" || target.node.dtype !== "int" || target.shape.length !== output.shape.length - 1)
    throw new ShapeError(
      `nll: expected output [batch, classes, …] and whole-number targets [batch, …], found ${formatShape(output.shape)} and ${target.node.dtype}${formatShape(target.shape)}`,
    );
  checkOptions(options, classes);
  requireRange("label", target, classes, ignoreIndex);
  const ignored = ignoreIndex === undefined ? undefined : target.eq(ignoreIndex);
  const labels = (ignored ? where(ignored, 0, target) : target).unsqueeze(1);
  const picked = output.gather(1, labels).sum([1]);
  if (!weight && !ignored) return picked.mean().neg();
  const weights = weight ? classWeights(weight, output).gather(1, labels).sum([1]) : 1;
  const used = ignored ? where(ignored, 0, weights) : (weights as Tensor);
  return picked.mul(used).sum().div(used.sum()).neg();
}

/** @throws OptionError */
function checkOptions(options: NllOptions, classes: number): void {
  refuseUnknown("nll", options, ["weight", "ignoreIndex"]);
  const { weight, ignoreIndex } = options;
  if (ignoreIndex !== undefined) checkWhole("nll: ignoreIndex", ignoreIndex);
  if (!weight) return;
  if (weight.length !== classes)
    throw new OptionError(`nll: weight has ${weight.length} entries for ${classes} classes`);
  const odd = weight.find((value) => !(value >= 0 && Number.isFinite(value)));
  if (odd !== undefined) throw new OptionError(`nll: weights must be numbers of at least 0; found ${odd}`);
}

/** The weights of the classes, repeated to the output's shape. */
function classWeights(weight: readonly number[], output: Tensor): Tensor {
  const shape = output.shape.map((_, axis) => (axis === 1 ? weight.length : 1));
  return constant(ndarray(Float64Array.from(weight), shape)).expand(...output.shape);
}

/** Cross-entropy of logits [batch, classes, …] with labels [batch, …]: log-softmax and `nll`. */
export function crossEntropy(output: Tensor, target: Tensor, options: NllOptions = {}): Tensor {
  return nll(logSoftmax(output, 1), target, options);
}

/** Mean squared error over all entries. */
export function mse(output: Tensor, target: Tensor): Tensor {
  return output
    .sub(requireSameShape("mse", output, target))
    .square()
    .mean();
}

/** Mean absolute error over all entries. */
export function l1(output: Tensor, target: Tensor): Tensor {
  return output
    .sub(requireSameShape("l1", output, target))
    .abs()
    .mean();
}

/** Binary cross-entropy of probabilities, the mean over all entries; logarithms are held at −100, as in PyTorch. */
export function bce(output: Tensor, target: Tensor): Tensor {
  requireSameShape("bce", output, target);
  const [yes, no] = [clampedLog(output), clampedLog(output.neg().add(1))];
  return target.mul(yes).add(target.neg().add(1).mul(no)).mean().neg();
}

/**
 * log x, at least −100, where it is constant. The logarithm is taken of 1 there: at 0 its derivative is infinite, and times
 * the zero of the choice that would be NaN. A negative x is no probability, and gives NaN.
 */
function clampedLog(x: Tensor): Tensor {
  const regular = x.abs().gt(Math.exp(-100));
  return where(regular, where(regular, x, 1).log(), -100);
}

/** Binary cross-entropy of logits: the mean of log(1 + eˣ) − x y over all entries. */
export function bceWithLogits(output: Tensor, target: Tensor): Tensor {
  requireSameShape("bceWithLogits", output, target);
  return output.softplus().sub(output.mul(target)).mean();
}

function requireSameShape(loss: string, output: Tensor, target: Tensor): Tensor {
  const [expected, found] = [formatShape(output.shape), formatShape(target.shape)];
  if (expected !== found || target.node.dtype !== "float")
    throw new ShapeError(
      `${loss}: expected real targets of the output's shape ${expected}, found ${target.node.dtype}${found}`,
    );
  return target;
}
