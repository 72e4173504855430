import { formatShape, sameShape } from "../graph/index.ts";
import { OptionError, ShapeError } from "../util/errors.ts";
import { ndarray } from "../util/ndarray.ts";
import { checkWhole, refuseUnknown } from "../util/options.ts";
import { logSoftmax } from "./functional.ts";
import { constant, requireRange, type Tensor, type TensorLike, where } from "./tensor.ts";

/** A loss: a scalar from a model's output and a target. Any traced function of that form is one. */
export type Loss = (output: Tensor, target: Tensor) => Tensor;

/** Options of the losses on class labels. */
export interface NllOptions {
  /** A weight for each class, 1 by default; the mean is then weighted by them, as in PyTorch. */
  readonly weight?: readonly number[];
  /** A label to leave out of the mean; none by default. */
  readonly ignoreIndex?: number;
}

/** Options of `crossEntropy`. */
export interface CrossEntropyOptions extends NllOptions {
  /** The share of each label that goes to all classes evenly, 0 to 1; 0 by default (Szegedy et al., 2016). */
  readonly labelSmoothing?: number;
}

/**
 * Negative log-likelihood: −Σ w_y output[b, y_b] / Σ w_y.
 * @param output log-probabilities [batch, classes, …].
 * @param target labels [batch, …], whole numbers from 0.
 * @throws ShapeError, OptionError; DataError where the loss is computed of a batch with a label out of range.
 */
export function nll(output: Tensor, target: Tensor, options: NllOptions = {}): Tensor {
  refuseUnknown("nll", options, ["weight", "ignoreIndex"]);
  checkLabels("nll", output, target, options);
  return scoreLabels(output, target, options);
}

/**
 * Cross-entropy of logits [batch, classes, …] with labels [batch, …]: log-softmax and `nll`. With a label smoothing ε the
 * share ε / classes of every class is wanted, whose weights count in the sum, but not in what it is divided by, as in PyTorch.
 * @throws ShapeError, OptionError; DataError where the loss is computed of a batch with a label out of range.
 */
export function crossEntropy(output: Tensor, target: Tensor, options: CrossEntropyOptions = {}): Tensor {
  refuseUnknown("crossEntropy", options, ["weight", "ignoreIndex", "labelSmoothing"]);
  checkLabels("crossEntropy", output, target, options);
  return scoreLabels(logSoftmax(output, 1), target, options);
}

/** @throws ShapeError, OptionError */
function checkLabels(loss: string, output: Tensor, target: Tensor, options: CrossEntropyOptions): void {
  const classes = output.shape[1];
  if (typeof classes !== "number" || target.node.dtype !== "int" || target.shape.length !== output.shape.length - 1)
    throw new ShapeError(
      `${loss}: expected output [batch, classes, …] and whole-number targets [batch, …], found ${formatShape(output.shape)} and ${target.node.dtype}${formatShape(target.shape)}`,
    );
  const { weight, ignoreIndex, labelSmoothing = 0 } = options;
  if (ignoreIndex !== undefined) checkWhole(`${loss}: ignoreIndex`, ignoreIndex);
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1))
    throw new OptionError(`${loss}: labelSmoothing must be a number from 0 to 1; found ${labelSmoothing}`);
  if (weight && weight.length !== classes)
    throw new OptionError(`${loss}: weight has ${weight.length} entries for ${classes} classes`);
  const odd = weight?.find((value) => !(value >= 0 && Number.isFinite(value)));
  if (odd !== undefined) throw new OptionError(`${loss}: weights must be numbers of at least 0; found ${odd}`);
  requireRange("label", target, classes, ignoreIndex);
}

/** −Σ_b ((1 − ε) w_y s[b, y_b] + ε / C Σ_c w_c s[b, c]) / Σ_b w_y, over the samples b whose label is not ignored. */
function scoreLabels(scores: Tensor, target: Tensor, options: CrossEntropyOptions): Tensor {
  const { ignoreIndex, labelSmoothing = 0 } = options;
  const weight = options.weight && classWeights(options.weight, scores);
  const ignored = ignoreIndex === undefined ? undefined : target.eq(ignoreIndex);
  const labels = (ignored ? where(ignored, 0, target) : target).unsqueeze(1);
  const atLabel = (values: Tensor): Tensor => values.gather(1, labels).sum([1]);
  const weights = weight && atLabel(weight);
  let wanted = weights ? atLabel(scores).mul(weights) : atLabel(scores);
  if (labelSmoothing > 0) {
    const all = (weight ? scores.mul(weight) : scores).sum([1]);
    wanted = wanted.mul(1 - labelSmoothing).add(all.mul(labelSmoothing / (scores.shape[1] as number)));
  }
  if (!weights && !ignored) return wanted.mean().neg();
  const counted = ignored ? where(ignored, 0, weights ?? 1) : weights!;
  const kept = ignored ? where(ignored, 0, wanted) : wanted;
  return kept.sum().div(counted.sum()).neg();
}

