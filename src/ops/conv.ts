import {
  type BilinearOp,
  type Builder,
  isBatch,
  type Lead,
  mergeDims,
  type Node,
  type Shape,
  sameDim,
  type Value,
} from "../graph/index.ts";
import { ShapeError } from "../util/errors.ts";
import { sizeOf } from "../util/ndarray.ts";
import { permute, reshape } from "./move.ts";
import { checkDtype, fixedDim, mismatch } from "./strides.ts";
import { placesOf, tapsOf, type Window } from "./window.ts";

/**
 * A convolution (cross-correlation, as in PyTorch) is one form linear in each of three tensors,
 *
 *     Σ z[n, o, p] w[o, c, k] x[n, c, p·stride − before + k·dilation],
 *
 * images x [N, C, …size], weights w [O, C / groups, …kernel] and results z [N, O, …places], o and c of one group. Each of
 * the three operations here gives the derivative of the form in one tensor from the other two; so each one's transposes
 * are the other two.
 */
export interface ConvAttrs extends Window {
  /** Blocks of channels, each with weights of its own. */
  readonly groups: number;
}

/** Attributes of the transposed convolution, with the size of the images that it gives. */
export interface ConvInputAttrs extends ConvAttrs {
  readonly size: readonly number[];
}

/** Attributes of the weight gradient, with the size of the kernel that it gives. */
export interface ConvWeightAttrs extends ConvAttrs {
  readonly kernel: readonly number[];
}

/** z from x and w. https://onnx.ai/onnx/operators/onnx__Conv.html */
export const convOp: BilinearOp<ConvAttrs> = {
  name: "conv",
  kind: "bilinear",
  infer([x, w], attrs) {
    const { shape } = x!;
    const [outputs, perGroup, ...kernel] = w!.shape as number[];
    checkOperands("conv", "images [N, C, …] and weights [O, C / groups, …]", attrs, x!, w!);
    const [channels] = shape.slice(1);
    if (channels !== perGroup! * attrs.groups || outputs! % attrs.groups !== 0)
      throw new ShapeError(
        `conv: images of ${channels} channels do not fit weights [${w!.shape}] in ${attrs.groups} groups, which take ${perGroup! * attrs.groups} channels and give a multiple of ${attrs.groups}`,
      );
    return { shape: [shape[0]!, outputs!, ...placesOf("conv", attrs, shape.slice(2), kernel)], dtype: "float" };
  },
  value([x, w], attrs, shape) {
    const z = { shape, data: new Float64Array(sizeOf(shape)) };
    eachRun(attrs, z, w!, x!, (zs, weight, xs, places, entries) => {
      const factor = w!.data[weight]!;
      for (let i = 0; i < places.length; i++) z.data[zs + places[i]!]! += factor * x!.data[xs + entries[i]!]!;
    });
    return z.data;
  },
  stacked: (b, { attrs }, x, w, leads) => conv(b, x, w, attrs, leads),
  transpose(b, { attrs, inputs: [x, w] }, cotangent, other, index, lead) {
    if (index === 0) return convInput(b, cotangent, other, { ...attrs, size: spatial(x!) }, [0, lead]);
    return convWeight(b, other, cotangent, { ...attrs, kernel: spatial(w!) }, [lead, 0]);
  },
  batchRule: () => "kept",
};

/** x from z and w: the transposed convolution. https://onnx.ai/onnx/operators/onnx__ConvTranspose.html */
export const convInputOp: BilinearOp<ConvInputAttrs> = {
  name: "convInput",
  kind: "bilinear",
  infer([z, w], attrs) {
    checkOperands("convInput", "results [N, O, …] and weights [O, C / groups, …]", attrs, z!, w!);
    const [outputs, perGroup, ...kernel] = w!.shape as number[];
    const places = placesOf("convInput", attrs, attrs.size, kernel);
    const found = z!.shape.slice(2);
    if (z!.shape[1] !== outputs || outputs! % attrs.groups !== 0 || places.some((count, i) => count !== found[i]))
      throw mismatch(`convInput of [${attrs.size}]`, `results [N, ${outputs}, ${places}]`, z!);
    return { shape: [z!.shape[0]!, perGroup! * attrs.groups, ...attrs.size], dtype: "float" };
  },
  value([z, w], attrs, shape) {
    const x = { shape, data: new Float64Array(sizeOf(shape)) };
    eachRun(attrs, z!, w!, x, (zs, weight, xs, places, entries) => {
      const factor = w!.data[weight]!;
      for (let i = 0; i < places.length; i++) x.data[xs + entries[i]!]! += factor * z!.data[zs + places[i]!]!;
    });
    return x.data;
  },
  stacked: (b, { attrs }, z, w, leads) => convInput(b, z, w, attrs, leads),
  transpose(b, { attrs: { size: _, ...attrs }, inputs: [, w] }, cotangent, other, index, lead) {
    if (index === 0) return conv(b, cotangent, other, attrs, [0, lead]);
    return convWeight(b, cotangent, other, { ...attrs, kernel: spatial(w!) }, [0, lead]);
  },
  batchRule: () => "kept",
};

