import { BATCH, type Builder, type Node, type Shape } from "../../src/graph/index.ts";
import * as o from "../../src/ops/index.ts";
import { sizeOf } from "../../src/util/ndarray.ts";
import { floats, ties } from "./inputs.ts";
import { type Case, pool } from "./primitive-cases.ts";

/** What is added to a product [B, 2] or [2, B], by the shape that it has before it is repeated. */
const added = {
  nothing: undefined,
  "a row": [2],
  "a row of rank 2": [1, 2],
  "a column": [BATCH, 1],
  "a number": [],
  "a matrix of one entry": [1, 1],
  "a matrix": [BATCH, 2],
} as const;

type Sides = readonly [x: Node, y: Node];

/** Factors [B, 3] and [3, 2], as they are or transposed from how they lie. */
const factors: Readonly<Record<string, readonly [boolean, boolean]>> = {
  plain: [false, false],
  "left transposed": [true, false],
  "right transposed": [false, true],
  "both transposed": [true, true],
};

function turned(b: Builder, [x, y]: Sides, [left, right]: readonly [boolean, boolean]): Sides {
  return [left ? o.transposeLast(b, x) : x, right ? o.transposeLast(b, y) : y];
}

/** Sizes of images and of windows, which lie side by side and cover them, or do not. */
const windows = {
  "of a line": [[6], [3]],
  "of an image": [
    [4, 6],
    [2, 3],
  ],
  "of a volume": [
    [2, 3, 4],
    [2, 1, 2],
  ],
  "of one entry": [
    [2, 2],
    [1, 1],
  ],
  "that leave a row out": [
    [5, 4],
    [2, 2],
  ],
} as const;

/** What the largest entries of windows, of many that are equal, give back to images. */
function givenBack(name: string, size: readonly number[], kernel: readonly number[]): Case {
  const places = kernel.map((length, i) => Math.floor(size[i]! / length));
  return {
    name: `given back by windows ${name}`,
    inputs: [floats([BATCH, 2, ...size], ties), floats([BATCH, 2, ...places])],
    build: (b, [x, z]) => {
      const index = o.flatten(b, o.maxPoolIndex(b, x!, pool(kernel)), 2);
      return o.reshape(b, o.scatterAdd(b, o.flatten(b, z!, 2), index, 2, sizeOf(size)), x!.shape);
    },
  };
}

