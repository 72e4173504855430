import { BATCH, type Builder, type Dim, type Node } from "../../src/graph/index.ts";
import * as o from "../../src/ops/index.ts";
import { anywhere, apart, batches, below, floats, type InputSpec, ints, nonzero, positive, ties } from "./inputs.ts";

/** One use of a primitive. */
export interface Case {
  readonly name: string;
  readonly inputs: readonly InputSpec[];
  readonly build: (b: Builder, inputs: readonly Node[]) => Node;
  /** Set where derivatives do not apply, with the reason. */
  readonly valueOnly?: string;
}

type Build = (b: Builder, ...inputs: Node[]) => Node;

function one(name: string, inputs: readonly InputSpec[], build: Build, valueOnly?: string): Case {
  const spread = (b: Builder, nodes: readonly Node[]): Node => build(b, ...nodes);
  return { name, inputs, build: spread, ...(valueOnly === undefined ? {} : { valueOnly }) };
}

const B = BATCH;
const TIED = "at ties the function has a kink: only its value is checked";

/** An entrywise function on every rank, with and without the batch. */
function entrywise(f: (b: Builder, x: Node) => Node, domain = anywhere): Case[] {
  const shapes = [[], [3], [B], [B, 3], [2, B, 1], [B, B]] as const;
  return shapes.map((shape) => one(format(shape), [floats(shape, domain)], f));
}

function format(...shapes: (readonly unknown[])[]): string {
  const text = (shape: readonly unknown[]): string =>
    `[${shape.map((dim) => (typeof dim === "number" ? dim : dim === B ? "B" : JSON.stringify(dim))).join()}]`;
  return shapes.map(text).join(" ");
}

/** Pairs of shapes that broadcast: on either side, in leading, middle and last axes, scalars, with the batch. */
const pairs = [
  [[], []],
  [[3], [3]],
  [[], [B, 3]],
  [[B, 3], []],
  [[B, 3], [3]],
  [[3], [B, 3]],
  [
    [B, 3],
    [B, 1],
  ],
  [
    [1, 3],
    [B, 1],
  ],
  [
    [2, 1, 3],
    [B, 1],
  ],
  [
    [2, B, 3],
    [1, B, 1],
  ],
  [[1], [2, B, 2]],
  [
    [B, 1, 2],
    [1, B, 2],
  ],
] as const;

function pairwise(f: (b: Builder, x: Node, y: Node) => Node, domain = anywhere): Case[] {
  return pairs.map(([x, y]) => one(format(x, y), [floats(x, domain), floats(y, domain)], f));
}

/** Shapes of matrix products: both plain; stacks of matrices on either side or both, repeated or not; the batch anywhere. */
const products = [
  [
    [2, 3],
    [3, 2],
  ],
  [
    [B, 3],
    [3, 2],
  ],
  [
    [1, 3],
    [3, 1],
  ],
  [
    [3, B],
    [B, 2],
  ],
  [
    [B, 3],
    [3, B],
  ],
  [
    [2, B, 3],
    [3, 2],
  ],
  [
    [B, 2, 3],
    [3, 2],
  ],
  [
    [2, 3],
    [B, 3, 2],
  ],
  [
    [B, 2, 3],
    [B, 3, 2],
  ],
  [
    [B, 3],
    [2, 3, 2],
  ],
  [
    [B, 1, 2, 3],
    [2, 3, 2],
  ],
  [
    [2, 1, 2, 3],
    [B, 3, 1],
  ],
  [
    [1, 2, 3],
    [B, 3, 2],
  ],
  [
    [2, 2, 3],
    [1, 3, 2],
  ],
  [
    [B, 2, 1, 2],
    [B, 2, 2, 1],
  ],
] as const;

/** A convolution by its shapes, the number of samples left out of those of images and results. */
function convolution(
  image: readonly number[],
  w: readonly number[],
  { samples = B, ...options }: Partial<o.ConvAttrs> & { samples?: Dim } = {},
) {
  const [size, kernel] = [image.slice(1), w.slice(2)];
  const all = (value: number): number[] => size.map(() => value);
  const attrs = { stride: all(1), before: all(0), after: all(0), dilation: all(1), groups: 1, ...options };
  const places = o.placesOf("test", attrs, size, kernel);
  return { x: [samples, ...image], w, z: [samples, w[0]!, ...places], attrs, size, kernel };
}

