import type { Tensor } from "./tensor.ts";

/** x Wᵀ + b, with W of shape [out, in]. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const product = x.matmul(weight.t());
  return bias ? product.add(bias) : product;
}

/** log Σ exp along an axis, which stays with length 1. */
export function logsumexp(x: Tensor, dim: number): Tensor {
  const { shifted, top } = shiftedByMax(x, dim);
  return shifted.exp().sum([dim], true).log().add(top);
}

/** The logarithms of probabilities along an axis. */
export function logSoftmax(x: Tensor, dim: number): Tensor {
  const { shifted } = shiftedByMax(x, dim);
  return shifted.sub(shifted.exp().sum([dim], true).log());
}

/** Probabilities along an axis. */
export function softmax(x: Tensor, dim: number): Tensor {
  const { shifted } = shiftedByMax(x, dim);
  const e = shifted.exp();
  return e.div(e.sum([dim], true));
}

/** A shift by the maximum keeps exp in range and changes no derivative, so the maximum counts as a constant. */
function shiftedByMax(x: Tensor, dim: number): { shifted: Tensor; top: Tensor } {
  const top = x.max(dim, true).detach();
  return { shifted: x.sub(top), top };
}

/** The activations that models take by name. */
export const activations = {
  identity: (x: Tensor): Tensor => x,
  tanh: (x: Tensor): Tensor => x.tanh(),
  sigmoid: (x: Tensor): Tensor => x.sigmoid(),
  relu: (x: Tensor): Tensor => x.relu(),
  elu: (x: Tensor): Tensor => x.elu(),
  softplus: (x: Tensor): Tensor => x.softplus(),
};

/** The name of an activation. */
export type Activation = keyof typeof activations;
