import { createHash } from "node:crypto";
import {
  type CompileOptions,
  type Engine,
  type Objective,
  type Precision,
  type Source,
  samplesOf,
  specOf,
  type Tuning,
} from "../engine/index.ts";
import { thisMachine } from "../engine/ort-node/machine.ts";
import { OrtNodeEngine } from "../engine/ort-node.ts";
import { type Graph, GraphBuilder, graphOf, isBatch, type Node, printGraph } from "../graph/index.ts";
import { type Loss, type Module, objective } from "../nn/index.ts";
import { type ConvolutionChoice, convolutionsOf, type Target } from "../onnx/index.ts";
import { input, productFlops, slice } from "../ops/index.ts";
import { SGDUpdater } from "../optim/index.ts";
import { slopesSource } from "../optim/step-graph.ts";
import { partFigures, type StepCut, stepCut } from "../optim/step-parts.ts";
import {
  gradientSource,
  type NamedGroup,
  nameGroups,
  type Partition,
  partition as partitions,
  partsOf,
  type SummaryPlan,
  summarySource,
} from "../summary/index.ts";
import type { Batch } from "../util/ndarray.ts";
import { checkPositive, checkWhole, refuseUnknown } from "../util/options.ts";
import { DryRuns } from "./dry-runs.ts";
import { watch as ownWatch, pick, race, type Watch, type Way } from "./race.ts";

/** How to tune. */
export interface TuneOptions {
  /** Of the engine that the tuning is for; "float32" by default. */
  readonly precision?: Precision;
  /** Threads for one operator where they are not to be chosen. */
  readonly threads?: number;
  /** What summaries are taken of, for their microbatch: `batch` by default, null where there are none. */
  readonly hgBatch?: Batch | null;
  /** Of the summaries; `partition.canonical(model)` by default. */
  readonly partition?: Partition;
  /** What measuring may take in all, but for the run or compilation under way: 5 by default. */
  readonly seconds?: number;
}

const OPTIONS = ["precision", "threads", "hgBatch", "partition", "seconds"];

/** FLOPs of a run whose time is to say how fast a convolution is, and a gradient: tens of milliseconds, and some hundred. */
const CONVOLUTION_FLOPS = 1e9;
const GRADIENT_FLOPS = 5e9;

/** Samples of a convolution are multiples of this: those that fill up blocks would look slow beside what they are for many. */
const FULL = 16;

/** The share of the time by which each is to have been measured; the rest is for the forms together. */
const SHARES = { threads: 0.2, forms: 0.65, microbatch: 0.85 } as const;

/** Where half the threads take so many times as long, a quarter of them is not tried. */
const TOO_FEW = 1.2;

/** What fewer threads must take of the time: other work on the machine, which may end, is in their favour. */
const FEWER = 0.9;

/** What a node of a large graph takes to compile, in ms. */
const COMPILING = 0.3;

/** Multiples of the rule's microbatch to be tried. */
const MICROBATCHES = [1, 2, 0.5, 4];

/** Tells a model, the shapes of its batches, and all else that a {@link Tuning} depends on but the machine. */
export function tuningKey(model: Module, loss: Loss, batch: Batch, options: TuneOptions = {}): string {
  const { precision = "float32", threads = null, hgBatch = batch, partition = partitions.canonical(model) } = options;
  const target = objective(model, loss);
  const { graph } = gradientSource(target, batch);
  const groups = hgBatch && nameGroups(partition, target.variables);
  const counts = [batch, hgBatch].map((each) => each && samplesOf(each));
  const all = JSON.stringify([printGraph(graph), precision, threads, groups, counts]);
  return createHash("sha256").update(all).digest("hex").slice(0, 32);
}

/**
 * Chooses what is the fastest on this machine by measuring, for one model and the shapes of its batches: the threads of ONNX
 * Runtime, the form of each convolution, and the microbatch of summaries. What is not clearly faster (by 5 %) than the rules'
 * choice, or was not reached in time, is left as the rules say. The model is not changed.
 * @param batch of a step.
 * @returns what `new OrtNodeEngine({ tuning })` takes. It can be kept as JSON.
 * @throws OptionError, DataError, and what tracing and compiling throw
 */
export function tune(model: Module, loss: Loss, batch: Batch, options: TuneOptions = {}): Promise<Tuning> {
  return tuneBy(ownWatch, model, loss, batch, options);
}

