import { availableParallelism } from "node:os";
import type { Measurement, Method, ModelName, Request } from "./request.ts";

/** What is asked of a row. */
export type Bar =
  /** Of the speed of the 1024³ product, in per cent. */
  | { readonly of: "share"; readonly least: number }
  /** In bytes. */
  | { readonly of: "peak"; readonly most: number }
  /** Of its time to that of another row. */
  | { readonly of: "ratio"; readonly to: string; readonly most: number }
  /**
   * Of its time to what its products would take at the speed of the forward pass, each speed as a share of the product's:
   * a forward pass is measured minutes apart from a long summary.
   */
  | { readonly of: "prediction"; readonly most: number };

/** Makes the measurement of a row, each time in a fresh process: here, or in PyTorch. */
export type Tools = Readonly<Record<"ours" | "pytorch", (request: Request) => Promise<Measurement>>>;

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

/** A step that PyTorch takes too. */
export interface PeerStep {
  readonly model: ModelName;
  readonly method: "plain" | "momentum" | "adam";
  /** With which a few steps are compared: large enough to move the parameters, too small to make rounding matter. */
  readonly lr: number;
  /**
   * Of the relative differences of moves: what float32 explains. Adam divides a gradient by its own size, and so magnifies the
   * rounding of small ones; a ReLU near its bend may be on either side of it (PyTorch's own float32 is 1e-3 off there).
   */
  readonly tolerance: number;
}

const ALL = availableParallelism();
const PERCEPTRONS: readonly ModelName[] = ["shallow", "deep"];
const METHODS = ["plain", "momentum", "adam"] as const;
const GB = 1e9;

/** Samples in the batch of a step, and of a summary. */
const BATCHES: Readonly<Record<ModelName, Readonly<Record<"step" | "summary", number>>>> = {
  shallow: { step: 100, summary: 1000 },
  deep: { step: 100, summary: 1000 },
  lenet: { step: 100, summary: 1000 },
  "vgg-a": { step: 100, summary: 1000 },
  resnet18: { step: 32, summary: 128 },
  transformer: { step: 32, summary: 128 },
};

/** The bars of issue 2 on summaries, and those on convolutional ones. */
const SUMMARY_BARS: Readonly<Partial<Record<ModelName, readonly Bar[]>>> = {
  shallow: [{ of: "share", least: 45 }],
  deep: [
    { of: "share", least: 85 },
    { of: "peak", most: GB },
  ],
  lenet: [
    { of: "prediction", most: 1.5 },
    { of: "peak", most: 2 * GB },
  ],
  "vgg-a": [
    { of: "prediction", most: 1.5 },
    { of: "peak", most: 2 * GB },
  ],
  resnet18: [{ of: "peak", most: 6 * GB }],
};

type Effort = Pick<Request, "warmUp" | "repeats" | "blocks">;

/** How often a work is run, by how long one run takes; fewer blocks with --quick. */
const EFFORTS = {
  milliseconds: { warmUp: 20, repeats: 15, blocks: 4, quick: { repeats: 5, blocks: 2 } },
  second: { warmUp: 3, repeats: 3, blocks: 3, quick: { blocks: 1 } },
  seconds: { warmUp: 1, repeats: 1, blocks: 1, quick: {} },
  minutes: { warmUp: 0, repeats: 1, blocks: 1, quick: {} },
  epoch: { warmUp: 20, repeats: 1, blocks: 1, quick: {} },
} satisfies Record<string, Effort & { quick: Partial<Effort> }>;

/** How long a forward pass or a step takes, and a summary. */
const DURATIONS: Readonly<Record<ModelName, readonly [passes: keyof typeof EFFORTS, summary: keyof typeof EFFORTS]>> = {
  shallow: ["milliseconds", "milliseconds"],
  deep: ["second", "seconds"],
  lenet: ["milliseconds", "second"],
  "vgg-a": ["second", "seconds"],
  resnet18: ["second", "minutes"],
  transformer: ["second", "seconds"],
};

function effort(work: Request["work"], model: ModelName, isQuick: boolean): Effort {
  const [passes, summary] = DURATIONS[model];
  const { quick, ...whole } = EFFORTS[work === "epoch" ? "epoch" : work === "summary" ? summary : passes];
  return { ...whole, ...(isQuick ? quick : {}) };
}

/** A request but for how often to run. */
type Setting = Omit<Request, keyof Effort>;

function ours(setting: Setting, { quick }: Scale, more: Partial<Row> = {}): Row {
  const request = { ...setting, ...effort(setting.work, setting.model, quick) };
  return { name: nameOf(setting), bars: [], measure: (tools) => tools.ours(request), ...more };
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
    each(PERCEPTRONS, (model) => Object.values(BATCHES[model]).map((batch) => forward(model, batch, threads, scale))),
  );
}

function steps(scale: Scale): Row[] {
  return each(scale.threads ?? [ALL], (threads) =>
    each(PERCEPTRONS, (model) => {
      const batch = BATCHES[model].step;
      const unit = forward(model, batch, threads, scale);
      const step = (method: Method) =>
        ours({ work: "step", model, batch, threads, method }, scale, { forward: unit.name });
      return [unit, ...METHODS.map(step)];
    }),
  );
}

