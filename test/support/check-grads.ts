import { gradients, type Seed, summarize } from "../../src/derive/index.ts";
import { ReferenceEngine } from "../../src/engine/index.ts";
import { type Builder, GraphBuilder, type Node } from "../../src/graph/index.ts";
import { broadcast, cast, input, mul, scalar, sin, sum } from "../../src/ops/index.ts";
import type { NDArray } from "../../src/util/ndarray.ts";
import { Random } from "../../src/util/random.ts";
import { assertClose } from "./close.ts";
import { derivativesAtZero, type Estimate } from "./finite-differences.ts";
import { BATCH_OF_TEST, drawInput, drawInputs, floats, type InputSpec, inputName, makeInputs } from "./inputs.ts";
import { type Arrays, checkedGraph, compiled, evaluate, numbers } from "./run.ts";
import { type DenseSummary, unpack } from "./summary.ts";

/** A function of graph nodes, as a model or a single primitive is. */
export type GraphFunction = (b: Builder, inputs: readonly Node[]) => Node;

/** A partition: for each differentiated input, in order, the number of its group. */
export type Partition = readonly number[];

/** What `checkGrads` asks of a function. */
export interface CheckOptions {
  /** The inputs. Those of floating point are differentiated. */
  readonly inputs: readonly InputSpec[];
  /** The highest derivative to check, 3 by default. */
  readonly order?: 1 | 2 | 3;
  /** Whether the function is already a scalar loss; by default it is contracted to one. */
  readonly isLoss?: boolean;
  /** How many random partitions to try beside one group for each input and one for all. 1 by default. */
  readonly partitions?: number;
  readonly seed?: number;
  readonly batch?: number;
}

/**
 * Relative to the largest derivative of the order, or to the largest |loss| seen. The stencils' own errors (see
 * finite-differences.ts) are near 1e-13, 1e-11 and 1e-9; a hundredfold margin leaves room for functions that vary faster
 * than their size tells, and is far below the error of any wrong rule, which is of order 1.
 */
const TOLERANCE: readonly [number, number, number] = [1e-11, 1e-9, 1e-7];

/** Where derivatives are checked: values of all inputs, and a direction for each that is differentiated. */
interface Point {
  readonly values: Arrays;
  readonly directions: readonly (readonly number[])[];
}

/** A traced loss. */
interface Trace {
  readonly b: GraphBuilder;
  readonly loss: Node;
  readonly parameters: readonly Node[];
}

/**
 * Checks `gradients` and `summarize` of a function, on the float64 oracle, against central finite differences of
 * φ(η) = L(θ + Σ η_s u_s) along random directions u: ḡ, every entry of H̄, and the third derivatives, under several
 * partitions of the inputs into groups. The function's value z may have any shape: L = Σ c sin(z) for a random c, so that
 * every order of a linear function shows too.
 */
export async function checkGrads(f: GraphFunction, options: CheckOptions): Promise<void> {
  const { order = 3, seed = 1, partitions = 1 } = options;
  const trace = traceLoss(f, options);
  const random = new Random(seed);
  const point = drawPoint(trace, options, random);
  const phi = await lossAlong(trace, point);
  for (const partition of partitionsOf(trace.parameters.length, partitions, random)) {
    const found = await summaryOf(trace, partition, point);
    const expected = await differences(phi.at, partition, order);
    compare(found, expected, order, `partition [${partition}]`);
    await compareGradients(trace, partition, point, expected);
  }
  await phi.dispose();
}

/** Writes L = Σ c sin(z), or L = z where that is a loss already. */
export function traceLoss(f: GraphFunction, { inputs, isLoss = false }: CheckOptions): Trace {
  const b = new GraphBuilder();
  const nodes = makeInputs(b, inputs);
  const z = f(b, nodes);
  const parameters = nodes.filter(({ dtype }) => dtype === "float");
  if (isLoss) return { b, loss: z, parameters };
  const real = z.dtype === "float" ? z : cast(b, z, "float");
  return { b, loss: sum(b, mul(b, input(b, "c", z.shape), sin(b, real))), parameters };
}

function drawPoint({ loss }: Trace, options: CheckOptions, random: Random): Point {
  const { inputs, batch = BATCH_OF_TEST } = options;
  const values: Record<string, NDArray> = drawInputs(inputs, random, batch);
  const c = checkedGraph({ loss }).inputs.find(({ name }) => name === "c");
  if (c) values.c = drawInput(floats(c.node.shape), random, batch);
  const directions = inputs.flatMap(({ dtype }, i) => {
    if (dtype !== "float") return [];
    return [numbers(values[inputName(i)]).map(() => 2 * random.uniform() - 1)];
  });
  return { values, directions };
}

function partitionsOf(count: number, random: number, generator: Random): Partition[] {
  const finest = Array.from({ length: count }, (_, i) => i);
  const drawn = Array.from({ length: random }, () => finest.map(() => generator.below(Math.min(count, 3))));
  const all = count > 1 ? [finest, finest.map(() => 0), ...drawn] : [finest];
  return [...new Map(all.map((partition) => [partition.join(), partition])).values()];
}

/** The number of groups of a partition. */
export function groupCount(partition: Partition): number {
  return Math.max(-1, ...partition) + 1;
}