/** w from x and z: the gradient of a convolution in its weights, a sum over the images. */
export const convWeightOp: BilinearOp<ConvWeightAttrs> = {
  name: "convWeight",
  kind: "bilinear",
  infer([x, z], attrs) {
    checkOperands("convWeight", "images [N, C, …] and results [N, O, …]", attrs, x!, z!);
    const [samples, channels, ...size] = x!.shape;
    const places = placesOf("convWeight", attrs, size, attrs.kernel);
    const [found, outputs, ...rest] = z!.shape;
    if (!sameDim(samples!, found!) || places.some((count, i) => count !== rest[i]))
      throw mismatch("convWeight", `results [N, O, ${places}] of as many images`, x!, z!);
    const perGroup = fixedDim(channels!, "convWeight") / attrs.groups;
    if (!Number.isInteger(perGroup) || fixedDim(outputs!, "convWeight") % attrs.groups !== 0)
      throw mismatch("convWeight", `channels in ${attrs.groups} groups`, x!, z!);
    return { shape: [outputs!, perGroup, ...attrs.kernel], dtype: "float" };
  },
  value([x, z], attrs, shape) {
    const w = { shape, data: new Float64Array(sizeOf(shape)) };
    eachRun(attrs, z!, w, x!, (zs, weight, xs, places, entries) => {
      let sum = 0;
      for (let i = 0; i < places.length; i++) sum += z!.data[zs + places[i]!]! * x!.data[xs + entries[i]!]!;
      w.data[weight]! += sum;
    });
    return w.data;
  },
  stacked: (b, { attrs }, x, z, leads) => convWeight(b, x, z, attrs, leads),
  transpose(b, { attrs: { kernel: _, ...attrs }, inputs: [x] }, cotangent, other, index, lead) {
    if (index === 1) return conv(b, other, cotangent, attrs, [lead, 0]);
    return convInput(b, other, cotangent, { ...attrs, size: spatial(x!) }, [lead, 0]);
  },
  batchRule: ({ inputs: [x] }) => (isBatch(x!.shape[0]!) ? "summed" : "kept"),
};

/** No stack: each operand is one tensor. */
const ALONE = [0, 0] as const;

/** z = Σ w x; either operand may be a stack, two stacks go pair by pair. */
export function conv(b: Builder, x: Node, w: Node, attrs: ConvAttrs, leads: Leads = ALONE): Node {
  const { groups } = attrs;
  return stackedForm(b, x, w, leads, {
    left: { from: [0, 1], to: [0, 1] },
    right: { from: [0, groups], to: [1, groups] },
    both: { left: 1, right: 0, to: 1 },
    form: (left, right, copies) => b.apply(convOp, [left, right], { ...attrs, groups: groups * copies }),
  });
}

/** x = Σ w z, images of the given size; stacks as in `conv`. */
export function convInput(b: Builder, z: Node, w: Node, attrs: ConvInputAttrs, leads: Leads = ALONE): Node {
  const { groups } = attrs;
  return stackedForm(b, z, w, leads, {
    left: { from: [0, 1], to: [0, 1] },
    right: { from: [1, 1], to: [1, groups] },
    both: { left: 1, right: 0, to: 1 },
    form: (left, right, copies) => b.apply(convInputOp, [left, right], { ...attrs, groups: groups * copies }),
  });
}

/** w = Σ x z, weights with a kernel of the given size; stacks as in `conv`. */
export function convWeight(b: Builder, x: Node, z: Node, attrs: ConvWeightAttrs, leads: Leads = ALONE): Node {
  const { groups } = attrs;
  return stackedForm(b, x, z, leads, {
    left: { from: [1, groups], to: [1, 1] },
    right: { from: [1, groups], to: [0, groups] },
    both: { left: 1, right: 1, to: 0 },
    form: (left, right, copies) => b.apply(convWeightOp, [left, right], { ...attrs, groups: groups * copies }),
  });
}

function spatial({ shape }: Node): number[] {
  return shape.slice(2).map((dim) => fixedDim(dim, "a spatial axis"));
}

