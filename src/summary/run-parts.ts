import { BATCH_SHARE, type BatchSplit, PART_SIZE } from "../derive/index.ts";
import {
  checkFiniteBatch,
  checkFits,
  type Engine,
  type EngineTensor,
  type Needs,
  type Program,
  type RunData,
  runData,
  runOnce,
  type Session,
  type Source,
  samplesOf,
  sliceData,
  uploadData,
  uploadScalar,
} from "../engine/index.ts";
import { countOf, type Graph, graphOf, type Node } from "../graph/index.ts";
import { BATCH_SIZE, type Primitive } from "../ops/index.ts";
import type { Batch, FloatData } from "../util/ndarray.ts";
import { handled } from "../util/promises.ts";
import type { Random } from "../util/random.ts";

/** How something is computed over the parts of a batch. */
export interface PartPlan extends Needs {
  readonly split: BatchSplit;
}

/** The graph of the values that the parts of a split loss need ahead, or none. */
function totalsSource({ split }: PartPlan): Source<null> | undefined {
  if (!split.splits || split.totals.length === 0) return undefined;
  return { graph: graphOf(new Map(split.totals.map(({ name, node }) => [name, node]))), plan: null };
}

/** How to compile a graph that is told by a name. */
export type Compile = <T>(name: string, source: Source<T>) => Promise<Program<T>>;

/** Compiles what the parts of a batch need ahead, if they do. */
export async function compileTotals(plan: PartPlan, compile: Compile): Promise<Program<null> | undefined> {
  const ahead = totalsSource(plan);
  return ahead && (await compile("totals", ahead));
}

/** The stack of tangents of one layer should stay in the cache while it is used. */
const STACK_BYTES = 5.5 * 2 ** 20;

/** What of an engine decides on parts. */
type Sizing = Pick<Engine, "precision" | "lanes" | "tuning">;

/**
 * Real numbers of which each session that runs side by side may have a copy: 128 MiB in float32. Where parameters and
 * directions take more, matrices are large, and their products, which all threads share anyway, take most of the time.
 */
const MOST_COPIED = 2 ** 25;

/** Whether to run the parts of a batch side by side: they have nothing to do with one another, nor much to be copied. */
export function sideBySide(graph: Graph, { split }: PartPlan): boolean {
  return split.splits && split.coupled === undefined && fixedEntries(graph) <= MOST_COPIED;
}

/** Entries of inputs that are the same for all samples: parameters and directions. */
function fixedEntries({ inputs }: Graph): number {
  return countFixed(inputs.map(({ node }) => node));
}

/** Entries of those nodes that do not grow with the batch. */
function countFixed(nodes: readonly Node[]): number {
  return nodes.reduce((sum, { shape }) => {
    const { factor, power } = countOf(shape);
    return power === 0 ? sum + factor : sum;
  }, 0);
}

/** What the samples of a part are chosen by. */
export interface PartScale extends PartPlan {
  /** Real numbers that the widest stack of tangents holds for one sample. */
  readonly width: number;
  /** Real numbers of the factors of products that are the same for all samples: parameters and directions. */
  readonly factors: number;
  readonly sideBySide: boolean;
}

/** Those figures of a graph that is run for each part. */
export function scaleOf(graph: Graph, plan: PartPlan): Pick<PartScale, "width" | "factors" | "sideBySide"> {
  return { width: widest(graph), factors: fixedFactors(graph), sideBySide: sideBySide(graph, plan) };
}

const PRODUCTS: ReadonlySet<string> = new Set<Primitive>(["matmul", "conv", "convInput"]);

function fixedFactors({ nodes }: Graph): number {
  const read = nodes.flatMap(({ op, inputs }) => (PRODUCTS.has(op.name) ? inputs : []));
  return countFixed([...new Set(read.map((node) => (node.op.name === "permute" ? node.inputs[0]! : node)))]);
}

/** The most real numbers that a value of a graph holds for one sample. */
export function widest({ nodes }: Graph): number {
  return nodes.reduce((width, { shape }) => {
    const { factor, power } = countOf(shape);
    return power === 1 ? Math.max(width, factor) : width;
  }, 1);
}

/** The widest stack should hold a share of the factors at least, which each part puts in blocks anew, where there are blocks. */
const LEAST_SHARE = 1 / 10;

/**
 * Samples in one part: as many as were the fastest, or as keep the stacks in cache, more where there are many parameters, or
 * fewer, so that all that runs side by side has as many parts; the whole batch where it does not split.
 */
export function partSize(plan: PartScale, samples: number, engine: Sizing, microbatch: number | undefined): number {
  if (!plan.split.splits) return samples;
  const bytes = plan.width * (engine.precision === "float32" ? 4 : 8);
  const measured = engine.tuning?.microbatches[plan.width];
  const least = engine.precision === "float32" ? (LEAST_SHARE * plan.factors) / plan.width : 0;
  const byRule = Math.max(STACK_BYTES / bytes, least);
  const wanted = microbatch ?? measured ?? Math.max(1, Math.floor(byRule));
  const lanes = plan.sideBySide ? engine.lanes : 1;
  return Math.ceil(samples / (lanes * Math.ceil(samples / wanted / lanes)));
}

