import {
  type Batch,
  computeHg,
  type Engine,
  type Module,
  OptionError,
  type Summary,
  valueAndGrad,
} from "../../src/index.ts";
import { type GoldenEngine, onEveryEngine } from "./engines.ts";
import type { Item } from "./json.ts";
import { type Problem, partitionOf, readProblem } from "./problem.ts";
import { largest, type Report } from "./report.ts";

/** Checks loss, gradient and, for every partition, ḡ, H̄ and order3: for the whole batch and for its parts added up. */
export async function checkDerivatives(file: Item, report: Report): Promise<void> {
  const problem = readProblem(file, file);
  const batch = problem.batch(file);
  for (const [name, expected] of file.get("partitions").entries()) checkRoots(name, expected, report);
  await onEveryEngine(async (engine, golden) => {
    const run: Run = { file, problem, model: problem.model(file.get("params")), batch, engine, golden, report };
    await checkGradient(run);
    for (const [name, expected] of file.get("partitions").entries()) {
      await checkSummary(run, name, expected);
      if (batch && problem.couples(file)) await checkRefusal(run, name, expected);
      else if (batch)
        for (const microbatch of partSizes(batch.y.shape[0]!)) await checkSummary(run, name, expected, microbatch);
    }
  });
}

/** One engine's check of a file. */
interface Run {
  readonly file: Item;
  readonly problem: Problem;
  readonly model: Module;
  readonly batch: Batch | undefined;
  readonly engine: Engine;
  readonly golden: GoldenEngine;
  readonly report: Report;
}

/** Parts of one sample, and the smallest larger size that leaves a smaller rest. */
function partSizes(samples: number): number[] {
  const uneven = [...Array(samples).keys()].find((size) => size > 1 && samples % size !== 0);
  return uneven === undefined ? [1] : [uneven, 1];
}

async function checkGradient({ file, problem, model, batch, engine, golden, report }: Run): Promise<void> {
  const { loss, gradient } = await valueAndGrad(model, problem.loss, batch, { engine });
  const { label, bound } = golden;
  report.compare(label, "loss", [loss], [file.get("loss").number()], { bound });
  compareGradient(file.get("grad"), gradient, golden, report);
}

/** Compares a gradient, each parameter's part on its own scale. */
export function compareGradient(
  expected: Item,
  gradient: Awaited<ReturnType<typeof valueAndGrad>>["gradient"],
  { label, bound }: GoldenEngine,
  report: Report,
): void {
  const arrays = Object.entries(expected.arrays());
  const most = Math.max(...arrays.map(([, { data }]) => largest(data)));
  for (const [name, { data }] of arrays)
    report.compare(label, `grad ${name}`, gradient[name]?.data ?? [], data, { bound, scale: scaleOf(data, most) });
}

async function checkSummary(run: Run, name: string, expected: Item, microbatch?: number): Promise<void> {
  const what = microbatch === undefined ? name : `${name} in parts of ${microbatch}`;
  compareSummary(what, expected, await summaryOf(run, expected, microbatch), run.golden, run.report);
}

function summaryOf(run: Run, expected: Item, microbatch?: number): Promise<Summary> {
  return computeHg(run.model, run.problem.loss, run.batch, {
    engine: run.engine,
    direction: run.file.get("u").arrays(),
    partition: partitionOf(run.model, expected.get("groups")),
    ...(microbatch === undefined ? {} : { microbatch }),
  });
}

/** A loss that couples the samples is no sum over parts: asking for parts must be an error, not a wrong number. */
async function checkRefusal(run: Run, name: string, expected: Item): Promise<void> {
  const outcome = await summaryOf(run, expected, 2).catch((error: unknown) => error);
  run.report.require(
    outcome instanceof OptionError,
    `${run.golden.label}: ${name}: a microbatch must be refused, since the loss couples the samples; found ${outcome instanceof Error ? outcome : "a summary"}`,
  );
}

/** Compares ḡ, H̄ and order3, each relative to its largest entry. */
export function compareSummary(
  what: string,
  expected: Item,
  { loss, g, H, order3 }: Summary,
  { label, bound }: GoldenEngine,
  report: Report,
): void {
  const golden = {
    g: expected.get("g").numbers(),
    H: expected.get("H").matrix(),
    order3: expected.get("order3").numbers(),
  };
  const natural = naturalScales(Math.abs(loss), largest(golden.g), largest(golden.H));
  for (const [name, values] of Object.entries({ g, H, order3 })) {
    const key = name as keyof typeof golden;
    report.compare(label, `${what} ${name}`, values, golden[key], { bound, scale: scaleOf(golden[key], natural[key]) });
  }
}

/** Below this part of what its neighbours make natural, all of an array is zero or rounding noise. */
const NOISE = 1e-12;

/** The largest entry; for an array that is zero (up to noise), which has no scale of its own, the natural one. */
function scaleOf(expected: ArrayLike<number>, natural: number): number {
  const own = largest(expected);
  return own > NOISE * natural ? own : natural;
}

/**
 * The magnitudes that ḡ, H̄ and order3 would have if each alone changed the loss by its own size over the same step h:
 * L/h, L/h², L/h³. Curvature sets h = √(L/|H̄|), or the slope h = L/|ḡ| where H̄ is zero too. So a direction twice
 * as long changes every error and its scale by the same factor.
 */
function naturalScales(loss: number, g: number, H: number): Record<"g" | "H" | "order3", number> {
  const L = loss || 1;
  const h = H > 0 ? Math.sqrt(L / H) : g > 0 ? L / g : 1;
  return { g: L / h, H: L / h ** 2, order3: L / h ** 3 };
}

/** D magnifies rounding, so of D only this is asked: that it is the cube root of the order3 that we compare with. */
export function checkRoots(what: string, expected: Item, report: Report): void {
  const D = expected.get("D").numbers();
  const roots = expected
    .get("order3")
    .numbers()
    .map((value) => Math.cbrt(Math.abs(value)));
  const wrong = D.findIndex((value, s) => !(Math.abs(value - roots[s]!) <= 1e-12 * largest(roots)));
  report.require(
    wrong < 0 && D.length === roots.length,
    `the file contradicts itself: ${what} D[${wrong}] is not |order3|^(1/3)`,
  );
}
