import { type Batch, type Engine, type Module, NewtonSummary, type StepResult } from "../../src/index.ts";
import { diagonalPart } from "../../src/nesterov/index.ts";
import { type GoldenEngine, goldenEngines, onEveryEngine } from "./engines.ts";
import { type Item, MissingFeature } from "./json.ts";
import { readNewtonOptions } from "./newton-options.ts";
import { type Problem, partitionOf, readProblem } from "./problem.ts";
import { largest, type Report } from "./report.ts";

/** Follows every run step by step, in float64: an error of float32 grows beyond all use within some steps. */
export async function checkTrajectory(file: Item, report: Report): Promise<void> {
  const [train, hg] = [file.get("train").list(), file.get("hg").list()];
  const problem = readProblem(file, train[0] ?? file.get("train").fail("is empty"));
  const data = { train: train.map((item) => batchOf(problem, item)), hg: hg.map((item) => batchOf(problem, item)) };
  const runs = file
    .get("runs")
    .list()
    .filter((run) => canFollow(run, report));
  const float64 = goldenEngines.filter(({ bound }) => bound < 1e-6);
  await onEveryEngine(async (engine, golden) => {
    for (const run of runs) await followRun({ file, problem, data, run, engine, golden, report });
  }, float64);
}

function batchOf(problem: Problem, item: Item): Batch {
  return problem.batch(item) ?? item.fail("has no x");
}

/** Whether we have all that a run needs; what is missing is noted. */
function canFollow(run: Item, report: Report): boolean {
  try {
    readNewtonOptions(run);
    return true;
  } catch (error) {
    if (!(error instanceof MissingFeature)) throw error;
    report.skips.push(`${error.message} (run ${run.get("name").text()})`);
    return false;
  }
}

/** One run on one engine. */
interface Follow {
  readonly file: Item;
  readonly problem: Problem;
  readonly data: { readonly train: readonly Batch[]; readonly hg: readonly Batch[] };
  readonly run: Item;
  readonly engine: Engine;
  readonly golden: GoldenEngine;
  readonly report: Report;
}

async function followRun(follow: Follow): Promise<void> {
  const { file, problem, data, run, engine } = follow;
  const model = problem.model(file.get("init"));
  const optimizer = await NewtonSummary.create(model, problem.loss, {
    ...readNewtonOptions(run),
    engine,
    partition: partitionOf(model, run.get("groups")),
    hgLoader: cycle(data.hg),
    log: () => undefined,
  });
  const checker = new StepChecker(follow);
  for (let step = 0; step < file.get("steps").number() && checker.follows(step); step++) {
    for (const event of run.get("events").list())
      if (event.get("before_step").number() === step) optimizer.dampingMul(event.get("damping_mul").number());
    checker.compareStep(step, await optimizer.step(data.train[step]!));
    checker.compareNorm(step, await normOf(model));
  }
  if (checker.follows(file.get("steps").number() - 1)) await checker.compareEnd(model);
  await optimizer.dispose();
}

/** Batches in order, over and over. */
function cycle(batches: readonly Batch[]): { draw(): Promise<Batch> } {
  let at = 0;
  return { draw: async () => batches[at++ % batches.length]! };
}

async function normOf(model: Module): Promise<number> {
  return Math.hypot(...Object.values(await model.stateDict()).flatMap(({ data }) => [...data]));
}

/** How much further off than the perturbed runs of the file we may be. */
const MARGIN = 20;

/** The perturbation of those runs: nobody can be asked to be nearer than it. */
const PERTURBATION = 1e-13;

/** Where a run may differ by more, comparing says nothing. */
const CHAOS = 1e-3;

/** Compares one run with the file, each step as closely as its sensitivity allows. */
class StepChecker {
  readonly #run: Item;
  readonly #label: string;
  readonly #report: Report;
  readonly #loss: readonly number[];
  readonly #lrs: readonly number[];
  readonly #updates: ReadonlyMap<number, Item>;

  constructor({ run, golden, report }: Follow) {
    this.#run = run;
    this.#label = golden.label;
    this.#report = report;
    this.#loss = boundsOf(run, "loss_rel_by_step");
    this.#lrs = boundsOf(run, "lrs_rel_by_step");
    const updates = run.get("hg_updates").list();
    this.#updates = new Map(updates.map((update) => [update.get("step").number(), update]));
  }

  /** Whether the run is still determined. */
  follows(step: number): boolean {
    return this.#worst(step) < CHAOS;
  }