/** The loss at θ + Σ_i step_i u_i, with a step for each differentiated input. */
async function lossAlong({ loss, parameters }: Trace, { values, directions }: Point) {
  const program = await compiled(new ReferenceEngine(), checkedGraph({ loss }));
  const at = async (steps: readonly number[]): Promise<number> => {
    const moved: Record<string, NDArray> = { ...values };
    parameters.forEach((node, i) => {
      const { name } = node.attrs as { name: string };
      const { shape, data } = values[name]!;
      const u = directions[i]!;
      moved[name] = { shape, data: Float64Array.from(data as Float64Array, (x, k) => x + steps[i]! * u[k]!) };
    });
    return numbers((await program.run(moved)).loss)[0]!;
  };
  return { at, dispose: program.dispose };
}

/** What finite differences say, with the size of the values that they were made of. */
interface Differences extends Pick<DenseSummary, "loss" | "g" | "H" | "order3"> {
  readonly size: number;
  /** The largest error estimates of the three orders. */
  readonly errors: readonly [number, number, number];
}

/** ḡ, H̄ (by polarisation: 4 H̄_st is the second derivative along u_s + u_t less that along u_s − u_t) and order3. */
async function differences(
  at: (steps: readonly number[]) => Promise<number>,
  partition: Partition,
  order: number,
): Promise<Differences> {
  const S = groupCount(partition);
  const estimates: Estimate[] = [];
  const bothOf = (s: number, t: number, sign: number) =>
    new Map([
      [s, 1],
      [t, sign],
    ]);
  const along = async (weight: ReadonlyMap<number, number>): Promise<Estimate> => {
    const estimate = await derivativesAtZero((eta) => at(partition.map((group) => eta * (weight.get(group) ?? 0))));
    estimates.push(estimate);
    return estimate;
  };
  const [g, H, order3] = [new Float64Array(S), new Float64Array(S * S), new Float64Array(S)];
  for (let s = 0; s < S; s++) {
    const own = await along(new Map([[s, 1]]));
    [g[s], H[s * S + s], order3[s]] = own.derivatives;
    for (let t = 0; t < s && order > 1; t++) {
      const [plus, minus] = [await along(bothOf(s, t, 1)), await along(bothOf(s, t, -1))];
      H[s * S + t] = H[t * S + s] = (plus.derivatives[1] - minus.derivatives[1]) / 4;
    }
  }
  const worst = (i: 0 | 1 | 2): number => Math.max(0, ...estimates.map(({ errors }) => errors[i]));
  const size = Math.max(0, ...estimates.map((estimate) => estimate.size));
  return { loss: await at(partition.map(() => 0)), g, H, order3, size, errors: [worst(0), worst(1), worst(2)] };
}

/** The summary of a traced loss at a point, on the oracle. */
async function summaryOf({ b, loss, parameters }: Trace, partition: Partition, point: Point): Promise<DenseSummary> {
  const directions = parameters.map((node, i) => input(b, `u${i}`, node.shape));
  const seeds: Seed[] = parameters.map((parameter, i) => ({
    parameter,
    direction: directions[i]!,
    group: partition[i]!,
  }));
  const { packed, terms } = summarize(b, loss, seeds);
  const feeds: Record<string, NDArray> = { ...point.values };
  parameters.forEach((node, i) => {
    const { shape } = point.values[(node.attrs as { name: string }).name]!;
    feeds[`u${i}`] = { shape, data: Float64Array.from(point.directions[i]!) };
  });
  const { packed: found } = await evaluate({ packed }, feeds);
  return unpack(terms, numbers(found), groupCount(partition));
}

function compare(found: DenseSummary, expected: Differences, order: number, what: string): void {
  const allowed = (i: 0 | 1 | 2) => ({ relative: TOLERANCE[i], absolute: TOLERANCE[i] * expected.size });
  // The same operations in the same order: no more than the sum's own rounding apart.
  assertClose([found.loss], [expected.loss], { absolute: 1e-14 * expected.size }, `loss, ${what}`);
  assertClose(found.g, expected.g, allowed(0), `g, ${what}`);
  if (order >= 2) assertClose(found.H, expected.H, allowed(1), `H, ${what}`);
  if (order >= 3) assertClose(found.order3, expected.order3, allowed(2), `order3, ${what}`);
}

/** ⟨∂L/∂θ_s, u_s⟩ of reverse mode must be ḡ_s. */
async function compareGradients(
  { b, loss, parameters }: Trace,
  partition: Partition,
  { values, directions }: Point,
  expected: Differences,
): Promise<void> {
  const nodes = gradients(b, loss, parameters).map(
    (gradient, i) => gradient ?? broadcast(b, scalar(b, 0), parameters[i]!.shape),
  );
  const outputs = Object.fromEntries(nodes.map((node, i) => [`d${i}`, node]));
  const found = await evaluate({ loss, ...outputs }, values);
  const g = new Float64Array(expected.g.length);
  partition.forEach((group, i) => {
    const { name } = parameters[i]!.attrs as { name: string };
    const gradient = found[`d${i}`]!;
    if (gradient.shape.join() !== values[name]!.shape.join())
      throw new Error(`the gradient of ${name} has shape [${gradient.shape}], not [${values[name]!.shape}]`);
    g[group]! += numbers(gradient).reduce((total, x, k) => total + x * directions[i]![k]!, 0);
  });
  const allowed = { relative: TOLERANCE[0], absolute: TOLERANCE[0] * expected.size };
  assertClose(g, expected.g, allowed, `⟨gradients, u⟩, partition [${partition}]`);
}