/** The weights of the classes, repeated to the output's shape. */
function classWeights(weight: readonly number[], output: Tensor): Tensor {
  const shape = output.shape.map((_, axis) => (axis === 1 ? weight.length : 1));
  return constant(ndarray(Float64Array.from(weight), shape)).expand(...output.shape);
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

/** Options of `huber`. */
export interface HuberOptions {
  /** The size of an error from which on the loss grows evenly; 1 by default. */
  readonly delta?: number;
}

/**
 * The mean over all entries of ½ d² where the error d is at most `delta` in size, of δ (|d| − ½ δ) elsewhere (Huber, 1964).
 * @throws ShapeError, OptionError
 */
export function huber(output: Tensor, target: Tensor, options: HuberOptions = {}): Tensor {
  refuseUnknown("huber", options, ["delta"]);
  const { delta = 1 } = options;
  if (!(delta > 0)) throw new OptionError(`huber: delta must be a number above 0; found ${delta}`);
  const error = output.sub(requireSameShape("huber", output, target));
  const held = error.clamp(-delta, delta);
  return held.mul(error.sub(held.mul(0.5))).mean();
}

/** Options of `smoothL1`. */
export interface SmoothL1Options {
  /** The size of an error up to which it counts by its square; 1 by default. */
  readonly beta?: number;
}

/** `huber` over β: the mean absolute error but for a parabola at errors below β. @throws ShapeError, OptionError */
export function smoothL1(output: Tensor, target: Tensor, options: SmoothL1Options = {}): Tensor {
  refuseUnknown("smoothL1", options, ["beta"]);
  const { beta = 1 } = options;
  if (!(beta > 0)) throw new OptionError(`smoothL1: beta must be a number above 0; found ${beta}`);
  return huber(output, requireSameShape("smoothL1", output, target), { delta: beta }).div(beta);
}

/** Options of `bce`. */
export interface BceOptions {
  /** A factor for each entry's loss, of a shape that repeats to the output's; the mean is over all entries none the less. */
  readonly weight?: TensorLike;
}

/** Options of `bceWithLogits`. */
export interface BceWithLogitsOptions extends BceOptions {
  /** A factor for what is wanted to be 1, of a shape that repeats to the output's: a weight for each class, for one. */
  readonly posWeight?: TensorLike;
}

/**
 * Binary cross-entropy of probabilities, the mean over all entries; logarithms are held at −100, as in PyTorch.
 * @throws ShapeError, OptionError
 */
export function bce(output: Tensor, target: Tensor, options: BceOptions = {}): Tensor {
  refuseUnknown("bce", options, ["weight"]);
  requireSameShape("bce", output, target);
  const [yes, no] = [clampedLog(output), clampedLog(output.neg().add(1))];
  const likelihood = target.mul(yes).add(target.neg().add(1).mul(no));
  return times("bce: weight", likelihood, options.weight).mean().neg();
}

/**
 * log x, at least −100, where it is constant. The logarithm is taken of 1 there: at 0 its derivative is infinite, and times
 * the zero of the choice that would be NaN. A negative x is no probability, and gives NaN.
 */
function clampedLog(x: Tensor): Tensor {
  const regular = x.abs().gt(Math.exp(-100));
  return where(regular, where(regular, x, 1).log(), -100);
}

/**
 * Binary cross-entropy of logits: the mean over all entries of (1 − y + p y) log(1 + eˣ) − p y x, with the positive weight p.
 * @throws ShapeError, OptionError
 */
export function bceWithLogits(output: Tensor, target: Tensor, options: BceWithLogitsOptions = {}): Tensor {
  const { weight, posWeight } = options;
  refuseUnknown("bceWithLogits", options, ["weight", "posWeight"]);
  requireSameShape("bceWithLogits", output, target);
  const wanted = times("bceWithLogits: posWeight", target, posWeight);
  const softplus = output.softplus();
  const first = posWeight === undefined ? softplus : softplus.mul(wanted.sub(target).add(1));
  return times("bceWithLogits: weight", first.sub(output.mul(wanted)), weight).mean();
}

/** x multiplied by what an option says, if anything. @throws ShapeError where that does not repeat to x's shape */
function times(what: string, x: Tensor, factor: TensorLike | undefined): Tensor {
  if (factor === undefined) return x;
  const product = x.mul(factor);
  if (!sameShape(product.shape, x.shape))
    throw new ShapeError(
      `${what}: expected a shape that repeats to ${formatShape(x.shape)}, found one that gives ${formatShape(product.shape)}`,
    );
  return product;
}

function requireSameShape(loss: string, output: Tensor, target: Tensor): Tensor {
  const [expected, found] = [formatShape(output.shape), formatShape(target.shape)];
  if (expected !== found || target.node.dtype !== "float")
    throw new ShapeError(
      `${loss}: expected real targets of the output's shape ${expected}, found ${target.node.dtype}${found}`,
    );
  return target;
}