  compareStep(step: number, { loss, learningRates, update }: StepResult): void {
    this.#compare(`loss at step ${step}`, [loss], [this.#run.get("loss").numbers()[step]!], this.#loss[step]!);
    const expected = this.#run.get("lrs").list()[step]!.numbers();
    this.#compare(`lrs at step ${step}`, learningRates, expected, this.#lrs[step]!);
    const golden = this.#updates.get(step);
    this.#require((update !== undefined) === (golden !== undefined), `${update ? "a" : "no"} summary at step ${step}`);
    if (update && golden) this.#compareUpdate(step, update, golden);
  }

  compareNorm(step: number, norm: number): void {
    const expected = this.#run.get("param_norm").numbers()[step]!;
    this.#compare(`norm of the parameters after step ${step}`, [norm], [expected], this.#worst(step));
  }

  async compareEnd(model: Module): Promise<void> {
    const bound =
      MARGIN * Math.max(PERTURBATION, ...sensitivities(this.#run, (item) => item.get("final_params_rel").number()));
    const expected = this.#run.get("final_params").arrays();
    const scale = Math.max(...Object.values(expected).map(({ data }) => largest(data)));
    for (const [name, { data }] of Object.entries(await model.stateDict()))
      this.#compare(`final ${name}`, data, expected[name]?.data ?? [], bound, scale);
  }

  /** Without regularisation the reference leaves order3 at 0, and with `diagonal` all of H beside the diagonal. */
  #compareUpdate(step: number, update: NonNullable<StepResult["update"]>, golden: Item): void {
    const { H, g, order3, D, rates, rawRates = [], r, found } = update;
    const bound = this.#worst(step);
    const compare = (key: string, values: ArrayLike<number>): void => {
      const item = golden.find(key);
      if (item) this.#compare(`${key} at step ${step}`, values, item.numbers(), bound);
    };
    const kept = this.#flag("diagonal") ? diagonalPart(H, g.length) : H;
    this.#compare(`H at step ${step}`, kept, golden.get("H").matrix(), bound);
    compare("g", g);
    if (!this.#flag("noregul")) compare("order3", order3);
    compare("D_used", D);
    compare("curr_lrs", rates);
    const expectsRates = golden.find("found")?.flag();
    if (expectsRates === undefined) return;
    this.#require(found === expectsRates, `found is ${found} at step ${step}`);
    this.#compareRaw(step, rawRates, golden);
    const norm = golden.find("r")?.number();
    if (norm !== undefined) this.#compare(`r at step ${step}`, [r ?? Number.NaN], [norm], bound);
  }

  /** The file knows how closely smoothed rates can be followed; raw ones enter these, and so may be as far off. */
  #compareRaw(step: number, rawRates: ArrayLike<number>, golden: Item): void {
    const [expected, smoothed] = [golden.get("lrs_raw").numbers(), golden.get("curr_lrs").numbers()];
    const scale = Math.max(largest(expected), largest(smoothed));
    this.#compare(`lrs_raw at step ${step}`, rawRates, expected, this.#worst(step), scale);
  }

  /** What the step allows for whatever follows from both losses and rates. */
  #worst(step: number): number {
    return Math.max(this.#loss[step]!, this.#lrs[step]!);
  }

  #compare(
    what: string,
    actual: ArrayLike<number>,
    expected: ArrayLike<number>,
    bound: number,
    scale: number = largest(expected),
  ): void {
    this.#report.compare(this.#label, `${this.#name}: ${what}`, actual, expected, { bound, scale });
  }

  #require(condition: boolean, problem: string): void {
    this.#report.require(condition, `${this.#label}: ${this.#name}: ${problem}`);
  }

  #flag(option: string): boolean {
    return this.#run.get("options").find(option)?.flag() ?? false;
  }

  get #name(): string {
    return this.#run.get("name").text();
  }
}

/** What the perturbed runs say. */
function sensitivities<T>(run: Item, read: (item: Item) => T): T[] {
  return run
    .get("sensitivity")
    .entries()
    .map(([, item]) => read(item));
}

/** The bound of each step: a perturbed run may come near again by chance, so the worst until then counts. */
function boundsOf(run: Item, key: string): number[] {
  let worst = PERTURBATION;
  const rows = sensitivities(run, (item) => item.get(key).numbers());
  return rows[0]!.map((_, step) => {
    worst = Math.max(worst, ...rows.map((row) => row[step]!));
    return MARGIN * worst;
  });
}
