import { type BatchSplit, type GroupIndex, type Seed, splitAsGiven, splitBatch, type Term } from "../derive/index.ts";
import {
  dataInputs,
  type Engine,
  type Mode,
  type Needs,
  type Objective,
  type Program,
  type Source,
  samplesOf,
  sharedSource,
  specOf,
  variableInput,
} from "../engine/index.ts";
import { GraphBuilder, graphOf, type Node } from "../graph/index.ts";
import { broadcast, constant, equal, input, reshape, scalar, where } from "../ops/index.ts";
import { NonFiniteError } from "../util/errors.ts";
import type { Batch } from "../util/ndarray.ts";
import { type NamedGroup, ownersOf } from "./groups.ts";
import { peakSize } from "./memory.ts";
import { onePass, type Pass, severalPasses } from "./passes.ts";
import {
  type Compile,
  compileTotals,
  type PartInputs,
  type PartScale,
  runParts,
  scaleOf,
  takePacked,
} from "./run-parts.ts";

/** Derivatives of φ(η) = L(θ + Σ η_s u_s) at 0, with S groups. */
export interface Summary {
  readonly loss: number;
  /** ∂φ/∂η_s, [S]. */
  readonly g: Float64Array;
  /** ∂²φ/∂η_s∂η_t, [S, S], row-major, symmetric. */
  readonly H: Float64Array;
  /** ∂³φ/∂η_s³, [S], signed. */
  readonly order3: Float64Array;
  /** Groups along which the loss does not change: all that is found along them is rounding noise. */
  readonly noEffect: readonly GroupIndex[];
}

/** How a summary is computed. */
export interface SummaryPlan extends PartScale {
  readonly terms: readonly Term[];
  /** What is computed by itself, to save memory on a batch that cannot be split. */
  readonly rest: readonly Pass[];
  /** The batch that the memory was reckoned for. */
  readonly samples: number;
}

/** The input that holds the direction of a parameter. */
export function directionInput(name: string): string {
  return `u:${name}`;
}

/** For passes that keep to a limit: what one of them holds must be free for the next. */
const LOW_MEMORY = { lowMemory: true } as const;

/** Real numbers that the values of a graph may take at one time where there is a choice: 4 GiB in float32. */
export const MOST_VALUES = 2 ** 30;

/** A loss that was traced for one kind of batch. */
export interface TracedLoss extends Needs {
  readonly objective: Objective;
  readonly batch: Batch | undefined;
  readonly b: GraphBuilder;
  /** Of the whole batch. */
  readonly loss: Node;
}

/** Traces a loss, to be differentiated. */
export function traceLoss(objective: Objective, batch: Batch | undefined, mode?: Mode): TracedLoss {
  const b = new GraphBuilder();
  const { loss, checks, masks } = objective.trace(b, dataInputs(b, specOf(batch)), mode);
  return { objective, batch, b, loss, checks, masks };
}

/**
 * What is derived from a traced loss; on an engine that has derived the same before, as it was then.
 * @param asked all else that `derive` depends on.
 */
export function derivedOnce<T>(
  engine: Engine,
  { objective, batch, loss, checks, masks }: TracedLoss,
  asked: unknown,
  derive: () => Source<T>,
): Source<T> {
  const parameters = Array.from(objective.variables, ([name, { shape, trainable }]) => [name, shape, trainable]);
  const all = [asked, parameters, checks, masks, batch && samplesOf(batch)];
  return sharedSource(engine, graphOf({ loss }), JSON.stringify(all), derive);
}

/** A loss with an input for each parameter's direction. */
interface Directed {
  readonly seeds: readonly Seed[];
  readonly split: BatchSplit;
}

/**
 * Gives a traced loss an input for each parameter's direction.
 * @param given whether the batch comes in parts, each of which may be a batch of its own.
 */
export function direct(
  { objective, batch, b, loss }: TracedLoss,
  groups: readonly NamedGroup[],
  given: boolean = false,
): Directed {
  const seeds = [...ownersOf(groups)].map(([name, owners]): Seed => {
    const parameter = variableInput(b, name, objective.variables.get(name)!);
    const direction = input(b, directionInput(name), parameter.shape);
    return { parameter, ...(typeof owners === "number" ? { direction, group: owners } : spread(b, direction, owners)) };
  });
  const parameters = seeds.map(({ parameter }) => parameter);
  const divide = given ? splitAsGiven : splitBatch;
  const split = batch ? divide(b, loss, parameters) : { splits: false as const, reason: "there is no batch" };
  return { seeds, split };
}

