import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { labelled } from "../../test/support/models.ts";
import { Dataset, type Loader } from "../datasets/index.ts";
import { type Engine, ReferenceEngine } from "../engine/index.ts";
import { OrtNodeEngine } from "../engine/ort-node.ts";
import {
  BatchNorm1d,
  Dropout,
  Linear,
  losses,
  type Module,
  manualSeed,
  Sequential,
  type StateDict,
  Tanh,
} from "../nn/index.ts";
import {
  AdamUpdater,
  AdamWUpdater,
  GeometricDamping,
  KFAC,
  LBFGS,
  LionUpdater,
  MuonUpdater,
  NewtonSummary,
  type NewtonSummaryOptions,
  Optimizer,
  ProdigyUpdater,
  ReduceDampingOnPlateau,
  RMSpropUpdater,
  ScheduleFreeAdamWUpdater,
  SGDUpdater,
  type StepResult,
  StochasticHvUpdater,
  type TrainingOptimizer,
  type Updater,
} from "../optim/index.ts";
import { type ParameterGroup, partition } from "../summary/index.ts";
import { OptionError } from "../util/errors.ts";
import type { Batch } from "../util/ndarray.ts";
import { decodeTree, encodeTree } from "./checkpoint.ts";

const oracle = new ReferenceEngine();
const double = new OrtNodeEngine({ precision: "float64", threads: 1 });
const single = new OrtNodeEngine({ threads: 1 });
afterAll(() => Promise.all([double.dispose(), single.dispose()]));

const data = Dataset.fromArrays(labelled(30, 5).x, labelled(30, 5).y);

const updaters: Readonly<Record<string, () => Updater>> = {
  SGD: () => new SGDUpdater({ momentum: 0.9, nesterov: true, weightDecay: 0.01 }),
  Adam: () => new AdamUpdater({ amsgrad: true }),
  AdamW: () => new AdamWUpdater({ weightDecay: 0.1 }),
  RMSprop: () => new RMSpropUpdater({ centered: true, momentum: 0.5 }),
  Lion: () => new LionUpdater(),
  Muon: () => new MuonUpdater({ others: new AdamUpdater() }),
  Prodigy: () => new ProdigyUpdater(),
  ScheduleFreeAdamW: () => new ScheduleFreeAdamWUpdater({ warmupSteps: 3 }),
  StochasticHv: () => new StochasticHvUpdater(),
};
const updater = fc.constantFrom(...Object.keys(updaters));

/** One of an option's values, or none. */
function maybe<T>(...values: readonly T[]): fc.Arbitrary<T | undefined> {
  return fc.constantFrom(undefined, ...values);
}

/** Options that may be set together. */
const newtonOptions = fc.record({
  periodHg: fc.constantFrom<number | "auto">(1, 2, 3, "auto"),
  periodOrder3: maybe(2),
  damping: fc.constantFrom<NonNullable<NewtonSummaryOptions["damping"]>>(0.2, "auto"),
  smoothing: fc.constantFrom<NewtonSummaryOptions>({}, { momLrs: 0.7 }, { momLrs: 0, medianLrs: 3 }),
  averaging: fc.constantFrom<NewtonSummaryOptions>(
    {},
    { movavg: 0.5 },
    { movavg: 0.5, movavgBiasCorrection: true },
    { uniformAvg: { period: 2, warmup: 1 } },
  ),
  regularisation: fc.constantFrom<NewtonSummaryOptions>(
    {},
    { nesterov: { dampingInt: 3, momOrder3: 0.5 } },
    { nesterov: { use: false }, ridge: 0.1 },
  ),
  clipRates: maybe<NonNullable<NewtonSummaryOptions["clipRates"]>>(
    { by: "average" },
    { by: "median", window: 2 },
    { by: "r" },
  ),
  normalizeDirs: maybe(true),
  summaryMode: maybe<"eval">("eval"),
});

/** Where summaries come from, which schedule turns the damping, and what the groups are. */
const newtonSurroundings = fc.record({
  source: maybe<"loader" | "loaders" | "data">("loader", "loaders", "data"),
  schedule: maybe<"plateau" | "geometric">("plateau", "geometric"),
  groups: fc.constantFrom<"canonical" | "wb" | "parts">("canonical", "wb", "parts"),
});

