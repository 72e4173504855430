import { formatShape, sameShape } from "../../graph/index.ts";
import { OptionError, ShapeError } from "../../util/errors.ts";
import { Module } from "../module.ts";
import type { Tensor } from "../tensor.ts";

/** Modules one after the other, named by their index; it can be gone through like a list of them. */
export class Sequential extends Module implements Iterable<Module> {
  readonly #layers: readonly Module[];

  /** @throws OptionError where a layer is no module */
  constructor(...layers: Module[]) {
    super();
    for (const [i, layer] of layers.entries())
      if (!(layer instanceof Module))
        throw new OptionError(
          `Sequential: layer ${i} must be a module; found ${typeof layer} (Lambda makes one of a function)`,
        );
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

/**
 * What its body gives, added to the input, or to what a shortcut makes of the input where the shapes differ (He et al., 2016).
 */
export class Residual extends Module {
  readonly body: Module;
  readonly shortcut?: Module;

  constructor(body: Module, shortcut?: Module) {
    super();
    this.body = body;
    if (shortcut) this.shortcut = shortcut;
  }

  /** @throws ShapeError where the two shapes differ */
  override forward(x: Tensor): Tensor {
    const [change, kept] = [this.body.forward(x), this.shortcut?.forward(x) ?? x];
    if (!sameShape(change.shape, kept.shape))
      throw new ShapeError(`expected ${formatShape(kept.shape)} from the body, found ${formatShape(change.shape)}`);
    return kept.add(change);
  }
}
