import { models } from "../../src/index.ts";
import { Linear, losses, Module, type Tensor } from "../../src/nn/index.ts";
import type { Batch } from "../../src/util/ndarray.ts";
import { Random } from "../../src/util/random.ts";

/** A small perceptron with log-softmax, the same for the same seed. */
export function classifier(seed = 1): Module {
  return models.perceptron({ layers: [5, 4, 3], seed, sigmaB: 0.3 });
}

/** A batch of `samples` points in 5 dimensions with labels 0 to 2. */
export function labelled(samples: number, seed = 1): Batch {
  const random = new Random(seed);
  return {
    x: { shape: [samples, 5], data: Float64Array.from({ length: samples * 5 }, () => random.normal()) },
    y: { shape: [samples], data: Int32Array.from({ length: samples }, () => random.below(3)) },
  };
}

/** A bias ahead of the removal of the mean over the batch: it has no effect on the loss. */
export class CenteredModel extends Module {
  readonly first: Linear;
  readonly last: Linear = new Linear(4, 3);

  constructor(bias: boolean) {
    super();
    this.first = new Linear(5, 4, { bias });
  }

  override forward(x: Tensor): Tensor {
    const z = this.first.forward(x);
    return this.last.forward(z.sub(z.mean([0], true)).tanh());
  }
}

/** Mean squared error against fixed targets that the labels stand for. */
export const labelLoss = (output: Tensor, target: Tensor): Tensor => losses.crossEntropy(output, target);