const recipes = fc.oneof(
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("fixed" as const), updater }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("newton" as const),
      updater,
      options: newtonOptions,
      around: newtonSurroundings,
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "lbfgs" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "kfac" as const }) },
);
type Recipe = typeof recipes extends fc.Arbitrary<infer R> ? R : never;

/** What makes a run. */
const runs = fc.record({
  recipe: recipes,
  norm: fc.boolean(),
  clipGradNorm: maybe(0.5),
  stepMicrobatch: maybe(4),
  /** Batches in one step. */
  together: fc.constantFrom(1, 1, 2),
  seed: fc.nat(1000),
  before: fc.nat(7),
  after: fc.integer({ min: 1, max: 5 }),
});
type RunRecipe = typeof runs extends fc.Arbitrary<infer R> ? R : never;

interface Run {
  readonly model: Module;
  readonly optimizer: TrainingOptimizer;
  readonly loader: Loader;
  /** Called with each step's loss. */
  readonly scheduled: (loss: number) => void;
}

/** All that a run needs to go on. */
interface Saved {
  readonly model: StateDict;
  readonly optimizer: unknown;
  readonly loader: Loader["state"];
}

function makeModel(norm: boolean, seed: number): Module {
  manualSeed(seed);
  return new Sequential(
    new Linear(5, 4),
    ...(norm ? [new BatchNorm1d(4)] : []),
    new Tanh(),
    new Dropout(0.3),
    new Linear(4, 3),
  );
}

/** The columns of the first weight in two groups, one of them with its bias. */
function parts(model: Module): ParameterGroup[] {
  const [weight, bias, ...rest] = model.parameters();
  const columns = (wanted: (column: number) => boolean): number[] =>
    Array.from({ length: 20 }, (_, entry) => entry).filter((entry) => wanted(entry % 5));
  const part = (entries: number[]) => ({ variable: weight!.variable, entries });
  return [
    { params: [part(columns((column) => column < 2)), bias!] },
    { params: [part(columns((column) => column >= 2)), ...rest] },
  ];
}

const partitions = { canonical: partition.canonical, wb: partition.wb, parts };

async function makeNewton(
  model: Module,
  engine: Engine,
  { updater: name, options, around }: Extract<Recipe, { kind: "newton" }>,
  common: object,
): Promise<Pick<Run, "optimizer" | "scheduled">> {
  const { smoothing, averaging, regularisation, ...own } = options;
  const hgLoader = (): Loader => data.loader({ batchSize: 7, shuffle: true, seed: 9 });
  const source = {
    loader: () => ({ hgLoader: hgLoader() }),
    loaders: () => ({ hgLoader: hgLoader(), hgBatches: 2 }),
    data: () => ({ hgData: [labelled(6, 1), labelled(4, 2)] }),
  };
  const given = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
  const optimizer = await NewtonSummary.create(model, losses.crossEntropy, {
    ...common,
    engine,
    ...given,
    ...smoothing,
    ...averaging,
    ...regularisation,
    ...(around.source && source[around.source]()),
    partition: partitions[around.groups](model),
    updater: updaters[name]!(),
  } as NewtonSummaryOptions);
  const { schedule } = around;
  if (schedule === "plateau") {
    const plateau = new ReduceDampingOnPlateau(optimizer, { factor: 0.5, patience: 0 });
    return { optimizer, scheduled: (loss) => Number.isFinite(loss) && plateau.step(loss) };
  }
  const geometric = schedule && new GeometricDamping(optimizer, { factor: 0.9, warmup: 2 });
  return { optimizer, scheduled: () => geometric?.step() };
}

