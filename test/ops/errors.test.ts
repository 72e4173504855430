import { describe, expect, test } from "vitest";
import { BATCH, type Builder, checkGraph, GraphBuilder, graphOf, type Node } from "../../src/graph/index.ts";
import * as o from "../../src/ops/index.ts";
import { GraphError, ShapeError } from "../../src/util/errors.ts";

type Nodes = Readonly<Record<"x" | "row" | "matrix" | "batch" | "whole" | "index" | "mask" | "images", Node>>;

const window = { stride: [1, 1], before: [0, 0], after: [0, 0], dilation: [1, 1] };
const weights = (b: Builder, ...shape: number[]): Node => o.input(b, "weights", shape);

/** Uses that the primitives refuse when the graph is made, with what the message must say. */
const refused: readonly (readonly [title: string, build: (b: Builder, n: Nodes) => Node, message: RegExp])[] = [
  ["add: shapes", (b, n) => o.add(b, n.x, n.row), /add.*broadcast.*\[3\].*\[2\]/],
  ["add: the batch and a number", (b, n) => o.add(b, n.batch, n.x), /add.*\[batch, 2\].*\[3\]/],
  ["mul: dtypes", (b, n) => o.mul(b, n.x, n.whole), /mul.*float and int/],
  ["add: bools", (b, n) => o.add(b, n.mask, n.mask), /add.*bool/],
  ["greater: bools", (b, n) => o.greater(b, n.mask, n.mask), /greater.*bool/],
  ["exp: whole numbers", (b, n) => o.exp(b, n.whole), /exp.*int/],
  ["pow: bools", (b, n) => o.pow(b, n.mask, 2.5), /pow.*bool/],
  ["scale: half of whole numbers", (b, n) => o.scale(b, n.whole, 0.5), /scale.*int.*0\.5/],
  ["sum: bools", (b, n) => o.sum(b, n.mask), /sum.*bool/],
  ["max: bools", (b, n) => o.max(b, n.mask, 0), /max.*bool/],
  ["argmax: whole numbers", (b, n) => o.argmax(b, n.whole, 0), /argmax.*int/],
  ["where: a condition of numbers", (b, n) => o.where(b, n.x, n.x, n.x), /where.*bool/],
  ["where: branches of two dtypes", (b, n) => o.where(b, n.mask, n.x, n.whole), /where.*float and int/],
  ["matmul: inner lengths", (b, n) => o.matmul(b, n.matrix, n.matrix), /matmul.*\[2, 3\] and \[2, 3\]/],
  ["matmul: a vector", (b, n) => o.matmul(b, n.matrix, n.x), /matmul.*\[2, 3\] and \[3\]/],
  ["matmul: the batch and a number", (b, n) => o.matmul(b, n.matrix, n.batch), /matmul.*\[batch, 2\]/],
  ["matmul: whole numbers", (b, n) => o.matmul(b, n.matrix, o.reshape(b, n.whole, [3, 1])), /matmul.*int/],
  ["concat: shapes", (b, n) => o.concat(b, [n.matrix, n.batch], 1), /concat.*\[2, 3\] and \[batch, 2\]/],
  ["concat: dtypes", (b, n) => o.concat(b, [n.x, n.whole], 0), /concat.*float and int/],
  ["concat: the batch axis", (b, n) => o.concat(b, [n.batch, n.batch], 0), /concat.*fixed length.*batch/],
  ["concat: axis", (b, n) => o.concat(b, [n.x], 1), /concat.*axis 1.*rank 1/],
  ["slice: range", (b, n) => o.slice(b, n.x, 0, 2, 4), /slice 2 to 4.*3/],
  ["slice: nothing", (b, n) => o.slice(b, n.x, 0, 1, 1), /slice 1 to 1/],
  ["slice: the batch axis", (b, n) => o.slice(b, n.batch, 0, 0, 1), /slice.*fixed length.*batch/],
  ["pad: less than nothing", (b, n) => o.pad(b, n.x, 0, -1, 0), /pad by -1/],
  ["reshape: count", (b, n) => o.reshape(b, n.matrix, [5]), /reshape.*\[2, 3\].*\[5\]/],
  ["reshape: the batch as a number", (b, n) => o.reshape(b, n.batch, [4]), /reshape.*\[batch, 2\].*\[4\]/],
  ["permute: not every axis", (b, n) => o.permute(b, n.matrix, [0, 0]), /permute\(0,0\).*\[2, 3\]/],
  ["transpose: a vector", (b, n) => o.transposeLast(b, n.x), /transpose.*\[3\]/],
  ["broadcast: shrinking", (b, n) => o.broadcast(b, n.matrix, [3]), /broadcast.*\[2, 3\].*\[3\]/],
  ["sum: axis", (b, n) => o.sum(b, n.x, [1]), /sum.*axis 1.*rank 1/],
  ["max: half an axis", (b, n) => o.max(b, n.x, 0.5), /max.*axis 0\.5/],
  ["gather: a real index", (b, n) => o.gather(b, n.x, n.x, 0), /gather.*int index/],
  ["gather: ranks", (b, n) => o.gather(b, n.matrix, n.index, 1), /gather.*\[2, 3\].*\[3\]/],
  [
    "conv: kernel",
    (b, n) => o.conv(b, n.images, weights(b, 2, 4, 5, 1), { ...window, groups: 1 }),
    /conv: a kernel \[5,1\] does not fit into \[3,3\]/,
  ],
  [
    "conv: dilated kernel, padding",
    (b, n) => o.conv(b, n.images, weights(b, 2, 4, 3, 1), { ...window, before: [1, 0], dilation: [2, 1], groups: 1 }),
    /conv: a kernel \[3,1\] of dilation \[2,1\] with padding \[1,0\] and \[0,0\] does not fit/,
  ],
  [
    "conv: channels",
    (b, n) => o.conv(b, n.images, weights(b, 2, 3, 1, 1), { ...window, groups: 1 }),
    /conv: images of 4 channels .*\[2,3,1,1\] in 1 groups, which take 3/,
  ],
  [
    "conv: groups",
    (b, n) => o.conv(b, n.images, weights(b, 3, 2, 1, 1), { ...window, groups: 2 }),
    /conv: .*\[3,2,1,1\] in 2 groups.* multiple of 2/,
  ],
  ["conv: axes", (b, n) => o.conv(b, n.matrix, weights(b, 3, 2, 1, 1), { ...window, groups: 1 }), /conv: .*\[2, 3\]/],
  [
    "convInput: places",
    (b, n) => o.convInput(b, n.images, weights(b, 4, 2, 1, 1), { ...window, groups: 1, size: [4, 3] }),
    /convInput of \[4,3\]: expected results \[N, 4, 4,3\], found \[batch, 4, 3, 3\]/,
  ],
  [
    "convWeight: samples",
    (b, n) => o.convWeight(b, n.images, weights(b, 7, 4, 3, 3), { ...window, groups: 1, kernel: [1, 1] }),
    /convWeight: .*as many images/,
  ],
  [
    "maxPool: kernel",
    (b, n) => o.maxPool(b, n.images, { ...window, kernel: [4, 1] }),
    /maxPool: a kernel \[4,1\] does not fit into \[3,3\]/,
  ],
  [
    "maxPool: padding",
    (b, n) => o.maxPool(b, n.images, { ...window, after: [0, 2], kernel: [2, 2] }),
    /maxPool: expected less padding than the kernel/,
  ],
  ["maxPool: axes", (b, n) => o.maxPool(b, n.matrix, { ...window, kernel: [1, 1] }), /maxPool: .*\[2, 3\]/],
  ["cumsum: bools", (b, n) => o.cumsum(b, n.mask, 0), /cumsum.*bool/],
  ["cumsum: axis", (b, n) => o.cumsum(b, n.x, 1), /cumsum.*axis 1.*rank 1/],
  ["erf: whole numbers", (b, n) => o.erf(b, n.whole), /erf.*int/],
  ["indexSelect: a real index", (b, n) => o.indexSelect(b, n.x, n.x, 0), /indexSelect: index.*expected int.*float/],
  ["indexSelect: axis", (b, n) => o.indexSelect(b, n.x, n.index, 1), /indexSelect.*axis 1.*rank 1/],
  ["indexAdd: an index of another shape", (b, n) => o.indexAdd(b, n.row, n.index, 0, 4), /indexAdd.*\[2\].*\[3\]/],
  ["scatterAdd: lengths", (b, n) => o.scatterAdd(b, n.row, n.index, 0, 4), /scatterAdd.*\[2\].*\[3\]/],
];

