import { type Builder, countOf, type Node, sameShape } from "../../graph/index.ts";
import { constant, type Loss, losses, softmax, Tensor, traceApart, where } from "../../nn/index.ts";
import { input } from "../../ops/index.ts";
import { OptionError } from "../../util/errors.ts";
import { ndarray } from "../../util/ndarray.ts";

/** The input of random numbers, uniform on [0, 1), that targets are drawn with. */
export const NOISE = "noise";

type Draw = (output: Tensor, noise: Tensor) => Tensor;

const bernoulli = (probability: Tensor, noise: Tensor): Tensor => noise.lt(probability).float();

/**
 * Real targets by the loss that tells their distribution. A mean of squared errors over d entries for each sample is
 * −log N(output, d/2) but for a constant; the sign of the error alone is random, which gives the same second moments.
 */
const REAL_TARGETS = new Map<Loss, Draw>([
  [
    losses.mse,
    (output, noise) => {
      const deviation = Math.sqrt(countOf(output.shape).factor / 2);
      return output.detach().add(where(noise.lt(0.5), -deviation, deviation));
    },
  ],
  [losses.bce, bernoulli],
  [losses.bceWithLogits, (output, noise) => bernoulli(output.sigmoid(), noise)],
]);

/** Classes along axis 1 with the probabilities of a softmax of the output; labels that are no class stay as they are. */
function categorical(output: Tensor, noise: Tensor, labels: Tensor): Tensor {
  const classes = output.shape[1] as number;
  const upTo = softmax(output, 1)
    .slice(1, 0, Math.max(1, classes - 1))
    .cumsum(1);
  const one = constant(ndarray(Int32Array.of(1), []));
  const drawn = where(noise.unsqueeze(1).ge(upTo), one, 0).sum([1]);
  return where(labels.lt(0), labels, where(labels.ge(classes), labels, drawn));
}

/**
 * Targets drawn from the distribution that the model's output and the loss stand for, with `NOISE`, which has their shape.
 * @throws OptionError where there is none that is known
 */
export function sampledTargets(b: Builder, loss: Loss, output: Node, target: Node): Node {
  return traceApart(b, () => {
    const [found, given] = [new Tensor(output), new Tensor(target)];
    const noise = new Tensor(input(b, NOISE, target.shape));
    if (target.dtype === "int" && sameShape(target.shape, output.shape.toSpliced(1, 1)))
      return categorical(found, noise, given).node;
    const draw = REAL_TARGETS.get(loss);
    if (draw && target.dtype === "float") return draw(found, noise).node;
    throw new OptionError(
      'KFAC: targets can be drawn from the model\'s distribution where they are labels of classes along axis 1, or for the losses mse, bce and bceWithLogits; for others set fisher: "empirical"',
    );
  });
}
