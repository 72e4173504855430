import type { Graph, Node } from "../graph/index.ts";
import type { ConvAttrs, ConvInputAttrs, ConvWeightAttrs } from "../ops/index.ts";
import { OptionError } from "../util/errors.ts";
import { sizeOf } from "../util/ndarray.ts";
import type { Lower, Lowering, Precision } from "./lowering.ts";
import {
  type Convolution,
  convByTaps,
  convByWindows,
  spatial,
  weightByColumns,
  weightByTaps,
  weightByWindows,
  windowAttributes,
} from "./windows.ts";

/** One way to write a primitive. */
interface Form<A> {
  /** Whether it can be written so. */
  readonly fits: (node: Node<A>, precision: Precision) => boolean;
  readonly write: Lower<A>;
}

/** The ways to write a primitive that are each the fastest for some shape and processor. */
interface Forms<A> {
  readonly forms: Readonly<Record<string, Form<A>>>;
  /** The form where none was chosen by measuring. */
  readonly rule: (node: Node<A>, precision: Precision) => string;
}

/** Channels from which on matrix products over channels alone are worth while. */
const WIDE = 16;

/** From so many outputs on for each entry of a kernel, it pays to gather what the entries meet. */
const MANY_OUTPUTS = 4;

/** Up to so many places in an image, the engine's convolution, which goes image by image, has too little to do in each. */
const FEW_PLACES = 16;

const ungrouped = ({ attrs }: Node<ConvAttrs>): boolean => attrs.groups === 1;
/** The engine has its own convolutions in float32 only. */
const inSingle = (_: Node, precision: Precision): boolean => precision === "float32";
/** As fast as others nowhere, but right everywhere. */
const inDouble = (_: Node, precision: Precision): boolean => precision === "float64";

const results: Forms<ConvAttrs> = {
  forms: {
    conv: { fits: inSingle, write: (to, node, [x, w]) => engineConv(to, resultsForm(node), x!, w!) },
    taps: { fits: ungrouped, write: (to, node, [x, w]) => convByTaps(to, resultsForm(node), x!, w!) },
    windows: { fits: inDouble, write: (to, node, [x, w]) => convByWindows(to, resultsForm(node), x!, w!) },
  },
  rule: (node, precision) => resultsRule(resultsForm(node), precision),
};

const images: Forms<ConvInputAttrs> = {
  forms: {
    transposed: { fits: inSingle, write: convTranspose },
    "turned conv": {
      fits: (node, precision) => inSingle(node, precision) && isPadded(turnedForm(node)),
      write: turnedBy((to, form, z, w) => engineConv(to, form, z, turned(to, form, exchanged(to, form, w)))),
    },
    "turned taps": { fits: ungrouped, write: turnedBy(convByTaps) },
    "turned windows": {
      fits: inDouble,
      write: turnedBy((to, form, z, w) => convByWindows(to, form, z, exchanged(to, form, w))),
    },
  },
  rule: (node, precision) => {
    const { groups, stride } = node.attrs;
    const form = turnedForm(node);
    const isWide = groups === 1 && Math.min(form.channels, form.outputs) >= WIDE;
    const asConv = isWide && stride.every((step) => step === 1) && isPadded(form);
    return asConv || precision === "float64" ? `turned ${resultsRule(form, precision)}` : "transposed";
  },
};

const weights: Forms<ConvWeightAttrs> = {
  forms: {
    taps: { fits: ungrouped, write: (to, node, [x, z]) => weightByTaps(to, weightsForm(node), x!, z!) },
    windows: { fits: () => true, write: (to, node, [x, z]) => weightByWindows(to, weightsForm(node), x!, z!) },
    exchanged: { fits: (node, precision) => inSingle(node, precision) && ungrouped(node), write: exchangedConv },
    columns: { fits: ungrouped, write: (to, node, [x, z]) => weightByColumns(to, weightsForm(node), x!, z!, 0) },
    rows: {
      fits: (node) => ungrouped(node) && node.attrs.kernel.length > 1,
      write: (to, node, [x, z]) => weightByColumns(to, weightsForm(node), x!, z!, node.attrs.kernel.length - 1),
    },
  },
  rule: (node, precision) => {
    const { channels, outputs, kernel } = weightsForm(node);
    if (!ungrouped(node)) return "windows";
    if (channels >= WIDE) return "taps";
    return precision === "float32" && outputs < MANY_OUTPUTS * sizeOf(kernel) ? "exchanged" : "windows";
  },
};

const table = { conv: results, convInput: images, convWeight: weights } as const;

export const conv = lowerBy(results);
export const convInput = lowerBy(images);
export const convWeight = lowerBy(weights);

function lowerBy<A>({ forms, rule }: Forms<A>): Lower<A> {
  return (to, node, inputs) => {
    const key = keyOf(node);
    const name = to.convolutions[key] ?? rule(node, to.precision);
    const form = Object.hasOwn(forms, name) ? forms[name] : undefined;
    if (!form?.fits(node, to.precision))
      throw new OptionError(`tuning: ${key} cannot be written as "${name}" in ${to.precision}`);
    return form.write(to, node, inputs);
  };
}

