import type { DataSpec, Engine } from "../engine/index.ts";
import { countOf } from "../graph/index.ts";
import { widest } from "../summary/index.ts";
import { names, type StepParts, slopesSource } from "./step-graph.ts";

/** What the parts of a step are chosen by, in real numbers. */
export interface PartFigures {
  /** The largest value, for one sample. */
  readonly widest: number;
  /** All values together, for one sample. */
  readonly computed: number;
  /** What each part adds up: the gradient. */
  readonly summed: number;
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
  return { widest: widest(graph), computed, summed };
}

/** A value of one part should stay in the cache of a processor's core, where each thread has its share of it. */
const VALUE_BYTES = 2 ** 20;

/** How much more a part must compute than it adds up. */
const WORTH = 32;

/** Samples in each part of a step; undefined where it is faster, or must be, at once. */
export function stepPart(
  { widest, computed, summed }: PartFigures,
  samples: number,
  engine: Engine,
): number | undefined {
  const bytes = widest * (engine.precision === "float32" ? 4 : 8);
  const most = Math.floor((VALUE_BYTES * engine.threads) / bytes);
  if (samples <= most) return undefined;
  for (let size = most; size > most / 4; size--)
    if (samples % size === 0) return size * computed >= WORTH * summed ? size : undefined;
  return undefined;
}
