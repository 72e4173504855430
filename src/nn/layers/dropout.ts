import { checkProbability, dropout } from "../functional.ts";
import { Module } from "../module.ts";
import type { Tensor } from "../tensor.ts";

/**
 * In training mode entries become 0 with the probability p, and the others are divided by 1 − p (Srivastava et al., 2014). The
 * mask is drawn anew for each batch, from the seed of whatever runs the model.
 */
export class Dropout extends Module {
  readonly #p: number;

  /**
   * @param p 0.5 by default.
   * @throws OptionError
   */
  constructor(p: number = 0.5) {
    super();
    checkProbability("Dropout: p", p);
    this.#p = p;
  }

  override forward(x: Tensor): Tensor {
    return dropout(x, this.#p, this.training);
  }
}
