import { type Builder, concrete, type Dim, type DType, type Node, type Shape } from "../../src/graph/index.ts";
import { input } from "../../src/ops/index.ts";
import { type NDArray, sizeOf } from "../../src/util/ndarray.ts";
import type { Random } from "../../src/util/random.ts";

/** Where the entries of a test input come from: `count` numbers. */
export type Domain = (random: Random, count: number) => number[];

const each =
  (draw: (random: Random) => number): Domain =>
  (random, count) =>
    Array.from({ length: count }, () => draw(random));

/** Uniform on (−1.5, 1.5). */
export const anywhere: Domain = each((random) => 3 * random.uniform() - 1.5);
/** Uniform on (1, 2): away from the poles at 0. */
export const positive: Domain = each((random) => 1 + random.uniform());
/** Of either sign, 0.8 to 1.8 away from 0: away from the kinks and poles there. */
export const nonzero: Domain = each((random) => (random.uniform() < 0.5 ? -1 : 1) * (0.8 + random.uniform()));
/** All at least 0.8 apart: away from the kinks of a maximum. */
export const apart: Domain = (random, count) =>
  Array.from(random.permutation(count), (rank) => rank - count / 2 + 0.2 * random.uniform());
/** −1, 0 or 1: many equal entries. */
export const ties: Domain = each((random) => random.below(3) - 1);
/** Whole numbers from 0 to `bound` − 1. */
export const below = (bound: number): Domain => each((random) => random.below(bound));

/** An input of a test: what it looks like and where its entries come from. */
export interface InputSpec {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly domain: Domain;
}

/** An input of real numbers. */
export function floats(shape: Shape, domain: Domain = anywhere): InputSpec {
  return { shape, dtype: "float", domain };
}

/** An input of whole numbers. */
export function ints(shape: Shape, domain: Domain): InputSpec {
  return { shape, dtype: "int", domain };
}

/** The batch size of a test that does not ask for another. */
export const BATCH_OF_TEST = 2;

/** The name of input number `i`. */
export function inputName(i: number): string {
  return `x${i}`;
}

/** The inputs of a test as nodes. */
export function makeInputs(b: Builder, specs: readonly InputSpec[]): Node[] {
  return specs.map(({ shape, dtype }, i) => input(b, inputName(i), shape, dtype));
}

/** Data for an input; real numbers are exact in float32, so that an engine's inputs have no rounding. */
export function drawInput({ shape, dtype, domain }: InputSpec, random: Random, batch: number = BATCH_OF_TEST): NDArray {
  const lengths = concrete(shape, batch);
  const entries = domain(random, sizeOf(lengths));
  if (dtype === "int") return { shape: lengths, data: Int32Array.from(entries) };
  return { shape: lengths, data: Float64Array.from(entries, Math.fround) };
}

/** Data for all inputs, by name. */
export function drawInputs(
  specs: readonly InputSpec[],
  random: Random,
  batch: number = BATCH_OF_TEST,
): Record<string, NDArray> {
  return Object.fromEntries(specs.map((spec, i) => [inputName(i), drawInput(spec, random, batch)]));
}

/** `factor` times the batch to some power, as an axis. */
export function batches(factor: number, power = 1): Dim {
  return { factor, power };
}