describe("what does not fit is refused by name", () => {
  test.each(refused)("%s", (_, build, message) => {
    const b = new GraphBuilder();
    const nodes: Nodes = {
      x: o.input(b, "x", [3]),
      row: o.input(b, "row", [2]),
      matrix: o.input(b, "matrix", [2, 3]),
      batch: o.input(b, "batch", [BATCH, 2]),
      whole: o.input(b, "whole", [3], "int"),
      index: o.input(b, "index", [3], "int"),
      mask: o.input(b, "mask", [3], "bool"),
      images: o.input(b, "images", [BATCH, 4, 3, 3]),
    };
    expect(() => build(b, nodes)).toThrow(ShapeError);
    expect(() => build(b, nodes)).toThrow(message);
  });
});

describe("checkGraph", () => {
  test("finds two inputs of one name", () => {
    const b = new GraphBuilder();
    const graph = graphOf({ z: o.add(b, o.input(b, "x", []), o.sum(b, o.input(b, "x", [2]))) });
    expect(() => checkGraph(graph)).toThrow(new GraphError("two inputs are named x"));
  });

  test("finds a node of another type than its rule says, and one before its inputs", () => {
    const b = new GraphBuilder();
    const x = o.input(b, "x", [2]);
    const wrong = { ...o.exp(b, x), shape: [3] };
    expect(() => checkGraph(graphOf({ wrong }))).toThrow(/exp is float\[3\], its rule says float\[2\]/);
    const { nodes, ...rest } = graphOf({ z: o.exp(b, x) });
    expect(() => checkGraph({ ...rest, nodes: nodes.toReversed() })).toThrow(/comes before its inputs/);
  });
});
