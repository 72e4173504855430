import type { Size } from "../conv.ts";
import { Module } from "../module.ts";
import {
  type AvgPoolOptions,
  adaptiveAvgPool2d,
  adaptiveMaxPool2d,
  avgPool1d,
  avgPool2d,
  type MaxPoolOptions,
  maxPool1d,
  maxPool2d,
} from "../pool.ts";
import type { Tensor } from "../tensor.ts";

/** Maxima of windows along one axis; see `maxPool1d`. */
export class MaxPool1d extends Module {
  readonly #kernelSize: Size;
  readonly #options: MaxPoolOptions;

  constructor(kernelSize: Size, options: MaxPoolOptions = {}) {
    super();
    this.#kernelSize = kernelSize;
    this.#options = options;
  }

  override forward(x: Tensor): Tensor {
    return maxPool1d(x, this.#kernelSize, this.#options);
  }
}

/** Maxima of windows over two axes; see `maxPool2d`. */
export class MaxPool2d extends Module {
  readonly #kernelSize: Size;
  readonly #options: MaxPoolOptions;

  constructor(kernelSize: Size, options: MaxPoolOptions = {}) {
    super();
    this.#kernelSize = kernelSize;
    this.#options = options;
  }

  override forward(x: Tensor): Tensor {
    return maxPool2d(x, this.#kernelSize, this.#options);
  }
}

/** Means of windows along one axis; see `avgPool1d`. */
export class AvgPool1d extends Module {
  readonly #kernelSize: Size;
  readonly #options: AvgPoolOptions;

  constructor(kernelSize: Size, options: AvgPoolOptions = {}) {
    super();
    this.#kernelSize = kernelSize;
    this.#options = options;
  }

  override forward(x: Tensor): Tensor {
    return avgPool1d(x, this.#kernelSize, this.#options);
  }
}

/** Means of windows over two axes; see `avgPool2d`. */
export class AvgPool2d extends Module {
  readonly #kernelSize: Size;
  readonly #options: AvgPoolOptions;

  constructor(kernelSize: Size, options: AvgPoolOptions = {}) {
    super();
    this.#kernelSize = kernelSize;
    this.#options = options;
  }

  override forward(x: Tensor): Tensor {
    return avgPool2d(x, this.#kernelSize, this.#options);
  }
}

/** Means that make images of one size; see `adaptiveAvgPool2d`. */
export class AdaptiveAvgPool2d extends Module {
  readonly #outputSize: Size;

  constructor(outputSize: Size) {
    super();
    this.#outputSize = outputSize;
  }

  override forward(x: Tensor): Tensor {
    return adaptiveAvgPool2d(x, this.#outputSize);
  }
}

/** Maxima that make images of one size; see `adaptiveMaxPool2d`. */
export class AdaptiveMaxPool2d extends Module {
  readonly #outputSize: Size;

  constructor(outputSize: Size) {
    super();
    this.#outputSize = outputSize;
  }

  override forward(x: Tensor): Tensor {
    return adaptiveMaxPool2d(x, this.#outputSize);
  }
}
