import { type NDArray, sizeOf } from "../util/ndarray.ts";
import { Random } from "../util/random.ts";

let generator = new Random(0);

/** Restarts the random numbers from which layers draw their initial parameters (`torch.manual_seed`). */
export function manualSeed(seed: number): void {
  generator = new Random(seed);
}

/** Entries uniform on [−bound, bound]. */
export function uniform(shape: readonly number[], bound: number, random: Random = generator): NDArray<Float32Array> {
  return fill(shape, () => (2 * random.uniform() - 1) * bound);
}

/** Normal entries of mean 0. */
export function normal(shape: readonly number[], deviation: number, random: Random = generator): NDArray<Float32Array> {
  return fill(shape, () => deviation * random.normal());
}

export function zeros(shape: readonly number[]): NDArray<Float32Array> {
  return fill(shape, () => 0);
}

function fill(shape: readonly number[], next: () => number): NDArray<Float32Array> {
  return { shape, data: Float32Array.from({ length: sizeOf(shape) }, next) };
}
