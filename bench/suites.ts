import { availableParallelism } from "node:os";
import type { Measurement, Method, ModelName, Request } from "./request.ts";

/** What is asked of a row. */
export type Bar =
  /** Of the speed of the 1024³ product, in per cent. */
  | { readonly of: "share"; readonly least: number }
  /** In bytes. */
  | { readonly of: "peak"; readonly most: number }
  /** Of its time to that of another row. */
  | { readonly of: "ratio"; readonly to: string; readonly most: number };

/** Makes the measurement of a row, each time in a fresh process. */
export interface Tools {
  ours(request: Request): Promise<Measurement>;
  pytorch(method: Method, threads: number, repeats: number, blocks: number): Promise<Measurement>;
}

/** One line of the results. */
export interface Row {
  readonly name: string;
  readonly bars: readonly Bar[];
  /** The row that says how long a forward pass on the same batch takes. */
  readonly forward?: string;
  measure(tools: Tools): Promise<Measurement>;
}

/** What the command line says of a run. */
export interface Scale {
  /** The numbers of threads; undefined for those of each suite's own. */
  readonly threads: readonly number[] | undefined;
  readonly quick: boolean;
}

const ALL = availableParallelism();
const MODELS: readonly ModelName[] = ["shallow", "deep"];
const METHODS: readonly Method[] = ["plain", "momentum", "adam"];
const STEP_BATCH = 100;
const SUMMARY_BATCH = 1000;
const GB = 1e9;

/** The bars of issue 2 on summaries. */
const SUMMARY_BARS: Readonly<Record<ModelName, readonly Bar[]>> = {
  shallow: [{ of: "share", least: 45 }],
  deep: [
    { of: "share", least: 85 },
    { of: "peak", most: GB },
  ],
};

/** How often a work is run in a block; the deep perceptron's summary takes seconds. */
function effort(work: Request["work"], model: ModelName, quick: boolean) {
  if (work === "epoch") return { warmUp: 20, repeats: 1, blocks: 1 };
  if (model === "deep" && work === "summary") return { warmUp: 1, repeats: 1, blocks: 1 };
  const [repeats, blocks] = quick ? [5, 2] : [15, 4];
  return model === "deep" ? { warmUp: 3, repeats: 3, blocks: quick ? 1 : 3 } : { warmUp: 20, repeats, blocks };
}

/** A request but for how often to run. */
type Setting = Omit<Request, "warmUp" | "repeats" | "blocks">;

function ours(request: Setting, { quick }: Scale, more: Partial<Row> = {}): Row {
  const { work, model } = request;
  const whole = { ...request, ...effort(work, model, quick) };
  return { name: nameOf(request), bars: [], measure: (tools) => tools.ours(whole), ...more };
}

function nameOf({ work, model, batch, threads, method, lowMemory, microbatch }: Setting): string {
  const what = [model, ...(method && work === "step" ? [method] : []), work].join(" ");
  const parts = microbatch === undefined ? "" : `, parts of ${microbatch}`;
  return `${what}, batch ${batch}${parts}${lowMemory ? ", low memory" : ""}, ${plural(threads)}`;
}

function plural(threads: number): string {
  return `${threads} thread${threads === 1 ? "" : "s"}`;
}

function forward(model: ModelName, batch: number, threads: number, scale: Scale): Row {
  return ours({ work: "forward", model, batch, threads }, scale);
}

function forwards(scale: Scale): Row[] {
  return each(scale.threads ?? [ALL], (threads) =>
    each(MODELS, (model) => [STEP_BATCH, SUMMARY_BATCH].map((batch) => forward(model, batch, threads, scale))),
  );
}

function steps(scale: Scale): Row[] {
  return each(scale.threads ?? [ALL], (threads) =>
    each(MODELS, (model) => {
      const unit = forward(model, STEP_BATCH, threads, scale);
      const step = (method: Method) =>
        ours({ work: "step", model, batch: STEP_BATCH, threads, method }, scale, { forward: unit.name });
      return [unit, ...METHODS.map(step)];
    }),
  );
}

function summaries(scale: Scale): Row[] {
  return each(scale.threads ?? [ALL], (threads) =>
    each(MODELS, (model) => {
      const unit = forward(model, SUMMARY_BATCH, threads, scale);
      const bars = SUMMARY_BARS[model];
      const summary = { work: "summary", model, batch: SUMMARY_BATCH, threads } as const;
      return [unit, ours(summary, scale, { forward: unit.name, bars })];
    }),
  );
}

/** Ways to compute the deep perceptron's summary in less memory. */
function memory(scale: Scale): Row[] {
  const settings = [
    { microbatch: 16 },
    { lowMemory: true },
    { lowMemory: true, microbatch: 16, bars: LOW_MEMORY_BARS },
    { lowMemory: true, microbatch: 8 },
  ];
  return each(scale.threads ?? [ALL], (threads) =>
    settings.map(({ bars = [], ...setting }) =>
      ours({ work: "summary", model: "deep", batch: SUMMARY_BATCH, threads, ...setting }, scale, { bars }),
    ),
  );
}

const LOW_MEMORY_BARS: readonly Bar[] = [
  { of: "share", least: 70 },
  { of: "peak", most: GB / 2 },
];

function epochs(scale: Scale): Row[] {
  return each(scale.threads ?? [ALL], (threads) => {
    const epoch = (method: Method, name: string, bars: readonly Bar[]) =>
      ours({ work: "epoch", model: "shallow", batch: STEP_BATCH, threads, method }, scale, { name, bars });
    const adam = epoch("adam", `Adam's epoch, ${plural(threads)}`, []);
    const bar: Bar = { of: "ratio", to: adam.name, most: 4 };
    return [adam, epoch("newton", `NewtonSummary's epoch, ${plural(threads)}`, [bar])];
  });
}

/** Our steps and PyTorch's; only those on one thread are held to a bar. */
function peers(scale: Scale): Row[] {
  const { repeats, blocks } = effort("step", "shallow", scale.quick);
  return each(scale.threads ?? [...new Set([1, ALL])], (threads) =>
    each(METHODS, (method) => {
      const peer: Row = {
        name: `PyTorch's ${method} step, ${plural(threads)}`,
        bars: [],
        measure: (tools) => tools.pytorch(method, threads, repeats, blocks),
      };
      const request = { work: "step", model: "shallow", batch: STEP_BATCH, threads, method } as const;
      const bar: Bar = { of: "ratio", to: peer.name, most: threads === 1 ? 1 : Number.POSITIVE_INFINITY };
      return [peer, ours(request, scale, { bars: [bar] })];
    }),
  );
}

function each<T, U>(values: readonly T[], rows: (value: T) => readonly U[]): U[] {
  return values.flatMap((value) => rows(value));
}

/** What can be asked for by name. */
export const SUITES = { forward: forwards, step: steps, summary: summaries, memory, epoch: epochs, peers };

/** The rows of some suites, each once, in order. */
export function rowsOf(suites: readonly (keyof typeof SUITES)[], scale: Scale): Row[] {
  const rows = new Map<string, Row>();
  for (const row of suites.flatMap((suite) => SUITES[suite](scale))) {
    const known = rows.get(row.name);
    // A row of two suites has what either says of it.
    rows.set(row.name, known ? { ...known, ...row, bars: [...known.bars, ...row.bars] } : row);
  }
  return [...rows.values()];
}