/** Matrix products as the lowering may fuse them, with transposes and sums; and what maxima give back. */
export const fusedCases: readonly Case[] = [
  ...Object.entries(windows).map(([name, [size, kernel]]) => givenBack(name, size, kernel)),
  ...Object.entries(factors).flatMap(([how, flips]) =>
    Object.entries(added).map(
      ([what, shape]): Case => ({
        name: `${how}, ${what} added`,
        inputs: [
          floats(flips[0] ? [3, BATCH] : [BATCH, 3]),
          floats(flips[1] ? [2, 3] : [3, 2]),
          ...(shape ? [floats(shape)] : []),
        ],
        build: (b, [x, y, c]) => {
          const product = o.matmul(b, ...turned(b, [x!, y!], flips));
          return c ? o.add(b, c, product) : product;
        },
      }),
    ),
  ),
  // So many columns that its left factor is transposed by itself.
  {
    name: "left transposed, many columns, a row added",
    inputs: [floats([3, BATCH]), floats([3, 520]), floats([520])],
    build: (b, [x, y, c]) => o.add(b, o.matmul(b, o.transposeLast(b, x!), y!), c!),
  },
  ...Object.entries(added).flatMap(([what, shape]): Case[] =>
    shape
      ? [
          taken(`${what} taken off a product`, shape, (b, product, c) => o.sub(b, product, c)),
          taken(`a product taken off ${what}`, shape, (b, product, c) => o.sub(b, c, product)),
        ]
      : [],
  ),
  ...[0.5, -1.1].flatMap((factor) => [
    fused(`${factor} times a product`, (b, x, y) => o.scale(b, o.matmul(b, x, o.transposeLast(b, y)), factor)),
    fused(`${factor} times a product, taken off a row`, (b, x, y, c) =>
      o.sub(b, c, o.scale(b, o.matmul(b, x, o.transposeLast(b, y)), factor)),
    ),
    fused(`${factor} times a matrix, with a product taken off`, (b, _x, y) =>
      o.sub(
        b,
        o.scale(b, o.matmul(b, y, o.transposeLast(b, y)), factor),
        o.matmul(b, o.scale(b, y, 2), o.sin(b, o.transposeLast(b, y))),
      ),
    ),
    fused(`${factor} times an input, taken off its square`, (b, _x, _y, c) => {
      const [column, row] = [o.reshape(b, c, [2, 1]), o.reshape(b, c, [1, 2])];
      const matrix = o.tanh(b, o.add(b, column, row));
      return o.sub(b, o.matmul(b, matrix, o.transposeLast(b, matrix)), o.scale(b, matrix, factor));
    }),
    fused(`${factor} times a matrix, used twice`, (b, x, y) => {
      const product = o.matmul(b, x, o.transposeLast(b, y));
      const multiple = o.scale(b, o.sin(b, o.broadcast(b, o.sum(b, product, [0]), product.shape)), factor);
      return o.mul(b, o.add(b, product, multiple), multiple);
    }),
    fused(`a sum with a product, times ${factor}`, (b, x, y, c) =>
      o.scale(b, o.add(b, o.matmul(b, x, o.transposeLast(b, y)), c), factor),
    ),
  ]),
  fused("a quotient", (b, x) => o.mul(b, x, o.reciprocal(b, o.shift(b, o.mul(b, x, x), 1)))),
  fused("a number over a tensor", (b, x, _y, c) =>
    o.mul(b, o.reciprocal(b, o.shift(b, o.mul(b, x, x), 1)), o.sum(b, c)),
  ),
  fused("a reciprocal used twice", (b, x) => {
    const inverse = o.reciprocal(b, o.shift(b, o.mul(b, x, x), 1));
    return o.mul(b, o.mul(b, inverse, x), inverse);
  }),
  fused("a quotient of reciprocals", (b, x) =>
    o.mul(b, o.reciprocal(b, o.shift(b, o.mul(b, x, x), 1)), o.reciprocal(b, o.shift(b, o.mul(b, x, x), 2))),
  ),
  fused("a product used twice", (b, x, y, c) => {
    const product = o.matmul(b, x, o.transposeLast(b, y));
    return o.mul(b, o.add(b, product, c), product);
  }),
  fused("a product and itself", (b, x, y) => {
    const product = o.matmul(b, x, o.transposeLast(b, y));
    return o.add(b, product, product);
  }),
  fused("two products", (b, x, y, c) => {
    const right = o.transposeLast(b, y);
    return o.add(b, o.matmul(b, x, right), o.matmul(b, o.tanh(b, x), o.mul(b, right, o.sum(b, c))));
  }),
  fused("a sum of sums", (b, x, y, c) => {
    const product = o.matmul(b, x, o.transposeLast(b, y));
    return o.add(b, o.add(b, product, c), o.add(b, o.matmul(b, o.sin(b, x), o.transposeLast(b, y)), c));
  }),
  fused("a transposed product", (b, x, y, c) => o.add(b, o.transposeLast(b, o.matmul(b, y, o.transposeLast(b, x))), c)),
  fused("a transposed summand", (b, x, y, c) => {
    const product = o.matmul(b, y, o.transposeLast(b, x));
    return o.add(b, product, o.transposeLast(b, o.broadcast(b, c, [BATCH, 2])));
  }),
  fused("a product with itself, transposed", (b, x) => o.matmul(b, x, o.transposeLast(b, x))),
];

/** A case on x [B, 3], y [2, 3] and c [2]. */
function fused(name: string, build: (b: Builder, x: Node, y: Node, c: Node) => Node): Case {
  return {
    name,
    inputs: [floats([BATCH, 3]), floats([2, 3]), floats([2])],
    build: (b, [x, y, c]) => build(b, x!, y!, c!),
  };
}

/** A difference of a product and something of a shape. */
function taken(name: string, shape: Shape, build: (b: Builder, product: Node, c: Node) => Node): Case {
  return {
    name,
    inputs: [floats([BATCH, 3]), floats([3, 2]), floats(shape)],
    build: (b, [x, y, c]) => build(b, o.matmul(b, x!, y!), c!),
  };
}
