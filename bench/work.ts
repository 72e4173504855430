import { type Engine, runBatch, samplesOf, specOf, variableTensors } from "../src/engine/index.ts";
import type { Graph } from "../src/graph/index.ts";
import {
  AdamUpdater,
  type Batch,
  computeHg,
  losses,
  Optimizer,
  Random,
  SGDUpdater,
  type Updater,
} from "../src/index.ts";
import { stepSource } from "../src/optim/step-graph.ts";
import { partSize } from "../src/summary/run-parts.ts";
import { summarySource } from "../src/summary/summary.ts";
import type { Method, Setting } from "./request.ts";
import { forwardSource, noiseDirection, type Subject } from "./subject.ts";

/** Something to time. */
export interface Task {
  readonly run: () => Promise<void>;
  /** Ends what has begun ahead, before something else is measured. */
  readonly settle?: () => Promise<void>;
  /** The graphs that one run evaluates, each in one or several parts. */
  readonly graphs: readonly Graph[];
  /** Samples in one part of a summary. */
  readonly part?: number;
}

/** Learning rates so small that no run ends elsewhere than it began. */
const LR = 1e-6;

/** The updaters that steps are measured with; the second is that of `NewtonSummary` in `npm start`. */
export const updaters: Readonly<Record<"plain" | "momentum" | "adam", () => Updater>> = {
  plain: () => new SGDUpdater(),
  momentum: () => new SGDUpdater({ momentum: 0.9, dampening: 0.9 }),
  adam: () => new AdamUpdater(),
};

/** Of an ordinary step. */
export function stepUpdater(method: Method | undefined): Updater {
  if (method === undefined || method === "newton") throw new Error(`no updater ${method}`);
  return updaters[method]();
}

/** Prepares one forward pass, step or summary. */
export async function makeTask(setting: Setting, subject: Subject, engine: Engine): Promise<Task> {
  if (setting.work === "forward") return await forwardTask(subject, engine);
  if (setting.work === "step") return await stepTask(setting, subject, engine);
  return summaryTask(setting, subject, engine);
}

async function forwardTask(subject: Subject, engine: Engine): Promise<Task> {
  const { objective, batch } = subject;
  const { graph, plan } = forwardSource(subject);
  const session = await engine.compile(graph, { samples: samplesOf(batch) });
  const random = new Random(0);
  const run = async (): Promise<void> => {
    const kept = await variableTensors(engine, objective.variables);
    const { loss } = await runBatch(engine, { session, plan }, kept, batch, random);
    engine.release(loss!);
  };
  return { run, graphs: [graph] };
}

async function stepTask({ method }: Setting, subject: Subject, engine: Engine): Promise<Task> {
  const { model, objective, groups, batch } = subject;
  const updater = stepUpdater(method);
  const optimizer = await Optimizer.create(model, losses.nll, { updater, lr: LR, engine });
  const parts = { objective, groups, updater, clipGradNorm: undefined };
  let steps = optimizer.steps(forever(batch));
  return {
    run: async () => {
      await steps.next();
    },
    settle: async () => {
      await steps.return(undefined);
      steps = optimizer.steps(forever(batch));
    },
    graphs: [stepSource(parts, { kind: "batch", spec: specOf(batch) }).graph],
  };
}

function* forever(batch: Batch): Generator<Batch> {
  for (;;) yield batch;
}

function summaryTask({ microbatch, batch: samples }: Setting, subject: Subject, engine: Engine): Task {
  const { model, objective, groups, batch } = subject;
  const { graph, plan } = summarySource(objective, groups, batch);
  const direction = noiseDirection(subject);
  const options = { engine, direction, ...(microbatch === undefined ? {} : { microbatch }) };
  return {
    run: async () => {
      await computeHg(model, losses.nll, batch, options);
    },
    graphs: [graph, ...plan.rest.map((pass) => pass.graph)],
    part: partSize(plan, samples, engine, microbatch),
  };
}