/** `tune` by any watch. */
export async function tuneBy(
  watch: Watch,
  model: Module,
  loss: Loss,
  batch: Batch,
  options: TuneOptions = {},
): Promise<Tuning> {
  refuseUnknown("tune", options, OPTIONS);
  const {
    precision = "float32",
    seconds = 5,
    threads,
    hgBatch = batch,
    partition = partitions.canonical(model),
  } = options;
  checkPositive("tune: seconds", seconds);
  if (threads !== undefined) checkWhole("tune: threads", threads, 1);
  const machine = thisMachine();
  const key = tuningKey(model, loss, batch, options);
  const target = objective(model, loss);
  const gradient = gradientTrial(target, nameGroups(partition, target.variables), batch);
  const engine = new OrtNodeEngine({ precision, threads: threads ?? machine.threads });
  const tuner = new Tuner(engine, watch, seconds, threads ?? machine.threads);
  try {
    if (threads === undefined) await tuner.chooseThreads(gradient);
    await tuner.chooseForms(gradient.graph, samplesOf(batch), tuner.shares(gradient) > 1);
    const microbatches = hgBatch
      ? await tuner.tuneSummary(summarySource(target, nameGroups(partition, target.variables), hgBatch), hgBatch)
      : {};
    await tuner.checkForms(gradient);
    const { threads: chosen, forms: convolutions, gains } = tuner;
    return { machine, key, threads: chosen, convolutions, microbatches, gains };
  } finally {
    await engine.dispose();
  }
}

/** The part of a step that takes its time. */
interface GradientTrial {
  readonly graph: Graph;
  readonly batch: Batch;
  /** How the batch is cut on an engine; undefined where it is not. */
  readonly cut: ((engine: Parameters<typeof stepCut>[2]) => StepCut) | undefined;
}

function gradientTrial(objective: Objective, groups: readonly NamedGroup[], batch: Batch): GradientTrial {
  const parts = { objective, groups, updater: new SGDUpdater(), clipGradNorm: undefined };
  const figures = partFigures(parts, specOf(batch));
  if (!figures) return { graph: gradientSource(objective, batch).graph, batch, cut: undefined };
  const cut: GradientTrial["cut"] = (engine) => stepCut(figures, samplesOf(batch), engine);
  return { graph: slopesSource(parts, specOf(batch)).graph, batch, cut };
}

/** One call of `tune`: what is chosen so far. */
class Tuner {
  threads: number;
  readonly forms: Record<string, string> = {};
  readonly gains = { threads: 1, convolutions: 1, microbatch: 1 };
  readonly #engine: OrtNodeEngine;
  readonly #runs: DryRuns;
  readonly #watch: Watch;
  readonly #begun: number;
  readonly #seconds: number;

  constructor(engine: OrtNodeEngine, watch: Watch, seconds: number, threads: number) {
    this.#engine = engine;
    this.#runs = new DryRuns(engine);
    this.#watch = watch;
    this.#begun = watch.now();
    this.#seconds = seconds;
    this.threads = threads;
  }

