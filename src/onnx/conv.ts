import type { Graph, Node } from "../graph/index.ts";
import type { ConvAttrs, ConvInputAttrs, ConvWeightAttrs } from "../ops/index.ts";
import { OptionError } from "../util/errors.ts";
import { sizeOf } from "../util/ndarray.ts";
import {
  convByBlocks,
  fitsBlocks,
  fitsTurnedWeightBlocks,
  fitsWeightBlocks,
  isWorthBlocks,
  isWorthTurnedWeightBlocks,
  isWorthWeightBlocks,
  weightByBlocks,
  weightByTurnedBlocks,
} from "./conv-blocks.ts";
import type { Lower, Lowering, Target } from "./lowering.ts";
import {
  type Convolution,
  convByTaps,
  convByWindows,
  isPadded,
  spatial,
  weightByColumns,
  weightByTaps,
  weightByWindows,
  windowAttributes,
} from "./windows.ts";

/** One way to write a primitive. */
interface Form<A> {
  /** Whether it can be written so. */
  readonly fits: (node: Node<A>, target: Target) => boolean;
  readonly write: Lower<A>;
}

/** The ways to write a primitive that are each the fastest for some shape and processor. */
interface Forms<A> {
  readonly forms: Readonly<Record<string, Form<A>>>;
  /** The form where none was chosen by measuring. */
  readonly rule: (node: Node<A>, target: Target) => string;
}

/** Channels from which on matrix products over channels alone are worth while. */
const WIDE = 16;

/** From so many outputs on for each entry of a kernel, it pays to gather what the entries meet. */
const MANY_OUTPUTS = 4;

/** Up to so many places in an image, the engine's convolution, which goes image by image, has too little to do in each. */
const FEW_PLACES = 16;

const ungrouped = ({ attrs }: Node<ConvAttrs>): boolean => attrs.groups === 1;
/** The engine has its own convolutions in float32 only. */
const inSingle = (_: Node, { precision }: Target): boolean => precision === "float32";
/** As fast as others nowhere, but right everywhere. */
const inDouble = (_: Node, { precision }: Target): boolean => precision === "float64";

const results: Forms<ConvAttrs> = {
  forms: {
    conv: { fits: inSingle, write: (to, node, [x, w]) => engineConv(to, resultsForm(node), x!, w!) },
    taps: { fits: ungrouped, write: (to, node, [x, w]) => convByTaps(to, resultsForm(node), x!, w!) },
    blocks: {
      fits: (node, target) => fitsBlocks(target, resultsForm(node)),
      write: (to, node, [x, w]) => blocksOrTaps(to, resultsForm(node), x!, w!),
    },
    windows: { fits: inDouble, write: (to, node, [x, w]) => convByWindows(to, resultsForm(node), x!, w!) },
  },
  rule: (node, target) => resultsRule(resultsForm(node), target),
};

const images: Forms<ConvInputAttrs> = {
  forms: {
    transposed: { fits: inSingle, write: convTranspose },
    "turned conv": {
      fits: (node, target) => inSingle(node, target) && isPadded(turnedForm(node)),
      write: turnedBy((to, form, z, w) => engineConv(to, form, z, turned(to, form, exchanged(to, form, w)))),
    },
    "turned taps": { fits: ungrouped, write: turnedBy(convByTaps) },
    "turned blocks": {
      fits: (node, target) => fitsBlocks(target, turnedForm(node)),
      write: turnedBy(blocksOrTaps),
    },
    "turned windows": {
      fits: inDouble,
      write: turnedBy((to, form, z, w) => convByWindows(to, form, z, exchanged(to, form, w))),
    },
  },
  rule: (node, target) => {
    const { groups, stride } = node.attrs;
    const form = turnedForm(node);
    const isWide = groups === 1 && Math.min(form.channels, form.outputs) >= WIDE;
    const asConv = isWide && stride.every((step) => step === 1) && isPadded(form);
    return asConv || target.precision === "float64" ? `turned ${resultsRule(form, target)}` : "transposed";
  },
};