/** The samples of each part of a batch, or of none, for stacks of tangents. */
export function partsOf(
  plan: PartScale,
  batch: Batch | undefined,
  engine: Sizing,
  microbatch: number | undefined,
): number[] {
  const samples = batch ? samplesOf(batch) : 1;
  return evenParts(samples, partSize(plan, samples, engine, microbatch));
}

/** The samples of each part where they are cut as evenly as can be, with at most `most` in one. */
export function evenParts(samples: number, most: number): number[] {
  const count = Math.ceil(samples / most);
  return Array.from({ length: count }, (_, i) => Math.floor(samples / count) + (i < samples % count ? 1 : 0));
}

/** What is needed to run over the parts of a batch. */
export interface PartInputs {
  readonly engine: Engine;
  readonly program: Program<PartPlan>;
  readonly totals: Program<null> | undefined;
  /** Parameters and directions, by input name; looked up anew for each run. */
  readonly tensors: Readonly<Record<string, EngineTensor>>;
  readonly batch: Batch | undefined;
  /** Samples in each part. */
  readonly parts: readonly number[];
  /** Samples in what a part's program adds up itself, part by part; the part itself by default. */
  readonly units?: readonly number[] | undefined;
  /** Where masks are drawn from: once for the whole batch, whatever its parts. */
  readonly random: Random;
  readonly signal?: AbortSignal | undefined;
  /** Checks of what tensors were made of, made as the batch's while the first runs go on. */
  readonly check?: () => void;
}

/** A run of a part, which has begun. */
type Begun = Promise<Record<string, EngineTensor>>;

/**
 * Runs programs over a batch part by part, one program after the other. What a program runs side by side is begun ahead.
 * @param take is given what each run found, which it owns, and the number of its program, in the order of the parts.
 * @throws what checking the batch throws
 */
export async function runParts(
  inputs: PartInputs,
  sessions: readonly Session[],
  take: (outputs: Record<string, EngineTensor>, session: number) => Promise<void>,
): Promise<void> {
  const { engine, program, batch, parts, units = parts, random, signal, check } = inputs;
  const samples = batch ? samplesOf(batch) : 1;
  const data = runData(engine, batch ?? {}, program.plan, random, samplesSeen(program.plan, samples, parts));
  signal?.throwIfAborted();
  const ahead = await computeTotals(inputs, data, samples);
  const begun: Begun[] = [];
  let isChecked = false;
  try {
    for (const [i, session] of sessions.entries()) {
      const next = async (): Promise<void> => {
        // While the first runs go on.
        if (!isChecked) {
          checkFiniteBatch(data);
          check?.();
          isChecked = true;
        }
        await take(await begun.shift()!, i);
      };
      // Each thread has its next run before it is done with one.
      const most = session.sideBySide > 1 ? 2 * session.sideBySide : 1;
      let start = 0;
      for (const [at, size] of parts.entries()) {
        if (begun.length === most) await next();
        signal?.throwIfAborted();
        const part = size < samples ? sliceData(data, program.plan, start, start + size) : data;
        const own = await uploadPart(engine, part, units[at]!, samples);
        begun.push(handled(runOnce(engine, session, { ...inputs.tensors, ...ahead }, own)));
        start += size;
      }
      while (begun.length > 0) await next();
    }
  } finally {
    for (const left of await Promise.allSettled(begun))
      if (left.status === "fulfilled") engine.release(...Object.values(left.value));
    engine.release(...Object.values(ahead));
  }
}

/** Checks that a batch can be run in these parts. @throws DataError, NonFiniteError */
export function checkParts(plan: PartPlan, { x, y }: Batch, parts: readonly number[]): void {
  checkFits({ x, y }, samplesSeen(plan, samplesOf({ x, y }), parts), plan.checks);
  checkFiniteBatch({ x, y });
}

/** The samples that layers see at least. */
function samplesSeen({ split }: PartPlan, samples: number, parts: readonly number[]): number {
  return split.splits && split.coupled ? Math.min(...parts) : samples;
}

async function uploadPart(
  engine: Engine,
  part: RunData,
  size: number,
  samples: number,
): Promise<Record<string, EngineTensor>> {
  return { ...(await uploadData(engine, part)), ...(await uploadShare(engine, size, samples)) };
}

/** Uploads what a part's program is told of its samples. */
export async function uploadShare(
  engine: Engine,
  size: number,
  samples: number,
): Promise<Record<string, EngineTensor>> {
  return {
    [BATCH_SHARE]: await uploadScalar(engine, size / samples),
    [PART_SIZE]: await uploadScalar(engine, size),
  };
}

/** Reads the one output of a run, and frees it. */
export async function takePacked(engine: Engine, { packed }: Record<string, EngineTensor>): Promise<FloatData> {
  const { data } = await engine.read(packed!);
  engine.release(packed!);
  return data as FloatData;
}

async function computeTotals(
  { engine, totals, tensors }: PartInputs,
  data: RunData,
  samples: number,
): Promise<Record<string, EngineTensor>> {
  const size = { [BATCH_SIZE]: await uploadScalar(engine, samples) };
  if (!totals) return size;
  try {
    return {
      ...size,
      ...(await runOnce(engine, totals.session, { ...tensors, ...size }, await uploadData(engine, data))),
    };
  } catch (error) {
    engine.release(...Object.values(size));
    throw error;
  }
}
