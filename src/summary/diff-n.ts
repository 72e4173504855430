import { deriveTensors, type MultiIndex, productCount, type TensorTerm } from "../derive/index.ts";
import {
  defaultEngine,
  type Engine,
  inTurn,
  type Objective,
  perKind,
  type Source,
  samplesOf,
  sharedProgram,
  variableTensors,
} from "../engine/index.ts";
import { graphOf } from "../graph/index.ts";
import { type Loss, type Module, objective } from "../nn/index.ts";
import { NonFiniteError, OptionError } from "../util/errors.ts";
import type { Batch, Batches, FloatData, NDArray } from "../util/ndarray.ts";
import { checkWhole, refuseUnknown } from "../util/options.ts";
import type { Random } from "../util/random.ts";
import {
  checkDirection,
  checkFiniteDirection,
  type Direction,
  HG_OPTIONS,
  type HgOptions,
  randomOf,
  uploadDirections,
} from "./along.ts";
import { fullbatchGradient, valueAndGrad } from "./compute.ts";
import { type NamedGroup, nameGroups } from "./groups.ts";
import { WeightedMean } from "./mean.ts";
import { peakSize } from "./memory.ts";
import { canonical } from "./partition.ts";
import { compileTotals, type PartScale, partSize, partsOf, runParts, scaleOf, takePacked } from "./run-parts.ts";
import { derivedOnce, direct, MOST_VALUES, type TracedLoss, traceLoss } from "./summary.ts";

/** Options of `diffN` and `diffNFullbatch`. */
export interface DiffNOptions extends HgOptions {
  /** The highest order of the derivatives, 1 or more. */
  readonly order: number;
}

/** Products of the chain rule that one operation may take: as many as the third order of 62 groups has. */
const MOST_PRODUCTS = 2 ** 18;

/**
 * All derivatives of φ(η) = L(θ + Σ η_s u_s) at 0 up to an order, on one batch, along +u: entry k of the result is
 * ∂^kφ/∂η_s…∂η_t, the symmetric tensor of shape [S, …, S] with k axes, row-major; entry 0 is the loss, of shape [].
 *
 * Orders 2 and 3 hold H̄ and, on their diagonal, order3 of {@link computeHg}, which is much cheaper. The cost grows as
 * S^(order − 1), and with the order itself.
 * @param batch undefined for a model without inputs.
 * @throws OptionError where the order is too high for so many groups, with the numbers, before anything is compiled; and
 * what `computeHg` throws.
 */
export async function diffN(
  model: Module,
  loss: Loss,
  batch: Batch | undefined,
  options: DiffNOptions,
): Promise<NDArray<Float64Array>[]> {
  const { target, along } = await prepare("diffN", model, loss, options);
  const { engine, seed = 0 } = along;
  // Before the gradient: what does not fit is refused at no cost.
  const source = tensorSource(target, batch, along);
  const direction = options.direction ?? (await valueAndGrad(model, loss, batch, { engine, seed })).gradient;
  return await inTurn(engine, () => tensorsAlong(source, target, batch, along, direction));
}

/**
 * `diffN` over a whole data set: the mean of the batches' derivatives, each weighted by its share of the samples, along
 * one direction for all (the full gradient by default).
 * The model and the loss are traced as in `evaluate`: once for each kind of batch and mode.
 * @throws DataError where there is no batch, and what `diffN` throws.
 */
export async function diffNFullbatch(
  model: Module,
  loss: Loss,
  batches: Batches,
  options: DiffNOptions,
): Promise<NDArray<Float64Array>[]> {
  const { target, along } = await prepare("diffNFullbatch", model, loss, options);
  const { engine, seed = 0, signal } = along;
  const direction =
    options.direction ??
    (await fullbatchGradient(model, loss, batches, { engine, seed, ...(signal && { signal }) })).gradient;
  const sourceOf = perKind(target, (batch) => tensorSource(target, batch, along));
  const mean = new WeightedMean();
  for await (const batch of batches) {
    const tensors = await inTurn(engine, () => tensorsAlong(sourceOf(batch), target, batch, along, direction));
    mean.add(samplesOf(batch), Object.fromEntries(tensors.map(({ data }, k) => [k, data])));
  }
  const means = mean.result();
  return Object.values(means).map((data, k) => ({ shape: shapeOf(along.groups.length, k), data }));
}

/** What derivatives along a direction are told. */
interface Along extends DiffNOptions {
  readonly engine: Engine;
  readonly groups: readonly NamedGroup[];
  readonly random: Random;
}

/** Checks options, the order's cost among them. @throws OptionError, PartitionError */
async function prepare(
  what: string,
  model: Module,
  loss: Loss,
  options: DiffNOptions,
): Promise<{ target: Objective; along: Along }> {
  refuseUnknown(what, options, [...HG_OPTIONS, "order"]);
  const { order, microbatch, partition = canonical(model), engine = await defaultEngine() } = options;
  checkWhole("order", order, 1);
  if (microbatch !== undefined) checkWhole("microbatch", microbatch, 1);
  const target = objective(model, loss);
  const groups = nameGroups(partition, target.variables);
  const products = productCount(groups.length, order);
  if (products > MOST_PRODUCTS)
    throw new OptionError(
      `order: order ${order} of ${groups.length} groups takes ${products.toPrecision(3)} products for each operation, at most ${MOST_PRODUCTS} fit; take a lower order or fewer groups`,
    );
  return { target, along: { ...options, engine, groups, random: randomOf(options) } };
}