/** A convolution that can be written in several ways. */
export interface ConvolutionChoice {
  /** What it is called; all that differ in nothing but the number of samples are the same. */
  readonly key: string;
  readonly node: Node;
  readonly rule: string;
  /** All forms that it can have. */
  readonly forms: readonly string[];
}

/** The convolutions of a graph, each once. */
export function convolutionsOf(graph: Graph, precision: Precision): ConvolutionChoice[] {
  const found = new Map<string, ConvolutionChoice>();
  for (const node of graph.nodes) {
    const entry = table[node.op.name as keyof typeof table] as Forms<unknown> | undefined;
    if (!entry) continue;
    const key = keyOf(node);
    const forms = Object.entries(entry.forms).flatMap(([name, { fits }]) => (fits(node, precision) ? [name] : []));
    if (!found.has(key)) found.set(key, { key, node, rule: entry.rule(node, precision), forms });
  }
  return [...found.values()];
}

/** All that tells a convolution from others but its number of samples. */
function keyOf({ op, inputs, attrs }: Node): string {
  const shapes = inputs.map(({ shape }, i) => (i === 0 || op.name === "convWeight" ? shape.slice(1) : shape).join("x"));
  const window = Object.entries(attrs as ConvAttrs).map(([name, value]) => `${name} ${[value].flat().join("x")}`);
  return [op.name, ...shapes, ...window].join(" ");
}

function resultsForm({ attrs, inputs, shape }: Node<ConvAttrs>): Convolution {
  const [outputs, perGroup, ...kernel] = inputs[1]!.shape as number[];
  const places = shape.slice(2) as number[];
  const channels = perGroup! * attrs.groups;
  return { window: attrs, groups: attrs.groups, channels, outputs: outputs!, kernel, places };
}

function weightsForm({ attrs, inputs: [images, results], shape }: Node<ConvWeightAttrs>): Convolution {
  const { groups, kernel } = attrs;
  const channels = images!.shape[1] as number;
  return { window: attrs, groups, channels, outputs: shape[0] as number, kernel, places: spatial(results!) };
}

function resultsRule({ groups, channels, places }: Convolution, precision: Precision): string {
  if (groups === 1 && channels >= WIDE && sizeOf(places) <= FEW_PLACES) return "taps";
  return precision === "float64" ? "windows" : "conv";
}

/** https://onnx.ai/onnx/operators/onnx__Conv.html */
function engineConv(to: Lowering, { window, groups }: Convolution, x: string, w: string): string {
  return to.emit("Conv", [x, w], { ...windowAttributes(window), group: groups });
}

/** https://onnx.ai/onnx/operators/onnx__ConvTranspose.html */
function convTranspose(to: Lowering, { attrs, inputs }: Node<ConvInputAttrs>, [z, w]: readonly string[]): string {
  const [places, kernel] = inputs.map(spatial);
  const rest = attrs.size.map((length, i) => {
    const reached = attrs.stride[i]! * (places![i]! - 1) + attrs.dilation[i]! * (kernel![i]! - 1) + 1;
    return length + attrs.before[i]! + attrs.after[i]! - reached;
  });
  return to.emit("ConvTranspose", [z!, w!], { ...windowAttributes(attrs), group: attrs.groups, output_padding: rest });
}

/** The transposed convolution as one with stride 1, of results spread out by zeros, by a kernel taken backwards. */
function turnedBy(write: (to: Lowering, form: Convolution, z: string, w: string) => string): Lower<ConvInputAttrs> {
  return (to, node, [z, w]) => write(to, turnedForm(node), spreadOut(to, node.inputs[0]!, z!, node.attrs.stride), w!);
}

function turnedForm({ attrs, inputs: [results, weights] }: Node<ConvInputAttrs>): Convolution {
  const { size, stride, before, dilation, groups } = attrs;
  const [outputs, perGroup, ...kernel] = weights!.shape as number[];
  const places = spatial(results!);
  const reach = kernel.map((length, i) => dilation[i]! * (length - 1));
  const ahead = reach.map((length, i) => length - before[i]!);
  const behind = size.map((length, i) => length + reach[i]! - places[i]! * stride[i]! - ahead[i]!);
  return {
    window: { stride: stride.map(() => 1), before: ahead, after: behind, dilation },
    groups,
    channels: outputs!,
    outputs: perGroup! * groups,
    kernel,
    places: size,
    backwards: true,
  };
}

/** Whether no padding is below 0, which the engine's own convolution would refuse. */
function isPadded({ window: { before, after } }: Convolution): boolean {
  return [...before, ...after].every((amount) => amount >= 0);
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

/** The weights' gradient as a convolution of images by results, samples and channels exchanged, steps and distances too. */
function exchangedConv(to: Lowering, node: Node<ConvWeightAttrs>, tensors: readonly string[]): string {
  const { stride, before, after, dilation, kernel } = node.attrs;
  const axes = kernel.map((_, i) => i + 2);
  const [x, z] = tensors.map((tensor) => to.emit("Transpose", [tensor], { perm: [1, 0, ...axes] }));
  const window = windowAttributes({ stride: dilation, before, after, dilation: stride });
  const found = to.emit("Conv", [x!, z!], window);
  const cut = to.emit("Slice", [found, ...[kernel.map(() => 0), kernel, axes].map((each) => to.ints(each))]);
  return to.emit("Transpose", [cut], { perm: [1, 0, ...axes] });
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
