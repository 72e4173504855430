import type { Node } from "../graph/index.ts";
import type { ConvAttrs, ConvInputAttrs, ConvWeightAttrs } from "../ops/index.ts";
import { sizeOf } from "../util/ndarray.ts";
import type { Lower, Lowering } from "./lowering.ts";
import {
  type Convolution,
  convByTaps,
  convByWindows,
  spatial,
  weightByTaps,
  weightByWindows,
  windowAttributes,
} from "./windows.ts";

/** Channels from which on matrix products over channels alone are worth while. */
const WIDE = 16;

/** Up to so many places in an image, the engine's convolution, which goes image by image, has too little to do in each. */
const FEW_PLACES = 16;

export const conv: Lower<ConvAttrs> = (to, { attrs, inputs, shape }, [x, w]) => {
  const [outputs, perGroup, ...kernel] = inputs[1]!.shape as number[];
  const places = shape.slice(2) as number[];
  const channels = perGroup! * attrs.groups;
  return convolution(to, { window: attrs, groups: attrs.groups, channels, outputs: outputs!, kernel, places }, x!, w!);
};

export const convInput: Lower<ConvInputAttrs> = (to, node, [z, w]) => {
  const [outputs, channels, ...kernel] = node.inputs[1]!.shape as number[];
  const { attrs } = node;
  const asConv =
    attrs.groups === 1 &&
    Math.min(outputs!, channels!) >= WIDE &&
    attrs.stride.every((step) => step === 1) &&
    kernel.every((length, i) => Math.max(attrs.before[i]!, attrs.after[i]!) <= attrs.dilation[i]! * (length - 1));
  if (asConv || to.precision === "float64") return turnedConv(to, node, z!, w!);
  return convTranspose(to, node, z!, w!);
};

export const convWeight: Lower<ConvWeightAttrs> = (to, { attrs, inputs: [images, results], shape }, [x, z]) => {
  const { groups, kernel } = attrs;
  const channels = images!.shape[1] as number;
  const form = { window: attrs, groups, channels, outputs: shape[0] as number, kernel, places: spatial(results!) };
  return groups === 1 && channels >= WIDE ? weightByTaps(to, form, x!, z!) : weightByWindows(to, form, x!, z!);
};

/**
 * https://onnx.ai/onnx/operators/onnx__Conv.html
 * @param w weights [O, C / groups, …kernel], or where the kernel is taken backwards, [C, O / groups, …kernel].
 */
function convolution(to: Lowering, form: Convolution, x: string, w: string): string {
  const { window, groups, channels, places, backwards } = form;
  if (groups === 1 && channels >= WIDE && sizeOf(places) <= FEW_PLACES) return convByTaps(to, form, x, w);
  const weights = backwards ? exchanged(to, form, w) : w;
  if (to.precision === "float64") return convByWindows(to, form, x, weights);
  const kernels = backwards ? turned(to, form, weights) : weights;
  return to.emit("Conv", [x, kernels], { ...windowAttributes(window), group: groups });
}

/** https://onnx.ai/onnx/operators/onnx__ConvTranspose.html */
function convTranspose(to: Lowering, { attrs, inputs }: Node<ConvInputAttrs>, z: string, w: string): string {
  const [places, kernel] = inputs.map(spatial);
  const rest = attrs.size.map((length, i) => {
    const reached = attrs.stride[i]! * (places![i]! - 1) + attrs.dilation[i]! * (kernel![i]! - 1) + 1;
    return length + attrs.before[i]! + attrs.after[i]! - reached;
  });
  return to.emit("ConvTranspose", [z, w], { ...windowAttributes(attrs), group: attrs.groups, output_padding: rest });
}

/** The transposed convolution as one with stride 1, of results spread out by zeros, by a kernel taken backwards. */
function turnedConv(to: Lowering, { attrs, inputs }: Node<ConvInputAttrs>, z: string, w: string): string {
  const [results, weights] = inputs;
  const { size, stride, before, dilation, groups } = attrs;
  const [outputs, perGroup, ...kernel] = weights!.shape as number[];
  const places = spatial(results!);
  const reach = kernel.map((length, i) => dilation[i]! * (length - 1));
  const ahead = reach.map((length, i) => length - before[i]!);
  const behind = size.map((length, i) => length + reach[i]! - places[i]! * stride[i]! - ahead[i]!);
  const form = {
    window: { stride: stride.map(() => 1), before: ahead, after: behind, dilation },
    groups,
    channels: outputs!,
    outputs: perGroup! * groups,
    kernel,
    places: size,
    backwards: true,
  };
  return convolution(to, form, spreadOut(to, results!, z, stride), w);
}

/** Images with stride − 1 zeros after each entry. */
function spreadOut(to: Lowering, { shape }: Node, z: string, stride: readonly number[]): string {
  if (stride.every((step) => step === 1)) return z;
  const [channels, ...places] = shape.slice(1) as number[];
  const apart = places.flatMap((count) => [count, 1]);
  const ends = stride.flatMap((step) => [0, step - 1]);
  const single = to.emit("Reshape", [z, to.ints([0, channels!, ...apart])]);
  const wide = to.emit("Pad", [single, to.ints([0, 0, ...apart.map(() => 0), 0, 0, ...ends])]);
  return to.emit("Reshape", [wide, to.ints([0, channels!, ...places.map((count, i) => count * stride[i]!)])]);
}

/** Weights [C, O / groups, …kernel] as [O, C / groups, …kernel]. */
function exchanged(to: Lowering, { groups, channels, outputs, kernel }: Convolution, w: string): string {
  const byGroup = to.emit("Reshape", [w, to.ints([groups, channels / groups, outputs / groups, ...kernel])]);
  const swapped = to.emit("Transpose", [byGroup], { perm: [0, 2, 1, ...kernel.map((_, i) => i + 3)] });
  return to.emit("Reshape", [swapped, to.ints([outputs, channels / groups, ...kernel])]);
}

/** Weights with the kernel turned round. */
function turned(to: Lowering, { kernel }: Convolution, w: string): string {
  const all = (value: number): string => to.ints(kernel.map(() => value));
  return to.emit("Slice", [w, all(-1), all(Number.MIN_SAFE_INTEGER), to.ints(kernel.map((_, i) => i + 2)), all(-1)]);
}
