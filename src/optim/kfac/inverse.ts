import { cat, constant, type Tensor } from "../../nn/index.ts";
import { ndarray } from "../../util/ndarray.ts";

/** Matrices up to this size are inverted by iteration, larger ones by their blocks. */
const LEAF = 64;

/** Each multiplies the smallest eigenvalue by 9/4 until it is near 1: enough for 10¹⁰ times the largest one's inverse. */
const ITERATIONS = 32;

/**
 * The inverses of symmetric positive definite matrices, a stack [s, n, n]: KᵀK with K from `inverseRoot`. Nearly all of it is
 * products of large matrices, and its errors are those of a Cholesky factorisation, about the condition number times the
 * engine's precision.
 */
export function inverse(stack: Tensor): Tensor {
  const root = inverseRoot(stack);
  return root.t().matmul(root);
}

/** How many numbers a stack has at most. */
const LIMIT = 2 ** 24;

/** The inverses of several stacks. Those of matrices of one size are computed together, as far as that takes little memory. */
export function inverses(stacks: readonly Tensor[]): Tensor[] {
  const found = new Map<Tensor, Tensor>();
  for (const size of new Set(stacks.map(({ shape }) => shape[1] as number)))
    for (const part of parts(
      stacks.filter(({ shape }) => shape[1] === size),
      LIMIT / size ** 2,
    )) {
      const counts = part.map(({ shape }) => shape[0] as number);
      const inverted = inverse(cat(part)).split(counts);
      for (const [i, stack] of part.entries()) found.set(stack, inverted[i]!);
    }
  return stacks.map((stack) => found.get(stack)!);
}

/** Stacks in order, in parts of `most` matrices, or of one stack that has more. */
function parts(stacks: readonly Tensor[], most: number): Tensor[][] {
  const made: Tensor[][] = [];
  let room = 0;
  for (const stack of stacks) {
    const count = stack.shape[0] as number;
    if (count > room) {
      made.push([]);
      room = most;
    }
    made.at(-1)!.push(stack);
    room -= count;
  }
  return made;
}

/** Some K with K M Kᵀ = I: block Cholesky, with the inverse symmetric root of each diagonal block. */
function inverseRoot(m: Tensor): Tensor {
  const [count, n] = m.shape as [number, number];
  if (n <= LEAF) return symmetricRoot(m);
  const half = LEAF * Math.ceil(n / 2 / LEAF);
  const below = m.slice(1, half, n);
  const first = inverseRoot(m.slice(1, 0, half).slice(2, 0, half));
  const w = below.slice(2, 0, half).matmul(first.t());
  const second = inverseRoot(below.slice(2, half, n).sub(w.matmul(w.t())));
  const corner = second.matmul(w.matmul(first)).neg();
  const none = constant(ndarray(Float64Array.of(0), [])).expand(count, half, n - half);
  return cat([cat([first, none], 2), cat([corner, second], 2)], 1);
}

/** M^(−1/2) by the coupled Newton–Schulz iteration (Higham, 2008, Functions of Matrices, chapter 6), from M / ‖M‖. */
function symmetricRoot(m: Tensor): Tensor {
  const size = m.mul(m).sum([1, 2], true).sqrt();
  const unit = identity(m.shape[1] as number).expand(...m.shape);
  let [y, z] = [m.div(size), unit];
  for (let i = 0; i < ITERATIONS; i++) {
    const step = unit.mul(1.5).sub(z.matmul(y).mul(0.5));
    y = y.matmul(step);
    z = step.matmul(z);
  }
  return z.mul(size.rsqrt());
}

/** The identity, [1, n, n], from its n places: as a constant of the graph it would be n² numbers. */
export function identity(n: number): Tensor {
  const places = Int32Array.from({ length: n }, (_, i) => i);
  return constant(ndarray(places, [1, n, 1]))
    .eq(constant(ndarray(places, [1, 1, n])))
    .float();
}
