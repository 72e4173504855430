import {
  type Engine,
  NewtonSummary,
  type NewtonSummaryState,
  nn,
  type PlateauOptions,
  ReduceDampingOnPlateau,
  ReferenceEngine,
} from "../../src/index.ts";
import { type Item, MissingFeature } from "./json.ts";
import type { Report } from "./report.ts";

/** Some thirty products of the same numbers. */
const BOUND = 1e-14;

/** What each of the reference's arguments becomes here. */
const readers: Readonly<Record<string, (item: Item) => PlateauOptions>> = {
  mode: (item) => ({ mode: item.text() as "min" | "max" }),
  factor: (item) => ({ factor: item.number() }),
  patience: (item) => ({ patience: item.number() }),
  threshold: (item) => ({ threshold: item.number() }),
  threshold_mode: (item) => ({ thresholdMode: item.text() as "rel" | "abs" }),
  cooldown: (item) => ({ cooldown: item.number() }),
  min_lr: (item) => ({ min: item.isList ? item.numbers() : item.number() }),
  eps: (item) => ({ eps: item.number() }),
  apply_to: (item) => ({ applyTo: item.text() === "damping_int" ? "dampingInt" : "damping" }),
};

/** Feeds the metrics of every run to a schedule, half of them after its state was taken over by a fresh one. */
export async function checkDampingPlateau(file: Item, report: Report): Promise<void> {
  const engine = new ReferenceEngine();
  for (const [i, run] of file.get("runs").list().entries()) await checkRun(`run ${i}`, run, engine, report);
  await engine.dispose();
}

async function checkRun(what: string, run: Item, engine: Engine, report: Report): Promise<void> {
  const metrics = run.get("metrics").numbers();
  const after = run.get("after_step").list();
  let { optimizer, schedule } = await start(run, engine);
  for (const [step, metric] of metrics.entries()) {
    if (step === Math.floor(metrics.length / 2)) {
      const saved = await optimizer.state();
      ({ optimizer, schedule } = await start(run, engine));
      await optimizer.restore(saved);
    }
    schedule.step(metric);
    const expected = after[step] ?? run.fail(`has no state after step ${step}`);
    const compare = (key: string, values: ArrayLike<number>, numbers: readonly number[]): void =>
      report.compare("float64", `${what}: ${key} after step ${step}`, values, numbers, { bound: BOUND });
    compare("damping", optimizer.damping, expected.get("damping").numbers());
    compare("lr", optimizer.learningRates, expected.get("lr").numbers());
    compare("damping_int", [optimizer.dampingInt ?? Number.NaN], [expected.get("damping_int").number()]);
    const { best = Number.NaN, badSteps, cooldown } = schedule.state;
    compare("best", [best], [expected.get("best").number()]);
    compare("num_bad_epochs", [badSteps], [expected.get("num_bad_epochs").number()]);
    compare("cooldown_counter", [cooldown], [expected.get("cooldown_counter").number()]);
  }
}

/** An optimiser of two groups with a schedule, with the dampings and rates that a run begins with. */
async function start(
  run: Item,
  engine: Engine,
): Promise<{ optimizer: NewtonSummary; schedule: ReduceDampingOnPlateau }> {
  const initial = run.get("initial");
  const damping = initial.get("damping").numbers();
  const one = { shape: [], data: Float64Array.of(1) };
  const model = nn.fromFunction({ a: one, b: one }, (p) => p.a!.mul(p.b!));
  const optimizer = await NewtonSummary.create(model, (output) => output, {
    engine,
    damping,
    log: () => {},
    nesterov: { dampingInt: initial.get("damping_int").number() },
  });
  await optimizer.step();
  const begun: NewtonSummaryState = await optimizer.state();
  const smoothed = Float64Array.from(initial.get("lr").numbers(), (lr, s) => lr / damping[s]!);
  await optimizer.restore({ ...begun, rates: { ...begun.rates, smoothed } });
  const schedule = new ReduceDampingOnPlateau(optimizer, optionsOf(run.get("args")));
  return { optimizer, schedule };
}

function optionsOf(args: Item): PlateauOptions {
  const options: PlateauOptions = {};
  for (const [key, item] of args.entries()) {
    if (!Object.hasOwn(readers, key)) throw new MissingFeature(`argument ${key} of ReduceDampingOnPlateau`);
    Object.assign(options, readers[key]!(item));
  }
  return options;
}
