import { type BatchNorm1d, type Linear, logSoftmax, Module, type Tensor } from "../nn/index.ts";
import { checkBoolean, refuseUnknown } from "../util/options.ts";
import { activationOf, FEED_FORWARD, type FeedForwardOptions, initialise } from "./feed-forward.ts";
import {
  batchNorms,
  type ChainOptions,
  checkScaling,
  inOrder,
  linearChain,
  linearLayers,
  type Scaling,
} from "./linear-chain.ts";
import { readWidths, type Widths } from "./widths.ts";

/** How a perceptron is built. Its activation is "tanh" by default. */
export interface PerceptronOptions extends Omit<FeedForwardOptions, "scaling"> {
  /** Widths of the input, the hidden layers and the output; at least two. */
  readonly layers: Widths;
  /** As in the other models, or "reference" for the divisors of the reference; false by default. */
  readonly scaling?: Scaling;
  /** Whether the output is log-probabilities, by a log-softmax; true by default. */
  readonly classification?: boolean;
}

/** Linear layers with an activation between them; inputs are flattened. Parameters are `layers.0.weight`, …, and
 * with `batchNorm` `norms.0.weight`, …. */
export class Perceptron extends Module {
  readonly layers: readonly Linear[];
  /** Empty without `batchNorm`. */
  readonly norms: readonly BatchNorm1d[];
  readonly #chain: ChainOptions;
  readonly #classification: boolean;

  /** @throws OptionError */
  constructor(options: PerceptronOptions) {
    super();
    refuseUnknown("perceptron", options, [...FEED_FORWARD, "layers", "classification"]);
    const { activation = "tanh", scaling = false, batchNorm = false, classification = true } = options;
    checkScaling("perceptron", scaling);
    checkBoolean("perceptron: classification", classification);
    const widths = readWidths("perceptron", options.layers, 2);
    this.layers = linearLayers(widths);
    this.norms = batchNorms("perceptron", widths, batchNorm);
    this.#chain = { activation: activationOf("perceptron", activation), scaling, norms: this.norms };
    this.#classification = classification;
    initialise("perceptron", this, options, scaling !== false);
  }

  override fields(): [string, unknown][] {
    return inOrder(["layers", this.layers], ["norms", this.norms]);
  }

  override forward(x: Tensor): Tensor {
    const output = linearChain(this.layers, x.flatten(1), this.#chain);
    return this.#classification ? logSoftmax(output, 1) : output;
  }
}

/** A perceptron; see {@link PerceptronOptions}. */
export function perceptron(options: PerceptronOptions): Perceptron {
  return new Perceptron(options);
}