function checkOperands(what: string, expected: string, attrs: ConvAttrs, left: Node, right: Node): void {
  checkDtype(what, ["float"], left, right);
  const rank = attrs.stride.length + 2;
  if (left.shape.length !== rank || right.shape.length !== rank)
    throw mismatch(what, `${expected} with ${rank - 2} spatial axes`, left, right);
  for (const node of [left, right]) for (const dim of node.shape.slice(1)) fixedDim(dim, what);
}

/** Calls `visit` with the start of each row of z and x and the weight between them, and where the two rows meet. */
function eachRun(
  attrs: ConvAttrs,
  z: Value,
  w: Value,
  x: Value,
  visit: (zs: number, weight: number, xs: number, places: Int32Array, entries: Int32Array) => void,
): void {
  const [outputs, perGroup, ...kernel] = w.shape as [number, number, ...number[]];
  const [samples, channels, ...size] = x.shape as [number, number, ...number[]];
  const places = z.shape.slice(2);
  const taps = tapsOf(attrs, size, kernel, places);
  const [zLength, xLength] = [places, size].map(sizeOf) as [number, number];
  for (let n = 0; n < samples; n++)
    for (let o = 0; o < outputs; o++) {
      const group = Math.floor((o * attrs.groups) / outputs);
      for (let c = 0; c < perGroup; c++) {
        const [zs, xs] = [(n * outputs + o) * zLength, (n * channels + group * perGroup + c) * xLength];
        taps.forEach((tap, k) => {
          visit(zs, (o * perGroup + c) * taps.length + k, xs, tap.places, tap.entries);
        });
      }
    }
}

/** An axis of a tensor in so many blocks, within each of which the tensors of a stack lie side by side. */
type Route = readonly [axis: number, blocks: number];

type Leads = readonly [Lead, Lead];

/** Along which axes the stacks of a form's operands travel through it, and out of it. */
interface Routes {
  readonly left: { readonly from: Route; readonly to: Route };
  readonly right: { readonly from: Route; readonly to: Route };
  /** For stacks on both sides, whose tensors become groups of their own. */
  readonly both: { readonly left: number; readonly right: number; readonly to: number };
  /** The form itself, with each group in so many copies. */
  readonly form: (left: Node, right: Node, copies: number) => Node;
}

function stackedForm(b: Builder, left: Node, right: Node, [leftLead, rightLead]: Leads, routes: Routes): Node {
  const { form, both } = routes;
  if (!leftLead && !rightLead) return form(left, right, 1);
  const count = fixedDim((leftLead ? left : right).shape[0]!, "a stack");
  if (leftLead && rightLead) {
    const made = form(foldStack(b, left, [both.left, 1]), foldStack(b, right, [both.right, 1]), count);
    return unfoldStack(b, made, [both.to, 1], count);
  }
  if (leftLead) {
    const { from, to } = routes.left;
    return unfoldStack(b, form(foldStack(b, left, from), right, 1), to, count);
  }
  const { from, to } = routes.right;
  return unfoldStack(b, form(left, foldStack(b, right, from), 1), to, count);
}

/** A stack [A, …] with its leading axis moved into one of the others: within each of that axis's blocks, A parts. */
function foldStack(b: Builder, stack: Node, [axis, blocks]: Route): Node {
  const [count, ...shape] = stack.shape as [number, ...Shape];
  const split = splitAxis(shape, axis, blocks);
  const order = [...split.keys()].map((i) => i + 1).toSpliced(axis + 1, 0, 0);
  const mixed = permute(b, reshape(b, stack, [count, ...split]), order);
  return reshape(b, mixed, shape.with(axis, mergeDims([count, shape[axis]!])));
}

/** The inverse of `foldStack`. */
function unfoldStack(b: Builder, x: Node, [axis, blocks]: Route, count: number): Node {
  const shape = x.shape.with(axis, shorter(x.shape[axis]!, count));
  const split = splitAxis(shape, axis, blocks);
  const mixed = reshape(b, x, split.toSpliced(axis + 1, 0, count));
  const order = [axis + 1, ...Array.from(split.keys(), (i) => (i <= axis ? i : i + 1))];
  return reshape(b, permute(b, mixed, order), [count, ...shape]);
}

function splitAxis(shape: Shape, axis: number, blocks: number): Shape {
  return shape.toSpliced(axis, 1, blocks, shorter(shape[axis]!, blocks));
}

function shorter(dim: Shape[number], parts: number): Shape[number] {
  return isBatch(dim) ? { ...dim, factor: dim.factor / parts } : dim / parts;
}
