import type { Engine, EngineTensor, Objective } from "../engine/index.ts";
import { checkFinite } from "../engine/index.ts";
import { ShapeError } from "../util/errors.ts";
import { checkShaped, type FloatData, type NDArray } from "../util/ndarray.ts";
import { checkWhole } from "../util/options.ts";
import { Random } from "../util/random.ts";
import { membersOf, type NamedGroup, type Partition } from "./groups.ts";
import { directionInput } from "./summary.ts";

/** Arrays by parameter name: a gradient or a direction. */
export type Direction = Readonly<Record<string, NDArray<FloatData>>>;

/** How to run. */
export interface RunOptions {
  /** The default engine if none is named. */
  readonly engine?: Engine;
  /** Stops the work between two parts. */
  readonly signal?: AbortSignal;
  /** Of the random masks of a model in training mode; 0 by default. The same seed gives a gradient and a summary the same masks. */
  readonly seed?: number;
}

/** Options of `computeHg` and `computeHgFullbatch`. */
export interface HgOptions extends RunOptions {
  /** u, by parameter name: one array for every trainable parameter. The gradient of the same data by default. */
  readonly direction?: Direction;
  /** The groups; `partition.canonical(model)` by default. */
  readonly partition?: Partition;
  /** Samples in one run, for losses that are sums or means over the samples; chosen from the model's widths by default. */
  readonly microbatch?: number;
}

/** The names of `RunOptions`. */
export const RUN_OPTIONS = ["engine", "signal", "seed"];
/** The names of `HgOptions`. */
export const HG_OPTIONS = [...RUN_OPTIONS, "direction", "partition", "microbatch"];

/** Where a run draws its masks from. @throws OptionError */
export function randomOf({ seed = 0 }: RunOptions): Random {
  checkWhole("seed", seed);
  return new Random(seed);
}

/** Checks names and shapes. @throws ShapeError */
export function checkDirection(direction: Direction, target: Objective, groups: readonly NamedGroup[]): void {
  const names = membersOf(groups);
  for (const name of Object.keys(direction))
    if (!names.includes(name)) throw new ShapeError(`direction: ${name} is not a trainable parameter of the model`);
  for (const name of names) {
    const found = direction[name];
    const { shape } = target.variables.get(name)!;
    if (!found) throw new ShapeError(`direction: ${name} is missing`);
    checkShaped(`direction: ${name}`, found, shape);
  }
}

/** @throws NonFiniteError */
export function checkFiniteDirection(direction: Direction): void {
  for (const [name, { data }] of Object.entries(direction)) checkFinite(`direction of ${name}`, { shape: [], data });
}

/** A direction's arrays on an engine, by the names of their inputs. */
export async function uploadDirections(
  engine: Engine,
  direction: Direction,
  groups: readonly NamedGroup[],
): Promise<Record<string, EngineTensor>> {
  const tensors: Record<string, EngineTensor> = {};
  for (const name of membersOf(groups)) tensors[directionInput(name)] = await engine.upload(direction[name]!);
  return tensors;
}
