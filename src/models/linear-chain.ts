import { BatchNorm1d, init, Linear, type Module, type Tensor } from "../nn/index.ts";
import { checkBoolean, checkOneOf } from "../util/options.ts";
import { fanIn } from "./feed-forward.ts";

/**
 * How linear layers divide their inputs: not at all, by the root of their fan-in, or as the reference does, which divides
 * before the last layer by the root of the fan-in of the layer before it.
 */
export type Scaling = boolean | "reference";

/** @throws OptionError */
export function checkScaling(where: string, scaling: unknown): asserts scaling is Scaling {
  checkOneOf(`${where}: scaling`, scaling, [true, false, "reference"]);
}

/** Linear layers of these widths, input first; the model gives their parameters values. */
export function linearLayers(widths: readonly number[]): Linear[] {
  return init.skipInit(() => widths.slice(1).map((outFeatures, i) => new Linear(widths[i]!, outFeatures)));
}

/** Batch normalisation after each layer but the last, for layers of these widths; none unless it is wanted. */
export function batchNorms(where: string, widths: readonly number[], wanted: boolean): BatchNorm1d[] {
  checkBoolean(`${where}: batchNorm`, wanted);
  return wanted ? widths.slice(1, -1).map((width) => new BatchNorm1d(width)) : [];
}

/** Layers and what follows each, by name and in the order in which they work, so that partitions cut them along it. */
export function inOrder(
  layers: readonly [name: string, modules: readonly Module[]],
  norms: readonly [name: string, modules: readonly Module[]],
): [string, Module][] {
  return layers[1].flatMap((layer, i) => {
    const norm = norms[1][i];
    const named: [string, Module] = [`${layers[0]}.${i}`, layer];
    return norm ? [named, [`${norms[0]}.${i}`, norm]] : [named];
  });
}

/** What lies between linear layers. */
export interface ChainOptions {
  readonly activation: (x: Tensor) => Tensor;
  readonly scaling: Scaling;
  /** What follows each layer but the last, ahead of the activation, if anything does. */
  readonly norms: readonly Module[];
}

/** Linear layers with an activation between them. */
export function linearChain(layers: readonly Linear[], x: Tensor, options: ChainOptions): Tensor {
  const { activation, scaling, norms } = options;
  return layers.reduce((value, layer, i) => {
    const divisor = fanIn(layers[scaling === "reference" && i === layers.length - 1 && i > 0 ? i - 1 : i]!);
    const output = layer.forward(scaling === false ? value : value.div(Math.sqrt(divisor)));
    return i === layers.length - 1 ? output : activation(norms[i]?.forward(output) ?? output);
  }, x);
}