/** How derivatives are computed. */
interface TensorPlan extends PartScale {
  readonly terms: readonly TensorTerm[];
}

async function tensorsAlong(
  source: Source<TensorPlan>,
  target: Objective,
  batch: Batch | undefined,
  along: Along,
  direction: Direction,
): Promise<NDArray<Float64Array>[]> {
  const { engine, groups, order, microbatch, random, signal } = along;
  checkDirection(direction, target, groups);
  const { checks, masks } = source.plan;
  const key = JSON.stringify({ groups, order, checks, masks });
  const program = await sharedProgram(engine, source, key);
  const totals = await compileTotals(program.plan, (_, each) => sharedProgram(engine, each, key));
  const directions = await uploadDirections(engine, direction, groups);
  const tensors = { ...(await variableTensors(engine, target.variables)), ...directions };
  const parts = partsOf(program.plan, batch, engine, microbatch);
  const check = (): void => checkFiniteDirection(direction);
  const inputs = { engine, program, totals, tensors, batch, parts, random, signal, check };
  const sums = new TensorSums(groups, order);
  try {
    await runParts(inputs, [program.session], async (outputs) =>
      sums.add(program.plan.terms, await takePacked(engine, outputs)),
    );
  } finally {
    engine.release(...Object.values(directions));
  }
  return sums.result();
}

/** @throws OptionError where the graph or its values would be too large, or a microbatch is asked for that cannot be */
function tensorSource(target: Objective, batch: Batch | undefined, along: Along): Source<TensorPlan> {
  const { engine, groups, order, microbatch } = along;
  const traced = traceLoss(target, batch);
  return derivedOnce(engine, traced, ["diffN", groups, order, microbatch], () => deriveAll(traced, along));
}

function deriveAll(traced: TracedLoss, { engine, groups, order, microbatch }: Along): Source<TensorPlan> {
  const { batch, b, loss, checks, masks } = traced;
  const { seeds, split } = direct(traced, groups);
  if (microbatch !== undefined && !split.splits)
    throw new OptionError(`microbatch: this loss cannot be split, since ${split.reason}`);
  const { packed, terms } = deriveTensors(b, split.splits ? split.loss : loss, seeds, order);
  const graph = graphOf({ packed });
  const needs = { split, checks, masks };
  const plan = { terms, ...needs, ...scaleOf(graph, needs) };
  const samples = partSize(plan, batch ? samplesOf(batch) : 1, engine, microbatch);
  const values = peakSize(graph, samples);
  if (values > MOST_VALUES)
    throw new OptionError(
      `order: order ${order} of ${groups.length} groups keeps ${values.toPrecision(3)} numbers at one time, at most ${MOST_VALUES} fit; take a lower order, fewer groups or a smaller batch`,
    );
  return { graph, plan, sideBySide: plan.sideBySide, samples };
}

function shapeOf(groups: number, order: number): number[] {
  return new Array<number>(order).fill(groups);
}

/** The running sums of all derivatives. */
class TensorSums {
  readonly #groups: readonly NamedGroup[];
  /** By order: tensors of which only the entries with ascending indices are filled. */
  readonly #sums: readonly Float64Array[];

  constructor(groups: readonly NamedGroup[], order: number) {
    this.#groups = groups;
    this.#sums = Array.from({ length: order + 1 }, (_, k) => new Float64Array(groups.length ** k));
  }

  /** Adds one part's terms, as they are packed. */
  add(terms: readonly TensorTerm[], packed: FloatData): void {
    let at = 0;
    for (const { order, indices, counts } of terms) {
      const sum = this.#sums[order]!;
      for (const [i, index] of indices.entries()) sum[this.#placeOf(index)]! += counts[i]! * packed[at++]!;
    }
  }

  /** The tensors, each with all of its entries. @throws NonFiniteError */
  result(): NDArray<Float64Array>[] {
    return this.#sums.map((sum, order) => {
      const shape = shapeOf(this.#groups.length, order);
      const data = sum.map((_, place) => sum[this.#placeOf(this.#indexOf(place, order))]!);
      const at = data.findIndex((value) => !Number.isFinite(value));
      if (at < 0) return { shape, data };
      const names = this.#indexOf(at, order).map((group) => this.#groups[group]!.name);
      throw new NonFiniteError(
        order === 0
          ? `diffN: the loss is ${data[0]}`
          : `diffN: the derivative of order ${order} is ${data[at]} along ${names.join(", ")}`,
      );
    });
  }

  #placeOf(index: MultiIndex): number {
    return index.reduce((place, group) => place * this.#groups.length + group, 0);
  }

  /** The multi-index of a place in a full tensor. */
  #indexOf(place: number, order: number): MultiIndex {
    const index: number[] = [];
    for (let rest = place; index.length < order; rest = Math.floor(rest / this.#groups.length))
      index.push(rest % this.#groups.length);
    return index.sort((s, t) => s - t);
  }
}
