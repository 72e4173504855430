import { type BatchNorm1d, type Linear, Module, type Tensor } from "../nn/index.ts";
import { refuseUnknown } from "../util/options.ts";
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

/** How an autoencoder is built. Its activation is "tanh" by default. */
export interface AutoencoderMLPOptions extends Omit<FeedForwardOptions, "scaling"> {
  /** Widths of the input, the encoder's hidden layers and the code; at least two. The decoder has them in reverse. */
  readonly layers: Widths;
  /** As in the other models, or "reference" for the divisors of the reference, in both halves; false by default. */
  readonly scaling?: Scaling;
}

/**
 * An encoder and a decoder of linear layers, with a sigmoid at the end: entries between 0 and 1, in the shape of the input.
 * Parameters are `layers_enc.0.weight`, …, `layers_dec.0.weight`, …, and with
 * `batchNorm` `norms_enc.0.weight`, …, `norms_dec.0.weight`, ….
 */
export class AutoencoderMLP extends Module {
  readonly layers_enc: readonly Linear[];
  readonly layers_dec: readonly Linear[];
  /** Empty without `batchNorm`. */
  readonly norms_enc: readonly BatchNorm1d[];
  readonly norms_dec: readonly BatchNorm1d[];
  readonly #chain: Omit<ChainOptions, "norms">;

  /** @throws OptionError */
  constructor(options: AutoencoderMLPOptions) {
    super();
    refuseUnknown("autoencoderMLP", options, [...FEED_FORWARD, "layers"]);
    const { activation = "tanh", scaling = false, batchNorm = false } = options;
    checkScaling("autoencoderMLP", scaling);
    this.#chain = { activation: activationOf("autoencoderMLP", activation), scaling };
    const widths = readWidths("autoencoderMLP", options.layers, 2);
    this.layers_enc = linearLayers(widths);
    this.layers_dec = linearLayers(widths.toReversed());
    this.norms_enc = batchNorms("autoencoderMLP", widths, batchNorm);
    this.norms_dec = batchNorms("autoencoderMLP", widths.toReversed(), batchNorm);
    initialise("autoencoderMLP", this, options, scaling !== false);
  }

  override fields(): [string, unknown][] {
    return [
      ...inOrder(["layers_enc", this.layers_enc], ["norms_enc", this.norms_enc]),
      ...inOrder(["layers_dec", this.layers_dec], ["norms_dec", this.norms_dec]),
    ];
  }

  override forward(x: Tensor): Tensor {
    const code = linearChain(this.layers_enc, x.flatten(1), { ...this.#chain, norms: this.norms_enc });
    return linearChain(this.layers_dec, code, { ...this.#chain, norms: this.norms_dec })
      .sigmoid()
      .reshape(...x.shape);
  }
}

/** An autoencoder of linear layers; see {@link AutoencoderMLPOptions}. */
export function autoencoderMLP(options: AutoencoderMLPOptions): AutoencoderMLP {
  return new AutoencoderMLP(options);
}
