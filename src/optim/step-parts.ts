import type { DataSpec, Engine } from "../engine/index.ts";
import { countOf } from "../graph/index.ts";
import type { Precision } from "../onnx/index.ts";
import type { Primitive } from "../ops/index.ts";
import { evenParts, widest } from "../summary/index.ts";
import { names, type StepParts, slopesSource } from "./step-graph.ts";

/** What the parts of a step are chosen by, in real numbers. */
export interface PartFigures {
  /** The largest value, for one sample. */
  readonly widest: number;
  /** All values together, for one sample. */
  readonly computed: number;
  /** What each part adds up: the gradient. */
  readonly summed: number;
  readonly convolves: boolean;
}

/**
 * The figures of a step whose gradient may be added up inside its program: one that is the same sum however the batch is cut,
 * and needs nothing of the whole batch ahead.
 */
export function partFigures(parts: StepParts, spec: DataSpec): PartFigures | undefined {
  if (spec.types.length === 0 || parts.preconditioner) return undefined;
  const { graph, plan } = slopesSource(parts, spec);
  const { split } = plan;
  const movesBuffers = graph.outputs.has(names.check);
  if (!split.splits || split.coupled || split.totals.length > 0 || movesBuffers) return undefined;
  const counts = graph.nodes.map(({ shape }) => countOf(shape));
  const computed = counts.reduce((sum, { factor, power }) => (power === 1 ? sum + factor : sum), 0);
  const summed = [...graph.outputs.values()].reduce((sum, { shape }) => sum + countOf(shape).factor, 0);
  const convolves = graph.nodes.some(({ op }) => CONVOLUTIONS.has(op.name));
  return { widest: widest(graph), computed, summed, convolves };
}

/** How the gradient of a batch is added up. */
export interface StepCut {
  /** Samples in each share, which are run side by side; one where the batch is not shared out. */
  readonly shares: readonly number[];
  /** Samples in each part of a share, by share, where its program adds up parts. */
  readonly parts: readonly number[] | undefined;
}

/**
 * How much more shares must compute than they exchange, each the parameters and the gradient: what ONNX Runtime computes on one
 * thread only (slices, transposes, copies) is then worth more.
 */
const SHARES_WORTH = 4;

/** How a step of so many samples goes. */
export function stepCut(
  figures: PartFigures,
  samples: number,
  engine: Pick<Engine, "precision" | "threads" | "lanes">,
): StepCut {
  const isWorth = samples * figures.computed >= SHARES_WORTH * engine.lanes * figures.summed;
  const lanes = isWorth ? Math.min(engine.lanes, samples) : 1;
  const shares = evenParts(samples, Math.ceil(samples / lanes));
  const threads = Math.max(1, Math.floor(engine.threads / lanes));
  const parts = shares.map((share) => stepPart(figures, share, engine.precision, threads));
  return { shares, parts: parts.every((part) => part !== undefined) ? parts : undefined };
}

const CONVOLUTIONS: ReadonlySet<string> = new Set<Primitive>(["conv", "convInput", "convWeight"]);

/**
 * A value of one part should stay in the cache of a processor's core with what it is computed from, where each thread has its
 * share of it; convolutions, which put samples side by side, gain more by having more of them (measured).
 */
const VALUE_BYTES = { convolutions: 2 ** 20, others: 2 ** 19 } as const;

/** How much more a part must compute than it adds up: where one sample fits the cache, and where it does not. */
const PART_WORTH = { inside: 4, beyond: 32 } as const;

/** Samples in each part of a share; undefined where it is faster, or must be, at once. */
function stepPart(
  { widest, computed, summed, convolves }: PartFigures,
  samples: number,
  precision: Precision,
  threads: number,
): number | undefined {
  const bytes = widest * (precision === "float32" ? 4 : 8);
  const cache = threads * (convolves ? VALUE_BYTES.convolutions : VALUE_BYTES.others);
  const most = Math.max(1, Math.floor(cache / bytes));
  const worth = bytes <= cache ? PART_WORTH.inside : PART_WORTH.beyond;
  if (samples <= most) return undefined;
  for (let size = most; size > most / 4; size--)
    if (samples % size === 0) return size * computed >= worth * summed ? size : undefined;
  return undefined;
}