const weights: Forms<ConvWeightAttrs> = {
  forms: {
    taps: { fits: ungrouped, write: (to, node, [x, z]) => weightByTaps(to, weightsForm(node), x!, z!) },
    windows: { fits: () => true, write: (to, node, [x, z]) => weightByWindows(to, weightsForm(node), x!, z!) },
    blocks: {
      fits: (node, target) => fitsWeightBlocks(target, weightsForm(node)),
      write: (to, node, [x, z]) => weightByBlocks(to, weightsForm(node), x!, z!),
    },
    "turned blocks": {
      fits: (node, target) => fitsTurnedWeightBlocks(target, weightsForm(node)),
      write: (to, node, [x, z]) => weightByTurnedBlocks(to, weightsForm(node), x!, z!),
    },
    exchanged: { fits: (node, target) => inSingle(node, target) && ungrouped(node), write: exchangedConv },
    columns: { fits: ungrouped, write: (to, node, [x, z]) => weightByColumns(to, weightsForm(node), x!, z!, 0) },
    rows: {
      fits: (node) => ungrouped(node) && node.attrs.kernel.length > 1,
      write: (to, node, [x, z]) => weightByColumns(to, weightsForm(node), x!, z!, node.attrs.kernel.length - 1),
    },
  },
  rule: (node, target) => {
    const form = weightsForm(node);
    const { channels, outputs, kernel } = form;
    if (!ungrouped(node)) return "windows";
    if (channels >= WIDE) return fitsWeightBlocks(target, form) ? "blocks" : "taps";
    if (isWorthWeightBlocks(target, form)) return "blocks";
    if (isWorthTurnedWeightBlocks(target, form)) return "turned blocks";
    return target.precision === "float32" && outputs < MANY_OUTPUTS * sizeOf(kernel) ? "exchanged" : "windows";
  },
};

const table = { conv: results, convInput: images, convWeight: weights } as const;

export const conv = lowerBy(results);
export const convInput = lowerBy(images);
export const convWeight = lowerBy(weights);

function lowerBy<A>({ forms, rule }: Forms<A>): Lower<A> {
  return (to, node, inputs) => {
    const key = keyOf(node);
    const name = to.convolutions[key] ?? rule(node, to);
    const form = Object.hasOwn(forms, name) ? forms[name] : undefined;
    if (!form?.fits(node, to))
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
export function convolutionsOf(graph: Graph, target: Target): ConvolutionChoice[] {
  const found = new Map<string, ConvolutionChoice>();
  for (const node of graph.nodes) {
    const entry = table[node.op.name as keyof typeof table] as Forms<unknown> | undefined;
    if (!entry) continue;
    const key = keyOf(node);
    const forms = Object.entries(entry.forms).flatMap(([name, { fits }]) => (fits(node, target) ? [name] : []));
    if (!found.has(key)) found.set(key, { key, node, rule: entry.rule(node, target), forms });
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
  const images = inputs[0]!.shape;
  return { window: attrs, groups: attrs.groups, images, channels, outputs: outputs!, kernel, places };
}

function weightsForm({ attrs, inputs: [images, results], shape }: Node<ConvWeightAttrs>): Convolution {
  const { groups, kernel } = attrs;
  const channels = images!.shape[1] as number;
  const [outputs, places] = [shape[0] as number, spatial(results!)];
  return { window: attrs, groups, images: images!.shape, channels, outputs, kernel, places };
}

function resultsRule(form: Convolution, target: Target): string {
  if (fitsBlocks(target, form) && isWorthBlocks(target, form)) return "blocks";
  const { groups, channels, places } = form;
  if (groups === 1 && channels >= WIDE && sizeOf(places) <= FEW_PLACES) return "taps";
  return target.precision === "float64" ? "windows" : "conv";
}

/** Blocks of small images need to be told how many samples there are. */
function blocksOrTaps(to: Lowering, form: Convolution, x: string, w: string): string {
  const isAlone = to.samples === undefined && sizeOf(form.places) <= FEW_PLACES;
  return (isAlone ? convByTaps : convByBlocks)(to, form, x, w);
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
    images: [results!.shape[0]!, outputs!, ...places.map((count, i) => count * stride[i]!)],
    channels: outputs!,
    outputs: perGroup! * groups,
    kernel,
    places: size,
    backwards: true,
  };
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
