import { mean } from "../bench/measure.ts";
import { formatLoss, formatPercent } from "../src/report/index.ts";
import type { Timing } from "./clock.ts";
import { type EntryName, entryOf, type SubjectName } from "./entries.ts";
import { bestValue, type Choice, finalLoss, gridResults, type Results, runOf, usualValue } from "./plan.ts";
import type { Point, Result } from "./runs.ts";

/** An entry with one value of its main setting, on one subject: its results with all seeds that are done, and what a step takes, if known. */
export interface Trial {
  readonly subject: SubjectName;
  readonly entry: EntryName;
  readonly value: number;
  readonly results: readonly Result[];
  readonly timing?: Timing;
}

/** The trial of an entry with its usual or its best value; undefined where no run of it is done. */
export function trialOf(
  choice: Choice,
  subject: SubjectName,
  entry: EntryName,
  which: "usual" | "best",
  results: Results,
): Trial | undefined {
  const value = which === "usual" ? usualValue(entry) : bestValue(choice, subject, entry, results);
  if (value === undefined) return undefined;
  const seeds = Array.from({ length: choice.seeds }, (_, seed) => seed);
  const found = seeds.flatMap((seed) => results.of(runOf(choice, subject, entry, value, seed)) ?? []);
  if (found.length === 0) return undefined;
  const timing = results.timingOf(runOf(choice, subject, entry, value, 0));
  return { subject, entry, value, results: found, ...(timing && { timing }) };
}

/** How an entry's results depend on its main setting, with the first seed. */
export interface Sensitivity {
  readonly entry: EntryName;
  readonly points: readonly {
    /** The value over the usual one. */
    readonly factor: number;
    readonly loss: number;
    readonly accuracy: number;
  }[];
}

/** Undefined where some of the grid's runs are missing. */
export function sensitivityOf(
  choice: Choice,
  subject: SubjectName,
  entry: EntryName,
  results: Results,
): Sensitivity | undefined {
  const points = gridResults(choice, subject, entry, results)?.map((result) => ({
    factor: result.value / usualValue(entry),
    loss: finalLoss(result),
    accuracy: result.points.at(-1)!.testAccuracy,
  }));
  return points && { entry, points };
}

const HEAD = ["optimiser", "setting", "training loss", "to Adam's", "test accuracy", "seconds", "compilation", "seeds"];
const UNKNOWN = "–";

/**
 * A table of each entry's results on a subject, usual and best ones, in Markdown. "To Adam's" is when the mean loss first
 * was as low as that which Adam's usual setting ends with.
 */
export function tableOf(choice: Choice, subject: SubjectName, results: Results): string[] {
  const adam = trialOf(choice, subject, "adam", "usual", results);
  const target = adam ? mean(adam.results.map(finalLoss)) : Number.POSITIVE_INFINITY;
  const rows = choice.entries.flatMap((entry) => {
    const [usual, best] = (["usual", "best"] as const).map((which) => trialOf(choice, subject, entry, which, results));
    const same = usual && best?.value === usual.value;
    return [
      ...(usual ? [rowOf(usual, same ? "usual, the best" : "usual", target)] : []),
      ...(best && !same ? [rowOf(best, "best", target)] : []),
    ];
  });
  const lines = [HEAD, HEAD.map(() => "---"), ...rows];
  return lines.map((cells) => `| ${cells.join(" | ")} |`);
}

function rowOf({ entry, value, results, timing }: Trial, which: string, target: number): string[] {
  const { title, setting } = entryOf(entry);
  const last = results.map(({ points }) => points.at(-1)!);
  const diverged = results.filter((result) => result.diverged !== undefined).length;
  const arrival = Number.isFinite(target) ? arrivalAt(target, meanCurve(results)) : undefined;
  return [
    title,
    `${setting} ${value} (${which})`,
    diverged > 0 ? `diverged (${diverged} of ${results.length})` : spread(results.map(finalLoss), formatLoss),
    arrival ? arrivalText(arrival, timing) : UNKNOWN,
    spread(
      last.map(({ testAccuracy }) => testAccuracy),
      formatPercent,
    ),
    timing ? secondsUntil(mean(last.map(({ step }) => step)), timing) : UNKNOWN,
    timing ? timing.compilation.toFixed(1) : UNKNOWN,
    String(results.length),
  ];
}

/** The losses of some runs of one length, in their mean. */
export function meanCurve(results: readonly Result[]): readonly Looked[] {
  const length = Math.min(...results.map(({ points }) => points.length));
  return results[0]!.points.slice(0, length).map(({ epoch, step }, i) => {
    return { epoch, step, trainLoss: mean(results.map(({ points }) => points[i]!.trainLoss)) };
  });
}

type Looked = Pick<Point, "epoch" | "step" | "trainLoss">;

type Arrival = Pick<Point, "epoch" | "step">;

function arrivalText({ epoch, step }: Arrival, timing: Timing | undefined): string {
  const epochs = `${epoch.toFixed(1)} epochs`;
  return timing ? `${epochs}, ${secondsUntil(step, timing)} s` : epochs;
}

function secondsUntil(step: number, { secondsPerStep }: Timing): string {
  return (step * secondsPerStep).toFixed(1);
}

/** When a loss was first met, on the straight line between two looks. */
export function arrivalAt(target: number, points: readonly Looked[]): Arrival | undefined {
  const after = points.findIndex(({ trainLoss }) => trainLoss <= target);
  if (after <= 0) return points[after];
  const [from, to] = [points[after - 1]!, points[after]!];
  const share = (from.trainLoss - target) / (from.trainLoss - to.trainLoss);
  const between = (what: "epoch" | "step"): number => from[what] + share * (to[what] - from[what]);
  return { epoch: between("epoch"), step: between("step") };
}

/** The mean, and the standard deviation where there are several. */
function spread(values: readonly number[], format: (value: number) => string): string {
  const middle = mean(values);
  if (values.length === 1) return format(middle);
  const variance = values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1);
  return `${format(middle)} ± ${format(Math.sqrt(variance))}`;
}