  /** In how many shares a step's batch is run. */
  shares({ cut }: GradientTrial, threads: number = this.threads): number {
    return cut?.(this.#with(threads)).shares.length ?? 1;
  }

  /** All threads, or a half of them as long as that is clearly faster, and so on. */
  async chooseThreads(gradient: GradientTrial): Promise<void> {
    const way = (threads: number): Promise<Way> => this.#gradientWay(`threads ${threads}`, gradient, { threads });
    let best = await way(this.threads);
    for (let threads = this.threads; threads > 1 && !this.#isLate(SHARES.threads); ) {
      threads = Math.floor(threads / 2);
      const fewer = await way(threads);
      const times = await race([best, fewer], this.#watch, this.#until(SHARES.threads));
      if (!times || times[1]! > TOO_FEW * times[0]!) break;
      const { index, gain } = pick(times, FEWER);
      if (index === 1) [best, this.threads] = [fewer, threads];
      this.gains.threads *= gain;
    }
    await this.#runs.clear();
  }

  /** The fastest form of each convolution that has none yet, those with most work first. */
  async chooseForms(graph: Graph, samples: number, sideBySide: boolean): Promise<void> {
    const choices = convolutionsOf(graph, await this.#target(samples))
      .filter(({ key }) => !(key in this.forms))
      .map((choice) => ({ ...choice, graph: alone(choice.node) }))
      .sort((a, b) => productFlops(b.graph, 1) - productFlops(a.graph, 1));
    for (const choice of choices) {
      if (this.#isLate(SHARES.forms)) return;
      const form = await this.#formOf(choice, samples, sideBySide);
      if (form !== undefined) this.forms[choice.key] = form;
    }
  }

  async #formOf(
    { key, rule, forms, graph }: ConvolutionChoice & { graph: Graph },
    most: number,
    sideBySide: boolean,
  ): Promise<string | undefined> {
    const names = [rule, ...forms.filter((name) => name !== rule)];
    const samples = Math.min(most, FULL * Math.ceil(samplesFor(graph, CONVOLUTION_FLOPS, most) / FULL));
    const inputs = await this.#runs.inputs(graph, samples);
    const ways: Way[] = [];
    for (const name of names) {
      const options = { threads: this.threads, convolutions: { [key]: name }, sideBySide, samples };
      const session = await this.#runs.compile(graph, options);
      ways.push({ name: `${key} as ${name}`, run: () => this.#runs.run(session, inputs) });
    }
    const times = await race(ways, this.#watch, this.#until(SHARES.forms));
    await this.#runs.clear();
    return times && names[pick(times).index];
  }

  /** The forms of its convolutions, and the microbatch by the width of the stack of tangents, where the batch splits. */
  async tuneSummary(
    { graph, plan, sideBySide = false }: Source<SummaryPlan>,
    batch: Batch,
  ): Promise<Tuning["microbatches"]> {
    const samples = samplesOf(batch);
    const byRule = Math.max(...partsOf(plan, batch, this.#with(this.threads), undefined));
    await this.chooseForms(graph, byRule, sideBySide);
    if (!plan.split.splits || plan.split.coupled) return {};
    const options = { threads: this.threads, convolutions: this.forms, sideBySide };
    const sizes = MICROBATCHES.map((factor) => Math.min(samples, Math.max(1, Math.round(factor * byRule))));
    const ways: Way[] = [];
    for (const work of new Set(sizes)) {
      const compiled = this.#watch.now() + COMPILING * graph.nodes.length;
      if (compiled > this.#until(SHARES.microbatch)) break;
      const session = await this.#runs.compile(graph, { ...options, samples: work });
      const inputs = await this.#runs.inputs(graph, work, batch);
      ways.push({ name: `microbatch ${work}`, work, run: () => this.#runs.run(session, inputs) });
    }
    const times = ways.length > 1 ? await race(ways, this.#watch, this.#until(SHARES.microbatch)) : undefined;
    const { index, gain } = pick(times);
    this.gains.microbatch = gain;
    await this.#runs.clear();
    if (!times) return {};
    // A batch that the rule does not cut tells nothing of larger ones.
    return index === 0 && byRule === samples ? {} : { [plan.width]: ways[index]!.work! };
  }

  /** Goes back to the rules' forms where those that are each the fastest are not so together. */
  async checkForms(gradient: GradientTrial): Promise<void> {
    const { graph, batch } = gradient;
    const choices = convolutionsOf(graph, await this.#target(samplesOf(batch)));
    const rules = Object.fromEntries(choices.map(({ key, rule }) => [key, rule]));
    if (choices.every(({ key, rule }) => (this.forms[key] ?? rule) === rule) || this.#isLate(1)) return;
    const ways: Way[] = [];
    for (const [name, convolutions] of Object.entries({ rules, "chosen forms": this.forms }))
      ways.push(await this.#gradientWay(name, gradient, { threads: this.threads, convolutions }));
    const [before = 1, after = 1] = (await race(ways, this.#watch, this.#until(1))) ?? [];
    if (after <= before) this.gains.convolutions = after / before;
    else for (const { key, rule } of choices) if (key in this.forms) this.forms[key] = rule;
    await this.#runs.clear();
  }

  /** What graphs are written for, where runs have so many samples. */
  async #target(samples: number): Promise<Target> {
    return { precision: this.#engine.precision, blockSize: await this.#engine.blockSize(), samples };
  }

  /** The engine as it is with so many threads. */
  #with(threads: number): Pick<Engine, "precision" | "threads" | "lanes"> {
    const { precision, lanes } = this.#engine;
    return { precision, threads, lanes: Math.min(lanes, threads) };
  }

  /** The gradient of a batch, or of as much of it as takes long enough, in as many shares as a step has. */
  async #gradientWay(
    name: string,
    gradient: GradientTrial,
    options: CompileOptions & { readonly threads: number },
  ): Promise<Way> {
    const { graph, batch } = gradient;
    const shares = this.shares(gradient, options.threads);
    const samples = Math.ceil(samplesFor(graph, GRADIENT_FLOPS, samplesOf(batch)) / shares);
    const inputs = await this.#runs.inputs(graph, samples, batch);
    const session = await this.#runs.compile(graph, { ...options, sideBySide: shares > 1, samples });
    return { name, run: () => this.#runs.run(session, inputs) };
  }

  #until(share: number): number {
    return this.#begun + share * this.#seconds * 1000;
  }

  #isLate(share: number): boolean {
    return this.#watch.now() >= this.#until(share);
  }
}

/** A graph of one node, of whose result little is kept: results are copied out of the engine. */
function alone({ op, inputs, attrs }: Node): Graph {
  const b = new GraphBuilder();
  const operands = inputs.map(({ shape }, i) => input(b, `input ${i}`, shape));
  let result = b.apply(op, operands, attrs);
  for (const [axis, length] of result.shape.entries()) if (!isBatch(length)) result = slice(b, result, axis, 0, 1);
  return graphOf({ result });
}

/** Samples with which a graph has so many FLOPs, `most` at most. */
function samplesFor(graph: Graph, flops: number, most: number): number {
  return Math.max(1, Math.min(most, Math.floor(flops / productFlops(graph, 1))));
}