const around = (width: number) => ({ before: [width, width], after: [width, width] });

const convolutions = [
  ["a line", convolution([2, 5], [3, 2, 3])],
  ["an image", convolution([2, 4, 5], [3, 2, 3, 2])],
  ["a volume", convolution([1, 2, 3, 2], [2, 1, 2, 2, 1])],
  ["one image", convolution([2, 3, 3], [2, 2, 2, 2], { samples: 1 })],
  ["as many as the image", convolution([2, 3, 3], [2, 2, 3, 3])],
  ["of one entry", convolution([3, 2, 2], [2, 3, 1, 1])],
  ["padding, unequal", convolution([1, 3, 3], [2, 1, 3, 2], { before: [1, 0], after: [0, 1] })],
  ["stride with a rest", convolution([2, 6, 5], [2, 2, 3, 2], { stride: [2, 2], before: [1, 0], after: [0, 0] })],
  ["stride above the kernel", convolution([1, 5, 5], [2, 1, 1, 2], { stride: [3, 3] })],
  ["dilation", convolution([1, 5, 6], [2, 1, 2, 3], { dilation: [3, 2] })],
  ["dilation and stride", convolution([1, 6, 6], [1, 1, 2, 2], { stride: [2, 3], dilation: [2, 3], after: [1, 1] })],
  ["groups", convolution([4, 3, 3], [6, 2, 2, 2], { groups: 2 })],
  ["depthwise", convolution([3, 4, 3], [3, 1, 2, 2], { groups: 3, stride: [2, 1] })],
  ["several batches", convolution([1, 3, 3], [2, 1, 2, 2], { samples: batches(2) })],
  // Engines compute those with many channels in ways of their own; see src/onnx/conv.ts.
  ["many channels", convolution([16, 3, 2], [17, 16, 2, 2], { before: [1, 0], after: [0, 1] })],
  ["blocks of channels", convolution([16, 3, 4], [32, 16, 3, 2], { before: [1, 0], after: [2, 1], dilation: [2, 1] })],
  ["blocks of channels and batches", convolution([32, 2, 30], [16, 32, 2, 3], { samples: batches(2), ...around(1) })],
  ["blocks of channels, stride", convolution([32, 6, 7], [32, 32, 3, 3], { stride: [2, 2], ...around(1) })],
  ["blocks of channels, filled up", convolution([20, 3, 4], [36, 20, 2, 2])],
  ["blocks of channels and places", convolution([3, 2, 17], [16, 3, 1, 2])],
  ["blocks of channels, one entry", convolution([16, 9, 8], [16, 16, 1, 1])],
  ["many channels and places", convolution([17, 20], [16, 17, 3], { before: [2], after: [1] })],
  ["many channels, stride, dilation", convolution([16, 9], [16, 16, 2], { stride: [2], dilation: [3], after: [1] })],
  ["many channels, outside", convolution([16, 2], [16, 16, 2], { before: [2], after: [1] })],
] as const;

export const pool = (kernel: readonly number[], options: Partial<o.PoolAttrs> = {}): o.PoolAttrs => {
  const all = (value: number): number[] => kernel.map(() => value);
  return { kernel, stride: kernel, before: all(0), after: all(0), dilation: all(1), ...options };
};

const pools = [
  ["a line", [B, 2, 5], pool([2])],
  ["an image", [B, 2, 4, 4], pool([2, 2])],
  ["one image", [1, 1, 4, 3], pool([2, 3])],
  ["overlapping", [B, 2, 5, 5], pool([3, 3], { stride: [2, 2] })],
  ["padding", [B, 1, 4, 4], pool([3, 3], { stride: [2, 2], before: [1, 1], after: [1, 1] })],
  ["dilation", [B, 1, 5, 4], pool([2, 2], { stride: [1, 1], dilation: [3, 2] })],
  ["a volume", [B, 1, 2, 3, 2], pool([2, 2, 1])],
  ["windows of one entry", [B, 2, 3, 5], pool([1, 1], { stride: [1, 2] })],
] as const;

