import { type Activation, activations, Conv2d, init, Linear, type Module, type Tensor } from "../nn/index.ts";
import { OptionError } from "../util/errors.ts";
import { sizeOf } from "../util/ndarray.ts";
import { checkBoolean, checkNonNegative, checkOneOf, checkWhole } from "../util/options.ts";
import { Random } from "../util/random.ts";

const SAMPLERS = ["normal", "uniform"] as const;

/** How the paper's models start. */
export interface InitialOptions {
  /** Weights start with the variance sigmaW² / fan-in; 1 by default. */
  readonly sigmaW?: number;
  /** Biases start as N(0, sigmaB²); 0 by default. */
  readonly sigmaB?: number;
  /** The distribution of the initial weights; "normal" by default. */
  readonly sampler?: (typeof SAMPLERS)[number];
  /** Whether the first layer's weights start normal although `sampler` is another; false by default. */
  readonly firstLayerNormal?: boolean;
  /** Of the initial values; 0 by default. */
  readonly seed?: number;
}

/** What the paper's models have in common. */
export interface FeedForwardOptions extends InitialOptions {
  /** What follows each layer but the last; every model has its own default. */
  readonly activation?: Activation;
  /**
   * Whether every layer divides its input by the square root of its fan-in, where weights start with the variance sigmaW²
   * (Jacot et al., 2018): at first the same function, with learning rates that do not depend on the width; false by default.
   */
  readonly scaling?: boolean;
  /** Whether batch normalisation stands between each layer, the output's apart, and its activation; false by default. */
  readonly batchNorm?: boolean;
}

/** The names of the options above. */
export const FEED_FORWARD = [
  "activation",
  "scaling",
  "sigmaW",
  "sigmaB",
  "sampler",
  "firstLayerNormal",
  "seed",
  "batchNorm",
] as const;

/** A layer with a weight [out, in, …]. */
type Weighted = Linear | Conv2d;

/** @throws OptionError */
export function activationOf(where: string, name: Activation): (x: Tensor) => Tensor {
  checkOneOf(`${where}: activation`, name, Object.keys(activations));
  return activations[name];
}

/**
 * Draws all weights and biases of a model's layers, one layer after the other.
 * @param scaling whether the layers divide by the root of their fan-in themselves.
 * @throws OptionError
 */
export function initialise(where: string, model: Module, options: InitialOptions, scaling: boolean): void {
  const { sigmaW = 1, sigmaB = 0, sampler = "normal", firstLayerNormal = false, seed = 0 } = options;
  for (const [name, value] of Object.entries({ sigmaW, sigmaB })) checkNonNegative(`${where}: ${name}`, value);
  checkOneOf(`${where}: sampler`, sampler, SAMPLERS);
  checkBoolean(`${where}: firstLayerNormal`, firstLayerNormal);
  if (firstLayerNormal && sampler === "normal")
    throw new OptionError(`${where}: firstLayerNormal would be ignored with sampler "normal"`);
  checkWhole(`${where}: seed`, seed);
  const random = new Random(seed);
  for (const [i, layer] of model.modules().filter(isWeighted).entries()) {
    const std = scaling ? sigmaW : sigmaW / Math.sqrt(fanIn(layer));
    const distribution = i === 0 && firstLayerNormal ? "normal" : sampler;
    layer.weight.variable.write(draw(distribution, layer.weight.shape, std, random));
    layer.bias?.variable.write(draw("normal", layer.bias.shape, sigmaB, random));
  }
}

function draw(distribution: (typeof SAMPLERS)[number], shape: readonly number[], std: number, random: Random) {
  const b = Math.sqrt(3) * std;
  return distribution === "normal" ? init.normal(shape, { std, random }) : init.uniform(shape, { a: -b, b, random });
}

/** How many inputs each of a layer's outputs has. */
export function fanIn({ weight }: Weighted): number {
  return sizeOf(weight.shape.slice(1));
}

/** A module applied to x, or to x divided by the root of the module's fan-in where it has one. */
export function apply(module: Module, x: Tensor, scaling: boolean): Tensor {
  return module.forward(scaling && isWeighted(module) ? x.div(Math.sqrt(fanIn(module))) : x);
}

function isWeighted(module: Module): module is Weighted {
  return module instanceof Linear || module instanceof Conv2d;
}