function summariesOf(...names: readonly ModelName[]): (scale: Scale) => Row[] {
  return (scale) =>
    each(scale.threads ?? [ALL], (threads) =>
      each(names, (model) => {
        const batch = BATCHES[model].summary;
        const unit = forward(model, batch, threads, scale);
        const bars = SUMMARY_BARS[model] ?? [];
        return [unit, ours({ work: "summary", model, batch, threads }, scale, { forward: unit.name, bars })];
      }),
    );
}

/** Ways to compute the deep perceptron's summary in less memory. */
function memory(scale: Scale): Row[] {
  const settings = [
    { microbatch: 16, bars: LOW_MEMORY_BARS },
    { microbatch: 8 },
    { lowMemory: true },
    { lowMemory: true, microbatch: 16 },
  ];
  const batch = BATCHES.deep.summary;
  return each(scale.threads ?? [ALL], (threads) =>
    settings.map(({ bars = [], ...setting }) =>
      ours({ work: "summary", model: "deep", batch, threads, ...setting }, scale, { bars }),
    ),
  );
}

const LOW_MEMORY_BARS: readonly Bar[] = [
  { of: "share", least: 70 },
  { of: "peak", most: GB / 2 },
];

function epochs(scale: Scale): Row[] {
  const batch = BATCHES.shallow.step;
  return each(scale.threads ?? [ALL], (threads) => {
    const epoch = (method: Method, name: string, bars: readonly Bar[]) =>
      ours({ work: "epoch", model: "shallow", batch, threads, method }, scale, { name, bars });
    const adam = epoch("adam", `Adam's epoch, ${plural(threads)}`, []);
    const bar: Bar = { of: "ratio", to: adam.name, most: 4 };
    return [adam, epoch("newton", `NewtonSummary's epoch, ${plural(threads)}`, [bar])];
  });
}

/** The steps that are measured beside PyTorch's, by suite. */
export const PEERS: Readonly<Record<"peers" | "architectures", readonly PeerStep[]>> = {
  peers: [
    { model: "shallow", method: "plain", lr: 0.1, tolerance: 1e-4 },
    { model: "shallow", method: "momentum", lr: 0.1, tolerance: 1e-4 },
    { model: "shallow", method: "adam", lr: 1e-3, tolerance: 1e-3 },
  ],
  architectures: [
    { model: "lenet", method: "momentum", lr: 0.1, tolerance: 1e-4 },
    { model: "vgg-a", method: "momentum", lr: 1e-3, tolerance: 1e-4 },
    { model: "resnet18", method: "momentum", lr: 0.01, tolerance: 1e-3 },
    { model: "transformer", method: "momentum", lr: 0.1, tolerance: 1e-4 },
  ],
};

/** PyTorch's steps and ours; `most` says how much longer ours may take on so many threads. */
function besidePytorch(list: readonly PeerStep[], most: (threads: number) => number): (scale: Scale) => Row[] {
  return (scale) =>
    each(scale.threads ?? [...new Set([1, ALL])], (threads) =>
      each(list, ({ model, method }) => {
        const setting = { work: "step", model, batch: BATCHES[model].step, threads, method } as const;
        const request = { ...setting, ...effort("step", model, scale.quick) };
        const name = `PyTorch's ${nameOf(setting)}`;
        const bar: Bar = { of: "ratio", to: name, most: most(threads) };
        return [{ name, bars: [], measure: (tools) => tools.pytorch(request) }, ours(setting, scale, { bars: [bar] })];
      }),
    );
}

function each<T, U>(values: readonly T[], rows: (value: T) => readonly U[]): U[] {
  return values.flatMap((value) => rows(value));
}

/** What can be asked for by name. */
export const SUITES = {
  forward: forwards,
  step: steps,
  summary: summariesOf(...PERCEPTRONS, "lenet", "vgg-a"),
  memory,
  epoch: epochs,
  /** Only the steps on one thread are held to a bar. */
  peers: besidePytorch(PEERS.peers, (threads) => (threads === 1 ? 1 : Number.POSITIVE_INFINITY)),
  architectures: besidePytorch(PEERS.architectures, () => 1),
  resnet18: summariesOf("resnet18"),
} as const satisfies Record<string, (scale: Scale) => Row[]>;

/** The name of a suite. */
export type SuiteName = keyof typeof SUITES;

/** Those that take minutes, and so run only when asked for. */
export const ON_REQUEST: ReadonlySet<SuiteName> = new Set(["resnet18"]);

/** The rows of some suites, each once, in order. */
export function rowsOf(suites: readonly SuiteName[], scale: Scale): Row[] {
  const rows = new Map<string, Row>();
  for (const row of suites.flatMap((suite) => SUITES[suite](scale))) {
    const known = rows.get(row.name);
    // A row of two suites has what either says of it.
    rows.set(row.name, known ? { ...known, ...row, bars: [...known.bars, ...row.bars] } : row);
  }
  return [...rows.values()];
}
