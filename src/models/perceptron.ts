import { type Activation, activations, init, Linear, logSoftmax, Module, type Tensor } from "../nn/index.ts";
import { OptionError } from "../util/errors.ts";
import { checkBoolean, checkWhole, refuseUnknown } from "../util/options.ts";
import { Random } from "../util/random.ts";

/** How a perceptron is built. */
export interface PerceptronOptions {
  /** Widths of the input, the hidden layers and the output; at least two. */
  readonly layers: readonly number[];
  /** Between the layers; "tanh" by default. */
  readonly activation?: Activation;
  /** Whether the output is log-probabilities, by a log-softmax; true by default. */
  readonly classification?: boolean;
  /** Weights start as N(0, sigmaW² / in); 1 by default. */
  readonly sigmaW?: number;
  /** Biases start as N(0, sigmaB²); 0 by default. */
  readonly sigmaB?: number;
  /** Of the initial weights; 0 by default. */
  readonly seed?: number;
}

const OPTIONS = ["layers", "activation", "classification", "sigmaW", "sigmaB", "seed"];

/** Linear layers with an activation between them; inputs are flattened. Parameters are `layers.0.weight`, …. */
export class Perceptron extends Module {
  readonly layers: readonly Linear[];
  readonly #activation: (x: Tensor) => Tensor;
  readonly #classification: boolean;

  /** @throws OptionError */
  constructor(options: PerceptronOptions) {
    super();
    refuseUnknown("perceptron", options, OPTIONS);
    const { layers, activation = "tanh", classification = true, sigmaW = 1, sigmaB = 0, seed = 0 } = options;
    if (!Array.isArray(layers) || layers.length < 2)
      throw new OptionError(`perceptron: layers needs at least two widths, found [${layers}]`);
    for (const width of layers) checkWhole("perceptron: a width in layers", width, 1);
    if (!Object.hasOwn(activations, activation))
      throw new OptionError(
        `perceptron: unknown activation "${activation}"; it is one of ${Object.keys(activations).join(", ")}`,
      );
    checkBoolean("perceptron: classification", classification);
    for (const [name, value] of Object.entries({ sigmaW, sigmaB }))
      if (!(value >= 0 && Number.isFinite(value)))
        throw new OptionError(`perceptron: ${name} must be a number of at least 0; found ${value}`);
    checkWhole("seed", seed);
    const random = new Random(seed);
    this.layers = layers.slice(1).map((outFeatures, i) => {
      const inFeatures = layers[i]!;
      const layer = new Linear(inFeatures, outFeatures);
      layer.weight.variable.write(
        init.normal([outFeatures, inFeatures], { std: sigmaW / Math.sqrt(inFeatures), random }),
      );
      layer.bias!.variable.write(init.normal([outFeatures], { std: sigmaB, random }));
      return layer;
    });
    this.#activation = activations[activation];
    this.#classification = classification;
  }

  override forward(x: Tensor): Tensor {
    const output = this.layers.reduce(
      (value, layer, i) => layer.forward(i === 0 ? value : this.#activation(value)),
      x.flatten(1),
    );
    return this.#classification ? logSoftmax(output, 1) : output;
  }
}

/** A perceptron; see {@link PerceptronOptions}. */
export function perceptron(options: PerceptronOptions): Perceptron {
  return new Perceptron(options);
}