/** What each of several groups has of a direction, zeros elsewhere, along a leading axis. */
function spread(b: GraphBuilder, direction: Node, owners: readonly GroupIndex[]): Pick<Seed, "direction" | "group"> {
  const group = [...new Set(owners)];
  const stack = [group.length, owners.length];
  const repeated = (node: Node): Node => broadcast(b, node, stack);
  const own = equal(
    b,
    repeated(constant(b, group, [group.length, 1], "int")),
    repeated(constant(b, owners, [1, owners.length], "int")),
  );
  const rows = where(b, own, repeated(reshape(b, direction, [1, owners.length])), repeated(scalar(b, 0)));
  return { group, direction: reshape(b, rows, [group.length, ...direction.shape]) };
}

/** What a summary is told. */
export interface SummarySettings {
  /** Of all modules; each has its own by default. */
  readonly mode?: Mode | undefined;
  /** Real numbers at one time for a batch that cannot be split, beyond which the groups are. */
  readonly limit?: number;
  /** Whether it has third derivatives, true by default; without them it costs less, and they read as 0. */
  readonly order3?: boolean;
  /** Samples in each part, where the batch comes in parts that may be batches of their own. */
  readonly parts?: readonly number[] | undefined;
}

/** The graph of a summary for one kind of batch. */
export function summarySource(
  objective: Objective,
  groups: readonly NamedGroup[],
  batch: Batch | undefined,
  settings: SummarySettings = {},
): Source<SummaryPlan> {
  return deriveSummary(traceLoss(objective, batch, settings.mode), groups, settings);
}

/** The same, of a loss that is traced. */
export function deriveSummary(
  traced: TracedLoss,
  groups: readonly NamedGroup[],
  { limit = MOST_VALUES, order3 = true, parts }: SummarySettings = {},
): Source<SummaryPlan> {
  const { batch, b, checks, masks } = traced;
  const { seeds, split } = direct(traced, groups, parts !== undefined);
  const samples = parts ? Math.max(...parts) : batch ? samplesOf(batch) : 1;
  const loss = split.splits ? split.loss : traced.loss;
  const whole = onePass(b, loss, seeds, order3);
  const fits = (split.splits && !split.coupled) || peakSize(whole.graph, samples) <= limit;
  const [first, ...rest] = fits ? [whole] : severalPasses(b, loss, seeds, { samples, limit, order3 });
  const { graph, terms } = first!;
  const needs = { checks, masks, split };
  const plan = { terms, rest, samples, ...needs, ...scaleOf(graph, needs) };
  return { graph, plan, sideBySide: plan.sideBySide, ...(fits ? {} : LOW_MEMORY) };
}

/** Compiles what a summary needs beside its own program. */
export async function compileRest(
  plan: SummaryPlan,
  compile: Compile,
): Promise<Pick<SummaryInputs, "totals" | "rest">> {
  const totals = await compileTotals(plan, compile);
  const rest: Program<readonly Term[]>[] = [];
  for (const { name, graph, terms } of plan.rest) rest.push(await compile(name, { graph, plan: terms, ...LOW_MEMORY }));
  return { totals, rest };
}

/** What a summary is computed with. */
export interface SummaryInputs extends PartInputs {
  readonly program: Program<SummaryPlan>;
  /** The passes that follow the program's own. */
  readonly rest: readonly Program<readonly Term[]>[];
}

/**
 * Runs a compiled summary over a batch, part by part, adding up in float64.
 * @throws NonFiniteError where a part of the result is NaN or infinite, and what checking the batch throws.
 */
