import { type Builder, countOf, type Node } from "../../graph/index.ts";
import { cat, constant, Tensor } from "../../nn/index.ts";
import { batchSize, type ConvAttrs, conv, type Primitive } from "../../ops/index.ts";
import { ndarray, sizeOf } from "../../util/ndarray.ts";
import { identity } from "./inverse.ts";
import type { Layer, Use } from "./layers.ts";

/** The second moments of what meets each axis of a layer's weight, as stacks [groups, m, m] and [groups, n, n]. */
export interface Moments {
  readonly left: Tensor;
  readonly right: Tensor;
}

/** Rows [groups, samples · places, …] for both axes of a weight [groups · m, n]: inputs on one side, adjoints on the other. */
interface Sides {
  readonly inputs: Tensor;
  readonly adjoints: Tensor;
}

/**
 * A layer's Kronecker factors on a batch (Martens & Grosse, 2015, §3; Grosse & Martens, 2016, §3): the mean over the samples of
 * Σ ā āᵀ over a sample's places, with ā = (a, 1) where there is a bias, and the mean over samples and places of g gᵀ, where g is
 * the derivative of a sample's own loss. A linear layer that is applied to a sequence, or several times, has so many places.
 * @param adjoint of a product, for a loss that is a mean over the samples.
 */
export function momentsOf(b: Builder, layer: Layer, adjoint: (node: Node) => Tensor): Moments {
  const sides = layer.uses.map((use) => sidesOf(b, layer, use, adjoint(use.node)));
  const samples = new Tensor(batchSize(b));
  const places = sides.reduce((sum, { adjoints: rows }) => sum + countOf([rows.shape[1]!]).factor, 0);
  const inputs = secondMoment(sides.map((side) => (layer.bias === undefined ? side.inputs : withOnes(side.inputs))));
  const outputs = secondMoment(sides.map((side) => side.adjoints));
  const [a, g] = [inputs.div(samples), outputs.mul(samples).div(places)];
  return layer.inputSide === 1 ? { left: g, right: a } : { left: a, right: g };
}

function secondMoment(stacks: readonly Tensor[]): Tensor {
  return stacks.map((rows) => rows.t().matmul(rows)).reduce((sum, each) => sum.add(each));
}

function withOnes(rows: Tensor): Tensor {
  const ones = constant(ndarray(Float64Array.of(1), [])).expand(...rows.shape.with(-1, 1));
  return cat([rows, ones], -1);
}

function sidesOf(b: Builder, { groups }: Layer, { node, operand }: Use, result: Tensor): Sides {
  const input = new Tensor(node.inputs[1 - operand]!);
  const attrs = node.attrs as ConvAttrs;
  const kernel = node.inputs[1]!.shape.slice(2) as number[];
  switch (node.op.name as Primitive) {
    case "conv":
      return { inputs: channelRows(patches(b, input, attrs, kernel), groups), adjoints: channelRows(result, groups) };
    case "convInput":
      return { inputs: channelRows(input, groups), adjoints: channelRows(patches(b, result, attrs, kernel), groups) };
    default:
      return { inputs: matrixRows(input, operand), adjoints: matrixRows(result, operand) };
  }
}

/** [.., rows, width], or with the weight on the left [.., width, rows], as [1, rows, width]. */
function matrixRows(x: Tensor, operand: 0 | 1): Tensor {
  const rows = operand === 1 ? x : x.t();
  return rows.reshape(1, -1, rows.shape.at(-1)!);
}

/** [samples, channels, …places] as [groups, samples · places, channels / groups]. */
function channelRows(x: Tensor, groups: number): Tensor {
  const [samples, channels, ...places] = x.shape as [Tensor["shape"][0], ...number[]];
  const width = channels! / groups;
  return x.reshape(samples, groups, width, sizeOf(places)).permute(1, 0, 3, 2).reshape(groups, -1, width);
}

/** What lies under the kernel at each place, [samples, channels · kernel, …places]: each channel convolved with each tap alone. */
function patches(b: Builder, x: Tensor, window: ConvAttrs, kernel: readonly number[]): Tensor {
  const [channels, taps] = [x.shape[1] as number, sizeOf(kernel)];
  const each = identity(taps).reshape(taps, 1, ...kernel);
  const all = each.expand(channels, ...each.shape).reshape(channels * taps, 1, ...kernel);
  return new Tensor(conv(b, x.node, all.node, { ...window, groups: channels }));
}