async function makeRun(recipe: RunRecipe, engine: Engine, modelSeed: number): Promise<Run> {
  const { norm, clipGradNorm, stepMicrobatch, seed, recipe: own } = recipe;
  const model = makeModel(norm, modelSeed);
  const loader = data.loader({ batchSize: 8, shuffle: true, seed, dropLast: true });
  // A step that is not finite is left out, and counts.
  const common = { engine, seed, onNonFinite: "skip", log: () => {} } as const;
  const some = { ...common, ...(stepMicrobatch && { stepMicrobatch }) };
  const whole = { ...some, ...(clipGradNorm && { clipGradNorm }) };
  const loss = losses.crossEntropy;
  if (own.kind === "newton") return { model, loader, ...(await makeNewton(model, engine, own, whole)) };
  const make = {
    fixed: (name: string) => Optimizer.create(model, loss, { ...whole, updater: updaters[name]!(), lr: 0.05 }),
    lbfgs: () => LBFGS.create(model, loss, { ...some, maxIter: 3, historySize: 3 }),
    kfac: () => KFAC.create(model, loss, { ...common, factorUpdateSteps: 2, invUpdateSteps: 4 }),
  };
  const optimizer = own.kind === "fixed" ? await make.fixed(own.updater) : await make[own.kind]();
  return { model, loader, optimizer, scheduled: () => undefined };
}

/** Some steps, and what they told. */
async function steps({ loader, optimizer, scheduled }: Run, { recipe, together }: RunRecipe, count: number) {
  const results: StepResult[] = [];
  const inOne = recipe.kind === "kfac" ? 1 : together;
  for (let i = 0; i < count; i++) {
    const batches: Batch[] = [];
    while (batches.length < inOne) batches.push(await loader.draw());
    const result = await optimizer.step(inOne === 1 ? batches[0]! : batches);
    scheduled(result.loss);
    results.push(result);
  }
  return results;
}

async function save({ model, optimizer, loader }: Run): Promise<Saved> {
  return { model: await model.stateDict(), optimizer: await optimizer.state(), loader: loader.state };
}

async function restore({ model, optimizer, loader }: Run, saved: Saved): Promise<void> {
  model.loadStateDict(saved.model);
  loader.state = saved.loader;
  await optimizer.restore(saved.optimizer);
}

/** Everything that may be told apart, the engine's precision aside. */
async function resumes(engine: Engine, recipe: RunRecipe): Promise<void> {
  const run = await makeRun(recipe, engine, 1).catch((error: unknown) => {
    // Options that do not go together are refused, which other tests are about.
    fc.pre(!(error instanceof OptionError));
    throw error;
  });
  await steps(run, recipe, recipe.before);
  const tree = await save(run);
  const saved = decodeTree(encodeTree(tree)) as Saved;
  expect(saved).toEqual(tree);
  const expected = await steps(run, recipe, recipe.after);
  const end = await save(run);
  // A fresh run with other weights, and the same run gone astray.
  const fresh = await makeRun(recipe, engine, 2);
  await steps(run, recipe, 1);
  for (const other of [fresh, run]) {
    await restore(other, saved);
    expect(await save(other)).toEqual(tree);
    expect(await steps(other, recipe, recipe.after)).toEqual(expected);
    expect(await save(other)).toEqual(end);
  }
  await Promise.all([run.optimizer.dispose(), fresh.optimizer.dispose()]);
}

describe("a run of any optimiser, updater, schedule and option goes on bit for bit from one plain tree", () => {
  test("on the oracle", { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(runs, (recipe) => resumes(oracle, recipe)),
      { numRuns: 20 },
    );
  });

  test.each([
    ["float64", double],
    ["float32", single],
  ])("on ONNX Runtime, %s", { timeout: 120_000 }, async (_precision, engine) => {
    await fc.assert(
      fc.asyncProperty(runs, (recipe) => resumes(engine, recipe)),
      { numRuns: 3 },
    );
  });

  test.each(Object.keys(updaters))("with the updater %s", { timeout: 60_000 }, async (name) => {
    const recipe: RunRecipe = {
      recipe: { kind: "fixed", updater: name },
      norm: true,
      clipGradNorm: 0.5,
      stepMicrobatch: undefined,
      together: 2,
      seed: 3,
      before: 3,
      after: 3,
    };
    await resumes(oracle, recipe);
  });
});
