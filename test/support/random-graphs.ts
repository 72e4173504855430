import fc from "fast-check";
import { BATCH, type Builder, isBatch, type Node, type Shape } from "../../src/graph/index.ts";
import * as o from "../../src/ops/index.ts";
import { floats, type InputSpec } from "./inputs.ts";

/** One operation of a random program: its kind and its operands, all as numbers to be taken modulo what there is. */
export type Instruction = readonly [operation: number, left: number, right: number, axis: number];

/** A random program: instructions on the parameters and on what earlier instructions made. */
export const programs: fc.Arbitrary<readonly Instruction[]> = fc.array(
  fc.tuple(fc.nat(99), fc.nat(99), fc.nat(99), fc.nat(9)),
  { minLength: 2, maxLength: 10 },
);

/** Parameters of every rank, with the batch and without. */
export const parameters: readonly InputSpec[] = [
  floats([BATCH, 2]),
  floats([2, 2]),
  floats([2]),
  floats([]),
  floats([2, 1]),
];

type Step = (b: Builder, x: Node, y: Node, axis: number) => Node;

/** Operations that take any operands; those that grow are bounded, so that finite differences stay accurate. */
const steps: readonly Step[] = [
  (b, x) => o.tanh(b, x),
  (b, x) => o.sin(b, x),
  (b, x) => o.cos(b, x),
  (b, x) => o.sigmoid(b, x),
  (b, x) => o.softplus(b, x),
  (b, x) => o.erf(b, x),
  (b, x) => o.gelu(b, o.tanh(b, x)),
  (b, x) => o.exp(b, o.tanh(b, x)),
  (b, x) => o.reciprocal(b, o.shift(b, o.mul(b, x, x), 2)),
  (b, x) => o.sqrt(b, o.shift(b, o.mul(b, x, x), 2)),
  (b, x) => o.log(b, o.shift(b, o.mul(b, x, x), 2)),
  (b, x) => o.pow(b, o.tanh(b, x), 3),
  (b, x) => o.scale(b, x, -0.7),
  (b, x, y) => pair(b, x, y, (u, v) => o.add(b, u, v)),
  (b, x, y) => pair(b, x, y, (u, v) => o.sub(b, u, v)),
  (b, x, y) => pair(b, x, y, (u, v) => o.mul(b, o.sin(b, u), v)),
  (b, x, y) => pair(b, x, y, (u, v) => o.mul(b, o.tanh(b, u), o.cos(b, v))),
  (b, x, y) => product(b, x, y),
  (b, x, y) => product(b, o.tanh(b, x), o.sin(b, y)),
  (b, x, y) => convolution(b, o.tanh(b, x), o.sin(b, y)),
  (b, x, _y, axis) => (x.shape.length ? o.sumKeep(b, o.tanh(b, x), [axis % x.shape.length]) : o.sin(b, x)),
  (b, x, _y, axis) => (x.shape.length ? o.sum(b, x, [axis % x.shape.length]) : x),
  (b, x) => (x.shape.length > 1 ? o.transposeLast(b, x) : x),
  (b, x) => o.flatten(b, x, 0),
  (b, x, _y, axis) => (x.shape.length < 3 ? o.unsqueeze(b, x, axis % (x.shape.length + 1)) : x),
  (b, x, _y, axis) => along(x, axis, (at, length) => o.slice(b, x, at, length - 1, length)),
  (b, x, _y, axis) => along(x, axis, (at) => o.pad(b, x, at, 1, 0)),
  (b, x, _y, axis) => along(x, axis, (at) => o.concat(b, [x, o.tanh(b, x)], at)),
  (b, x, _y, axis) => along(x, axis, (at) => o.gather(b, x, ones(b, x.shape.with(at, 1), 0), at)),
  (b, x, _y, axis) => along(x, axis, (at) => o.indexSelect(b, x, ones(b, [2, 1], 0), at)),
  (b, x, _y, axis) => along(x, axis, (at) => o.softmax(b, x, at)),
  (b, x, _y, axis) => along(x, axis, (at) => o.cumsum(b, x, at, axis > 4)),
  (b, x, y) => pair(b, x, y, (u, v) => o.where(b, o.greater(b, o.scalar(b, 1), o.scalar(b, 0)), u, v)),
  (b, x, y) => pair(b, x, y, (u, v) => o.where(b, o.greaterEqual(b, o.scalar(b, 0), o.scalar(b, 1)), u, v)),
];

/** f of two tensors that broadcast together, or of the first and the other's sum. */
function pair(b: Builder, x: Node, y: Node, f: (x: Node, y: Node) => Node): Node {
  try {
    const shape = o.commonShape("pair", x.shape, y.shape);
    return shape.length > 3 ? f(x, o.sum(b, y)) : f(x, y);
  } catch {
    return f(x, o.tanh(b, o.sum(b, y)));
  }
}

/** A matrix product where the shapes fit, in one order or with the second transposed. */
function product(b: Builder, x: Node, y: Node): Node {
  if (x.shape.length < 2 || y.shape.length < 2) return pair(b, x, y, (u, v) => o.mul(b, o.tanh(b, u), v));
  for (const right of [y, o.transposeLast(b, y)]) {
    try {
      return o.matmul(b, x, right);
    } catch {}
  }
  return o.matmul(b, x, o.transposeLast(b, x));
}

/** The rows of a matrix convolved with the fixed matrix y, as two kernels, or with one that repeats the sum of y. */
function convolution(b: Builder, x: Node, y: Node): Node {
  const width = x.shape.at(-1);
  if (x.shape.length !== 2 || typeof width !== "number") return o.add(b, x, o.sum(b, y));
  const fits = y.shape.length === 2 && y.shape.every((dim) => dim === 2);
  const kernels = fits ? o.unsqueeze(b, y, 1) : o.broadcast(b, o.sum(b, y), [2, 1, 2]);
  const attrs = { stride: [1], before: [1], after: [0], dilation: [1], groups: 1 };
  return o.sum(b, o.conv(b, o.unsqueeze(b, x, 1), kernels, attrs), [1]);
}

/** f along one of the axes of fixed length; x itself where it has none. */
function along(x: Node, axis: number, f: (axis: number, length: number) => Node): Node {
  const fixed = [...x.shape.keys()].filter((at) => !isBatch(x.shape[at]!));
  if (fixed.length === 0) return x;
  const at = fixed[axis % fixed.length]!;
  return f(at, x.shape[at] as number);
}

function ones(b: Builder, shape: Shape, value: number): Node {
  return o.broadcast(b, o.constant(b, [value], [], "int"), shape);
}

/** The loss of a program: what it made, bounded and summed up with the parameters, so that no group is without effect. */
export function programLoss(b: Builder, inputs: readonly Node[], program: readonly Instruction[]): Node {
  const made = [...inputs];
  for (const [operation, left, right, axis] of program) {
    const step = steps[operation % steps.length]!;
    // Later values are likelier operands: programs grow deep rather than wide.
    const pick = (n: number): Node => made[Math.max(n % made.length, (n * 7) % made.length)]!;
    made.push(step(b, pick(left), pick(right), axis));
  }
  const unused = made.filter((node) => !made.some((other) => other.inputs.includes(node)));
  return [...new Set(unused)].map((node) => o.sum(b, o.sin(b, node))).reduce((x, y) => o.add(b, x, y));
}