const comparisons = (f: (b: Builder, x: Node, y: Node) => Node): Case[] => [
  ...pairwise(f, ties),
  one("int", [ints([B, 3], below(3)), ints([3], below(3))], f),
];

/**
 * Every primitive: how to build it, on what. The value on each engine, derivatives of every order, the stacked forms and
 * the batch rule are all checked on these cases; a new primitive is a new line.
 */
export const primitiveCases: { readonly [P in o.Primitive]: readonly Case[] } = {
  input: [
    one("scalar", [floats([])], (_b, x) => x),
    one("batch", [floats([B, 2])], (_b, x) => x),
    one("int", [ints([B, 2], below(5))], (_b, x) => x),
  ],
  constant: [
    one("scalar", [floats([])], (b, x) => o.add(b, x, o.scalar(b, 0.25))),
    one("matrix", [floats([2, 2])], (b, x) => o.mul(b, x, o.constant(b, [1, -2, 0.5, 4], [2, 2]))),
    one("alone", [], (b) => o.constant(b, [1, 2], [2])),
    one("int", [], (b) => o.constant(b, [1, -2], [2], "int")),
    one("bool", [floats([2])], (b, x) => o.where(b, o.constant(b, [1, 0], [2], "bool"), x, o.scale(b, x, 3))),
  ],
  reshape: [
    one("[6] [2,3]", [floats([6])], (b, x) => o.reshape(b, x, [2, 3])),
    one("[B,2,3] [B,6]", [floats([B, 2, 3])], (b, x) => o.reshape(b, x, [B, 6])),
    one("[B,2,3] [2B,3]", [floats([B, 2, 3])], (b, x) => o.reshape(b, x, [batches(2), 3])),
    one("[2,B,3] [2B,3]", [floats([2, B, 3])], (b, x) => o.reshape(b, x, [batches(2), 3])),
    one("[2B,3] [B,6]", [floats([batches(2), 3])], (b, x) => o.reshape(b, x, [B, 6])),
    one("[2B,3] [6,B]", [floats([batches(2), 3])], (b, x) => o.reshape(b, x, [6, B])),
    one("[B,B] [BB]", [floats([B, B])], (b, x) => o.reshape(b, x, [batches(1, 2)])),
    one("[B,B,2] [2BB]", [floats([B, B, 2])], (b, x) => o.flatten(b, x, 0)),
    one("[B,2] [B,1,2]", [floats([B, 2])], (b, x) => o.unsqueeze(b, x, 1)),
    one("[B,2] [1,2,B,1]", [floats([B, 2])], (b, x) => o.reshape(b, x, [1, 2, B, 1])),
    one("[] [1]", [floats([])], (b, x) => o.unsqueeze(b, x, 0)),
    one("[1,1] []", [floats([1, 1])], (b, x) => o.reshape(b, x, [])),
    one("int", [ints([B, 2], below(9))], (b, x) => o.reshape(b, x, [2, B])),
  ],
  permute: [
    one("[2,3]", [floats([2, 3])], (b, x) => o.permute(b, x, [1, 0])),
    one("[B,3]", [floats([B, 3])], (b, x) => o.transposeLast(b, x)),
    one("[B,2,3] cycle", [floats([B, 2, 3])], (b, x) => o.permute(b, x, [1, 2, 0])),
    one("[2,B,1,3]", [floats([2, B, 1, 3])], (b, x) => o.permute(b, x, [3, 1, 0, 2])),
    one("twice", [floats([B, 2, 3])], (b, x) => o.permute(b, o.permute(b, x, [2, 0, 1]), [2, 0, 1])),
    one("int", [ints([B, 2], below(9))], (b, x) => o.permute(b, x, [1, 0])),
  ],
  slice: [
    one("[5]", [floats([5])], (b, x) => o.slice(b, x, 0, 1, 4)),
    one("[B,4] first", [floats([B, 4])], (b, x) => o.slice(b, x, 1, 0, 1)),
    one("[B,4] last", [floats([B, 4])], (b, x) => o.slice(b, x, -1, 3, 4)),
    one("[3,B,2] outer", [floats([3, B, 2])], (b, x) => o.slice(b, x, 0, 1, 3)),
    one("int", [ints([B, 4], below(9))], (b, x) => o.slice(b, x, 1, 1, 3)),
  ],
  concat: [
    one("[2] [3]", [floats([2]), floats([3])], (b, x, y) => o.concat(b, [x, y], 0)),
    one("[B,1] [B,2] [B,3]", [floats([B, 1]), floats([B, 2]), floats([B, 3])], (b, ...x) => o.concat(b, x, 1)),
    one("last axis from the end", [floats([B, 1]), floats([B, 2])], (b, ...x) => o.concat(b, x, -1)),
    one("[2,B,2] [1,B,2]", [floats([2, B, 2]), floats([1, B, 2])], (b, ...x) => o.concat(b, x, 0)),
    one("with itself", [floats([B, 2])], (b, x) => o.concat(b, [x, x, o.tanh(b, x)], 1)),
    one("with a constant", [floats([2, 2])], (b, x) => o.concat(b, [o.constant(b, [1, 2], [1, 2]), x], 0)),
    one("a long row", [floats([2]), floats([3])], (b, x, y) =>
      o.concat(
        b,
        Array.from({ length: 19 }, (_, i) => o.scale(b, i % 2 ? x : y, i + 1)),
        0,
      ),
    ),
    one("nested", [floats([B, 1]), floats([B, 2])], (b, x, y) => o.concat(b, [o.concat(b, [x, y], 1), x], 1)),
    one("int", [ints([B, 1], below(9)), ints([B, 2], below(9))], (b, ...x) => o.concat(b, x, 1)),
  ],
  pad: [
    one("[2]", [floats([2])], (b, x) => o.pad(b, x, 0, 1, 2)),
    one("[B,2] before", [floats([B, 2])], (b, x) => o.pad(b, x, 1, 2, 0)),
    one("[B,2,2] after", [floats([B, 2, 2])], (b, x) => o.pad(b, x, -2, 0, 1)),
    one("[2,B] outer", [floats([2, B])], (b, x) => o.pad(b, x, 0, 1, 1)),
    one("int", [ints([B, 2], below(9))], (b, x) => o.pad(b, x, 1, 1, 1)),
    one("a sum of neighbours", [floats([B, 2]), floats([B, 3])], (b, x, y) =>
      o.add(b, o.pad(b, y, 1, 3, 2), o.pad(b, x, 1, 1, 5)),
    ),
  ],
  broadcast: [
    one("[] [3]", [floats([])], (b, x) => o.broadcast(b, x, [3])),
    one("[3] [2,3]", [floats([3])], (b, x) => o.broadcast(b, x, [2, 3])),
    one("[3] [B,3]", [floats([3]), floats([B])], (b, x, y) =>
      o.mul(b, o.broadcast(b, x, [B, 3]), o.unsqueeze(b, y, 1)),
    ),
    one("[B,1] [B,3]", [floats([B, 1])], (b, x) => o.broadcast(b, x, [B, 3])),
    one("[B,1] [2,B,3]", [floats([B, 1])], (b, x) => o.broadcast(b, x, [2, B, 3])),
    one("[1,2,1] [B,2,3]", [floats([1, 2, 1]), floats([B])], (b, x, y) =>
      o.add(b, o.broadcast(b, x, [B, 2, 3]), o.reshape(b, y, [B, 1, 1])),
    ),
    one("[B,1] [B,B]", [floats([B, 1])], (b, x) => o.broadcast(b, x, [B, B])),
    one("[B] [B,B]", [floats([B])], (b, x) => o.broadcast(b, x, [B, B])),
    one("[1] [2BB]", [floats([1]), floats([B])], (b, x, y) =>
      o.mul(b, o.tanh(b, o.broadcast(b, x, [batches(2, 2)])), o.flatten(b, o.broadcast(b, y, [2, B, B]), 0)),
    ),
    one("[1,1] [1,1,1]", [floats([1, 1])], (b, x) => o.broadcast(b, x, [1, 1, 1])),
    one("int", [ints([B, 1], below(9))], (b, x) => o.broadcast(b, x, [B, 2])),
  ],
  sum: [
    one("[3] all", [floats([3])], (b, x) => o.sum(b, x)),
    one("[B,3] all", [floats([B, 3])], (b, x) => o.sum(b, x)),
    one("[B,3] batch", [floats([B, 3])], (b, x) => o.sum(b, x, [0])),
    one("[B,3] last", [floats([B, 3])], (b, x) => o.sum(b, x, [-1])),
    one("[B,3] last, kept", [floats([B, 3])], (b, x) => o.sumKeep(b, x, [1])),
    one("[2,B,3] first and last", [floats([2, B, 3])], (b, x) => o.sum(b, x, [0, 2])),
    one("[B,2,3] middle", [floats([B, 2, 3])], (b, x) => o.sum(b, x, [1])),
    one("[B,2,3] batch", [floats([B, 2, 3])], (b, x) => o.sum(b, x, [0])),
    one("[B,2,3] batch and middle", [floats([B, 2, 3])], (b, x) => o.sum(b, x, [0, 1])),
    one("[2,B,3,B] first two", [floats([2, B, 3, B])], (b, x) => o.sum(b, x, [0, 1])),
    one("[40,3] rows", [floats([40, 3])], (b, x) => o.sum(b, x, [0])),
    one("[B,B] columns", [floats([B, B])], (b, x) => o.sum(b, x, [0])),
    one("[1,B] of length 1", [floats([1, B])], (b, x) => o.sum(b, x, [0])),
    one("int", [ints([B, 2], below(9))], (b, x) => o.sum(b, x, [1])),
    one("int, batch", [ints([B, 2], below(9))], (b, x) => o.sum(b, x, [0])),
  ],
  softmax: [
    one("[B,3] last", [floats([B, 3])], (b, x) => o.softmax(b, x, -1)),
    one("[B,3,2] middle", [floats([B, 3, 2])], (b, x) => o.softmax(b, x, 1)),
    one("[2,B] of the batch", [floats([2, B])], (b, x) => o.softmax(b, x, 1)),
    one("[3,B] first, far out", [floats([3, B])], (b, x) => o.softmax(b, o.scale(b, x, 20), 0)),
  ],
  cumsum: [
    one("[4]", [floats([4])], (b, x) => o.cumsum(b, x, 0)),
    one("[4] reverse", [floats([4])], (b, x) => o.cumsum(b, x, 0, true)),
    one("[B,3]", [floats([B, 3])], (b, x) => o.cumsum(b, x, -1)),
    one("[3,B] outer, reverse", [floats([3, B])], (b, x) => o.cumsum(b, x, 0, true)),
    one("[2,3,B] middle", [floats([2, 3, B])], (b, x) => o.cumsum(b, x, 1)),
    one("[B,2] of the batch", [floats([B, 2])], (b, x) => o.cumsum(b, x, 0)),
    one("int", [ints([B, 3], below(9))], (b, x) => o.cumsum(b, x, 1)),
  ],
  gather: [
    one("[4]", [floats([4]), ints([3], below(4))], (b, x, i) => o.gather(b, x, i, 0)),
    one("[B,4] one each", [floats([B, 4]), ints([B, 1], below(4))], (b, x, i) => o.gather(b, x, i, 1)),
    one("[B,3] repeats", [floats([B, 3]), ints([B, 5], below(3))], (b, x, i) => o.gather(b, x, i, -1)),
    one("[3,B] outer", [floats([3, B]), ints([2, B], below(3))], (b, x, i) => o.gather(b, x, i, 0)),
    one("[2,3,2] middle", [floats([2, 3, 2]), ints([2, 2, 2], below(3))], (b, x, i) => o.gather(b, x, i, 1)),
    one("from repeated rows", [floats([3, 2]), ints([B, 1], below(2))], (b, x, i) =>
      o.gather(b, o.broadcast(b, o.sum(b, x, [0]), [B, 2]), i, 1),
    ),
    one("int", [ints([B, 3], below(9)), ints([B, 1], below(3))], (b, x, i) => o.gather(b, x, i, 1)),
  ],
  scatterAdd: [
    one("[3] 5", [floats([3]), ints([3], below(5))], (b, x, i) => o.scatterAdd(b, x, i, 0, 5)),
    one("[B,4] collisions", [floats([B, 4]), ints([B, 4], below(2))], (b, x, i) => o.scatterAdd(b, x, i, 1, 2)),
    one("[3,B] outer", [floats([3, B]), ints([3, B], below(2))], (b, x, i) => o.scatterAdd(b, x, i, 0, 4)),
    one("[2,3,B] middle", [floats([2, 3, B]), ints([2, 3, B], below(3))], (b, x, i) => o.scatterAdd(b, x, i, -2, 3)),
    one("int", [ints([B, 3], below(9)), ints([B, 3], below(2))], (b, x, i) => o.scatterAdd(b, x, i, 1, 2)),
  ],
  indexSelect: [
    one("[4,2] at [3]", [floats([4, 2]), ints([3], below(4))], (b, x, i) => o.indexSelect(b, x, i, 0)),
    one("[4,2] at [B]", [floats([4, 2]), ints([B], below(4))], (b, x, i) => o.indexSelect(b, x, i, 0)),
    one("[4,2] at [B,3]", [floats([4, 2]), ints([B, 3], below(4))], (b, x, i) => o.indexSelect(b, x, i, 0)),
    one("[4] at [2,B]", [floats([4]), ints([2, B], below(4))], (b, x, i) => o.indexSelect(b, x, i, 0)),
    one("[300,2] at [B,3]", [floats([300, 2]), ints([B, 3], below(300))], (b, x, i) => o.indexSelect(b, x, i, 0)),
    one("[2,4,3] at [] middle", [floats([2, 4, 3]), ints([], below(4))], (b, x, i) => o.indexSelect(b, x, i, 1)),
    one("[2,3] at [B,2] last", [floats([2, 3]), ints([B, 2], below(3))], (b, x, i) => o.indexSelect(b, x, i, -1)),
    one("[B,3] at [2]", [floats([B, 3]), ints([2], below(3))], (b, x, i) => o.indexSelect(b, x, i, 1)),
    one("[3,B] at [B]", [floats([3, B]), ints([B], below(3))], (b, x, i) => o.indexSelect(b, x, i, 0)),
    one("[B,2,300] at [2,2]", [floats([B, 2, 300]), ints([2, 2], below(300))], (b, x, i) => o.indexSelect(b, x, i, 2)),
    one("int", [ints([3, 2], below(9)), ints([B], below(3))], (b, x, i) => o.indexSelect(b, x, i, 0)),
  ],
  indexAdd: [
    one("[3,2] 5", [floats([3, 2]), ints([3], below(5))], (b, x, i) => o.indexAdd(b, x, i, 0, 5)),
    one("[B,2] 2", [floats([B, 2]), ints([B], below(2))], (b, x, i) => o.indexAdd(b, x, i, 0, 2)),
    one("[B,3,2] 4", [floats([B, 3, 2]), ints([B, 3], below(4))], (b, x, i) => o.indexAdd(b, x, i, 0, 4)),
    one("[B,3,2] 300", [floats([B, 3, 2]), ints([B, 3], below(4))], (b, x, i) => o.indexAdd(b, x, i, 0, 300)),
    one("[2,B] 3", [floats([2, B]), ints([2, B], below(3))], (b, x, i) => o.indexAdd(b, x, i, 0, 3)),
    one("[2,B,3] 2 middle", [floats([2, B, 3]), ints([B], below(2))], (b, x, i) => o.indexAdd(b, x, i, 1, 2)),
    one("[2,B,3] 300 middle", [floats([2, B, 3]), ints([B], below(2))], (b, x, i) => o.indexAdd(b, x, i, 1, 300)),
    one("[2,3] 3 at []", [floats([2, 3]), ints([], below(3))], (b, x, i) => o.indexAdd(b, x, i, 1, 3)),
    one("[B,4] 2 last", [floats([B, 4]), ints([4], below(2))], (b, x, i) => o.indexAdd(b, x, i, 1, 2)),
    one("[B,4,B] 300", [floats([B, 4, B]), ints([4], below(3))], (b, x, i) => o.indexAdd(b, x, i, 1, 300)),
    one("int", [ints([B, 2], below(9)), ints([B], below(2))], (b, x, i) => o.indexAdd(b, x, i, 0, 2)),
  ],
  argmax: [
    one("[4]", [floats([4], apart)], (b, x) => o.argmax(b, x, 0)),
    one("[B,3] ties", [floats([B, 3], ties)], (b, x) => o.argmax(b, x, 1)),
    one("[3,B] outer", [floats([3, B], ties)], (b, x) => o.argmax(b, x, 0)),
    one("[B,4] of the batch", [floats([B, 4], ties)], (b, x) => o.argmax(b, x, 0)),
    one("[2,4,B] middle", [floats([2, 4, B], ties)], (b, x) => o.argmax(b, x, -2)),
  ],
  max: [
    one("[4]", [floats([4], apart)], (b, x) => o.max(b, x, 0)),
    one("[B,3]", [floats([B, 3], apart)], (b, x) => o.max(b, x, 1)),
    one("[3,B] outer", [floats([3, B], apart)], (b, x) => o.max(b, x, 0)),
    one("[2,4,B] middle", [floats([2, 4, B], apart)], (b, x) => o.max(b, x, -2)),
    one("[B,1] of one", [floats([B, 1], apart)], (b, x) => o.max(b, x, 1)),
    one("[B,3] ties", [floats([B, 3], ties)], (b, x) => o.max(b, x, 1), TIED),
    one("[B,3] of the batch", [floats([B, 3])], (b, x) => o.max(b, x, 0), "no derivative along the batch axis"),
  ],
  matmul: products.map(([x, y]) => one(format(x, y), [floats(x), floats(y)], o.matmul)),
  conv: convolutions.map(([name, { x, w, attrs }]) =>
    one(name, [floats(x), floats(w)], (b, images, weights) => o.conv(b, images, weights, attrs)),
  ),
  convInput: convolutions.map(([name, { z, w, attrs, size }]) =>
    one(name, [floats(z), floats(w)], (b, results, weights) => o.convInput(b, results, weights, { ...attrs, size })),
  ),
  convWeight: convolutions.map(([name, { x, z, attrs, kernel }]) =>
    one(name, [floats(x), floats(z)], (b, images, results) => o.convWeight(b, images, results, { ...attrs, kernel })),
  ),
  maxPool: [
    ...pools.map(([name, shape, attrs]) => one(name, [floats(shape, apart)], (b, x) => o.maxPool(b, x, attrs))),
    one("ties", [floats([B, 2, 4, 4], ties)], (b, x) => o.maxPool(b, x, pools[1]![2]), TIED),
  ],
  maxPoolIndex: [
    ...pools.map(([name, shape, attrs]) => one(name, [floats(shape, apart)], (b, x) => o.maxPoolIndex(b, x, attrs))),
    one("ties", [floats([B, 2, 4, 4], ties)], (b, x) => o.maxPoolIndex(b, x, pools[1]![2])),
  ],
  add: [
    ...pairwise(o.add),
    one("int", [ints([B, 2], below(9)), ints([2], below(9))], o.add),
    one("pads apart", [floats([B, 2]), floats([B, 3])], (b, x, y) =>
      o.add(b, o.pad(b, x, 1, 0, 4), o.pad(b, y, 1, 3, 0)),
    ),
    one("pads of two axes", [floats([2, 1]), floats([1, 2])], (b, x, y) =>
      o.add(b, o.pad(b, x, 1, 0, 1), o.pad(b, y, 0, 1, 0)),
    ),
  ],
  sub: [...pairwise(o.sub), one("int", [ints([B, 2], below(9)), ints([2], below(9))], o.sub)],
  scale: [
    ...entrywise((b, x) => o.scale(b, x, -2.5)),
    one("by 0", [floats([B, 2])], (b, x) => o.scale(b, x, 0)),
    one("twice", [floats([B, 2])], (b, x) => o.scale(b, o.scale(b, x, 3), -0.5)),
    one("a product with a number", [floats([B, 2])], (b, x) => o.mul(b, o.scalar(b, 3), x)),
    one("int", [ints([B, 2], below(9))], (b, x) => o.scale(b, x, 3)),
  ],
  mul: [
    ...pairwise(o.mul),
    one("with itself", [floats([B, 2])], (b, x) => o.mul(b, x, x)),
    one("with its own repetition", [floats([2])], (b, x) => o.mul(b, x, o.unsqueeze(b, x, 1))),
    one("int", [ints([B, 2], below(9)), ints([2], below(9))], o.mul),
  ],
  where: [
    ...pairs.map(([x, y]) =>
      one(format(x, y), [ints([1], below(2)), floats(x), floats(y)], (b, i, ...xy) =>
        o.where(b, o.cast(b, i, "bool"), xy[0]!, xy[1]!),
      ),
    ),
    one("condition [B,1]", [ints([B, 1], below(2)), floats([B, 3]), floats([3])], (b, i, x, y) =>
      o.where(b, o.cast(b, i, "bool"), x, y),
    ),
    one("condition [B,3]", [ints([B, 3], below(2)), floats([]), floats([])], (b, i, x, y) =>
      o.where(b, o.cast(b, i, "bool"), x, y),
    ),
    one("condition of the value", [floats([B, 3], nonzero)], (b, x) =>
      o.where(b, o.greater(b, x, o.scalar(b, 0)), o.mul(b, x, x), o.scale(b, x, 0.1)),
    ),
    one("int", [ints([B, 2], below(9)), ints([B, 2], below(9))], (b, x, y) => o.where(b, o.greater(b, x, y), x, y)),
  ],
  greater: comparisons(o.greater),
  greaterEqual: comparisons(o.greaterEqual),
  equal: comparisons(o.equal),
  sign: [...entrywise(o.sign, ties), one("int", [ints([B, 2], ties)], o.sign)],
  cast: [
    one("float to int", [floats([B, 3], nonzero)], (b, x) => o.cast(b, o.scale(b, x, 2), "int")),
    one("float to bool", [floats([B, 3], ties)], (b, x) => o.cast(b, x, "bool")),
    one("int to float", [ints([B, 3], ties)], (b, x) => o.cast(b, x, "float")),
    one("int to bool", [ints([B, 3], ties)], (b, x) => o.cast(b, x, "bool")),
    one("bool to float", [floats([B, 3])], (b, x) => o.cast(b, o.greater(b, x, o.scalar(b, 0)), "float")),
    one("bool to int", [floats([B, 3])], (b, x) => o.cast(b, o.greater(b, x, o.scalar(b, 0)), "int")),
  ],
  stopGradient: [...entrywise(o.stopGradient), one("int", [ints([B, 2], below(9))], o.stopGradient)],
  exp: entrywise(o.exp),
  log: entrywise(o.log, positive),
  reciprocal: entrywise(o.reciprocal, nonzero),
  sqrt: entrywise(o.sqrt, positive),
  pow: [
    ...entrywise((b, x) => o.pow(b, x, 2.5), positive),
    one("cube", [floats([B, 3])], (b, x) => o.pow(b, x, 3)),
    one("fourth", [floats([B, 3])], (b, x) => o.pow(b, x, 4)),
    one("inverse square", [floats([B, 3], nonzero)], (b, x) => o.pow(b, x, -2)),
    one("root", [floats([B, 3], positive)], (b, x) => o.pow(b, x, 0.5)),
  ],
  tanh: entrywise(o.tanh),
  sigmoid: entrywise(o.sigmoid),
  softplus: entrywise(o.softplus),
  relu: entrywise(o.relu, nonzero),
  minZero: entrywise(o.minZero, nonzero),
  elu: entrywise(o.elu, nonzero),
  erf: [...entrywise(o.erf), one("far out", [floats([B, 3])], (b, x) => o.erf(b, o.scale(b, x, 3)))],
  gelu: [...entrywise(o.gelu), one("far out", [floats([B, 3])], (b, x) => o.gelu(b, o.scale(b, x, 3)))],
  abs: entrywise(o.abs, nonzero),
  sin: entrywise(o.sin),
  cos: entrywise(o.cos),
};

/** Every case beside the name of its primitive. */
export const allCases: readonly (readonly [o.Primitive, Case])[] = (
  Object.keys(primitiveCases) as o.Primitive[]
).flatMap((primitive) => primitiveCases[primitive].map((item) => [primitive, item] as const));
