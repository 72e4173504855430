import { availableParallelism } from "node:os";
import type { PeerTask } from "./peers.ts";
import type { Effort, Measurement, ModelName, Request, Setting, Solve, Way } from "./request.ts";

/** What is asked of a row. */
export type Bar =
  /** Of the speed of the 1024³ product, in per cent. */
  | { readonly of: "share"; readonly least: number }
  /** In bytes. */
  | { readonly of: "peak"; readonly most: number }
  /** Of its time to that of another row. */
  | { readonly of: "ratio"; readonly to: string; readonly most: number }
  /** Of the time of the fastest among some rows to its own. */
  | { readonly of: "lead"; readonly among: readonly string[]; readonly least: number }
  /**
   * Of its time to what its products would take at the speed of the forward pass, each speed as a share of the product's:
   * a forward pass is measured minutes apart from a long summary.
   */
  | { readonly of: "prediction"; readonly most: number };

/** Makes the measurement of a row, each time in a fresh process: ours, or a peer's. */
export interface Tools {
  ours(request: Request): Promise<Measurement>;
  peer(way: Way, task: PeerTask): Promise<Measurement>;
}

/** One line of the results. */
export interface Row {
  readonly name: string;
  readonly bars: readonly Bar[];
  /** The row that says how long a forward pass on the same batch takes. */
  readonly forward?: string;
  /** The peer that is measured, if it is not ours. */
  readonly way?: Way;
  /** What its time is multiplied by: where a part of the batch is measured, how many there are. */
  readonly times?: number;
  measure(tools: Tools): Promise<Measurement>;
}

/** What the command line says of a run. */
export interface Scale {
  /** The numbers of threads; undefined for those of each suite's own. */
  readonly threads: readonly number[] | undefined;
  readonly tuned: boolean;
  readonly quick: boolean;
}

/** All threads of the machine. */
export const ALL: number = availableParallelism();

/**
 * How often a work is run, by how long one run takes; fewer blocks with --quick. What takes milliseconds comes by the thousand, so that
 * what the first runs of a process pay for, and of a block after the threads did something else, is nothing.
 */
const EFFORTS = {
  milliseconds: { warmUp: 100, repeats: 50, blocks: 4, quick: { repeats: 25, blocks: 2 } },
  second: { warmUp: 3, repeats: 3, blocks: 3, quick: { blocks: 1 } },
  seconds: { warmUp: 1, repeats: 1, blocks: 1, quick: {} },
  minutes: { warmUp: 0, repeats: 1, blocks: 1, quick: {} },
  epoch: { warmUp: 20, repeats: 1, blocks: 1, quick: {} },
} satisfies Record<string, Effort & { quick: Partial<Effort> }>;

/** How long one run takes, roughly. */
export type Duration = keyof typeof EFFORTS;

/** How long a forward pass or a step takes, and a summary. */
const DURATIONS: Readonly<Record<string, readonly [passes: Duration, summary: Duration]>> = {
  shallow: ["milliseconds", "milliseconds"],
  deep: ["second", "seconds"],
  lenet: ["milliseconds", "second"],
  "vgg-a": ["second", "seconds"],
  resnet18: ["second", "minutes"],
  transformer: ["second", "seconds"],
};

/** How often something is run that takes so long. */
export function effort(duration: Duration, { quick: isQuick }: Scale): Effort {
  const { quick, ...whole } = EFFORTS[duration];
  return { ...whole, ...(isQuick ? quick : {}) };
}

/** How long ours takes. */
export function durationOf({ work, model }: Pick<Setting, "work" | "model">): Duration {
  if (work === "epoch") return "epoch";
  const [passes, summary] = DURATIONS[model] ?? ["second", "second"];
  return work === "summary" ? summary : passes;
}

/** A row that is measured here. */
export function ours(what: Setting | Solve, scale: Scale, more: Partial<Row> = {}): Row {
  const setting = what.work !== "solve" && scale.tuned ? { ...what, tuned: true } : what;
  const duration = setting.work === "solve" ? "milliseconds" : durationOf(setting);
  const request: Request = { ...setting, ...effort(duration, scale) };
  return { name: nameOf(setting), bars: [], measure: (tools) => tools.ours(request), ...more };
}

/** The forward pass, which others are held against. */
export function forward(model: ModelName, batch: number, threads: number, scale: Scale): Row {
  return ours({ work: "forward", model, batch, threads }, scale);
}

/** What a row is called. */
export function nameOf(setting: Setting | Solve): string {
  const { threads } = setting;
  if (setting.work === "solve") return `rates of ${setting.groups} groups`;
  const { work, model, batch, method, lowMemory, microbatch, tuned } = setting;
  const what = [model, ...(method && work === "step" ? [method] : []), work].join(" ");
  const parts = microbatch === undefined ? "" : `, parts of ${microbatch}`;
  return `${what}, batch ${batch}${parts}${lowMemory ? ", low memory" : ""}, ${plural(threads)}${tuned ? ", tuned" : ""}`;
}

/** "1 thread", "2 threads". */
export function plural(threads: number): string {
  return `${threads} thread${threads === 1 ? "" : "s"}`;
}

/** The rows for each of some values. */
export function each<T>(values: readonly T[], rows: (value: T) => readonly Row[]): Row[] {
  return values.flatMap((value) => rows(value));
}