export async function runSummary(inputs: SummaryInputs, groups: readonly NamedGroup[]): Promise<Summary> {
  const { engine, program, rest } = inputs;
  const passes = [program.plan.terms, ...rest.map(({ plan }) => plan)].map((terms) => ({
    terms,
    sums: new Sums(groups.length),
  }));
  const sessions = [program.session, ...rest.map(({ session }) => session)];
  await runParts(inputs, sessions, async (outputs, i) =>
    passes[i]!.sums.add(passes[i]!.terms, await takePacked(engine, outputs)),
  );
  const sums = new Sums(groups.length);
  for (const pass of passes) sums.take(pass.sums, pass.terms);
  return sums.summary(groups, engine.precision === "float32" ? 2 ** -23 : 2 ** -52);
}

/** The running sums of a summary. */
class Sums {
  readonly #size: number;
  readonly #sums: Record<Term["kind"], Float64Array>;

  constructor(groups: number) {
    this.#size = groups;
    const H = new Float64Array(groups * groups);
    const vector = (): Float64Array => new Float64Array(groups);
    this.#sums = {
      loss: new Float64Array(1),
      g: vector(),
      order3: vector(),
      H,
      cross: H,
      entry: vector(),
      exit: vector(),
    };
  }

  /** Adds one part's terms, as they are packed. */
  add(terms: readonly Term[], packed: Float64Array | Float32Array): void {
    let at = 0;
    for (const term of terms) {
      const sum = this.#sums[term.kind];
      for (const place of this.#placesOf(term)) {
        sum[place]! += packed[at]!;
        if (term.kind === "cross") sum[this.#mirrored(place)]! += packed[at]!;
        at++;
      }
    }
  }

  /** Takes over what the terms of a pass add to; passes may give the same sums twice. */
  take(pass: Sums, terms: readonly Term[]): void {
    for (const term of terms) {
      const [to, from] = [this.#sums[term.kind], pass.#sums[term.kind]];
      for (const place of this.#placesOf(term)) {
        to[place] = from[place]!;
        if (term.kind === "cross") to[this.#mirrored(place)] = from[this.#mirrored(place)]!;
      }
    }
  }

  /** Where a term's numbers belong, in the order in which it holds them. */
  #placesOf({ kind, rows, columns }: Term): readonly number[] {
    if (kind === "loss") return [0];
    if (kind !== "H" && kind !== "cross") return rows;
    return rows.flatMap((row) => columns.map((column) => row * this.#size + column));
  }

  /** The place of H̄_ts, from that of H̄_st. */
  #mirrored(place: number): number {
    return (place % this.#size) * this.#size + Math.floor(place / this.#size);
  }

  summary(groups: readonly NamedGroup[], epsilon: number): Summary {
    const { loss, g, order3, entry, exit } = this.#sums;
    const H = symmetric(this.#sums.H, this.#size);
    if (!Number.isFinite(loss[0])) throw new NonFiniteError(`summary: the loss is ${loss[0]}`);
    const check = (what: string, values: Float64Array, period: number): void => {
      const at = values.findIndex((value) => !Number.isFinite(value));
      if (at >= 0)
        throw new NonFiniteError(
          `summary: ${what} is ${values[at]} for group ${groups[Math.floor(at / period)]!.name}`,
        );
    };
    check("g", g, 1);
    check("H", H, this.#size);
    check("order3", order3, 1);
    const noEffect = [...groups.keys()].filter((s) => {
      const bound = NOISE * epsilon * entry[s]!;
      return (
        exit[s]! <= bound &&
        Math.abs(H[s * this.#size + s]! * loss[0]!) <= CURVATURE_NOISE * Math.sqrt(epsilon) * entry[s]! ** 2
      );
    });
    return { loss: loss[0]!, g, H, order3, noEffect };
  }
}

/**
 * A group without effect is told by cancellation: where its parameters enter, Σ |z̄ z'| is of ordinary size, and at the
 * loss the tangents that are left are within this many roundings of zero beside it. Its curvature, in the unit of loss
 * that the entry sum sets, must be small too, or a group that merely stands at a stationary point would be taken out; it
 * is a sum of many terms, and up to 1e4 roundings were seen.
 */
const NOISE = 64;
const CURVATURE_NOISE = 16;

/** Both triangles averaged: they are the same sum, rounded differently. */
function symmetric(H: Float64Array, size: number): Float64Array {
  return H.map((value, i) => (value + H[(i % size) * size + Math.floor(i / size)]!) / 2);
}
