import { checkWhole } from "../util/options.ts";
import { linear } from "./functional.ts";
import { uniform } from "./init.ts";
import { Module, Parameter } from "./module.ts";
import type { Tensor } from "./tensor.ts";

/** x Wᵀ + b. `weight` is [out, in], `bias` [out]; both start uniform on ±1/√in, as in PyTorch. */
export class Linear extends Module {
  readonly weight: Parameter;
  readonly bias?: Parameter;

  constructor(inFeatures: number, outFeatures: number, options: { readonly bias?: boolean } = {}) {
    super();
    checkWhole("inFeatures", inFeatures, 1);
    checkWhole("outFeatures", outFeatures, 1);
    const b = 1 / Math.sqrt(inFeatures);
    this.weight = new Parameter(uniform([outFeatures, inFeatures], { a: -b, b }));
    if (options.bias ?? true) this.bias = new Parameter(uniform([outFeatures], { a: -b, b }));
  }

  override forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }
}

/** Modules one after the other, named by their index; it can be gone through like a list of them. */
export class Sequential extends Module implements Iterable<Module> {
  readonly #layers: readonly Module[];

  constructor(...layers: Module[]) {
    super();
    this.#layers = layers;
    Object.assign(this, layers);
  }

  [Symbol.iterator](): Iterator<Module> {
    return this.#layers.values();
  }

  override forward(x: Tensor): Tensor {
    return this.#layers.reduce((value, layer) => layer.forward(value), x);
  }
}

/** A function of a tensor as a module, such as an activation between the layers of a `Sequential`. */
export class Lambda extends Module {
  readonly #f: (x: Tensor) => Tensor;

  constructor(f: (x: Tensor) => Tensor) {
    super();
    this.#f = f;
  }

  override forward(x: Tensor): Tensor {
    return this.#f(x);
  }
}
