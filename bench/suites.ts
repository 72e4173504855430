import { stepPeers, summaryPeers } from "./peer-suites.ts";
import type { Method, ModelName } from "./request.ts";
import { ALL, type Bar, each, forward, ours, plural, type Row, type Scale } from "./rows.ts";
import { BATCHES, MODELS, STEPS, SUMMARY_BARS } from "./workloads.ts";

function forwards(scale: Scale): Row[] {
  return each(scale.threads ?? [ALL], (threads) =>
    each(MODELS, (model) => Object.values(BATCHES[model]).map((batch) => forward(model, batch, threads, scale))),
  );
}

function steps(scale: Scale): Row[] {
  return each(scale.threads ?? [ALL], (threads) =>
    each(STEPS, ({ model, method }) => {
      const batch = BATCHES[model].step;
      const unit = forward(model, batch, threads, scale);
      return [unit, ours({ work: "step", model, batch, threads, method }, scale, { forward: unit.name })];
    }),
  );
}

/** A summary and the forward pass on its batch. */
function summary(model: ModelName, batch: number, threads: number, scale: Scale, bars: readonly Bar[] = []): Row[] {
  const unit = forward(model, batch, threads, scale);
  return [unit, ours({ work: "summary", model, batch, threads }, scale, { forward: unit.name, bars })];
}

function summariesOf(...names: readonly (keyof typeof BATCHES)[]): (scale: Scale) => Row[] {
  return (scale) =>
    each(scale.threads ?? [ALL], (threads) =>
      each(names, (model) => summary(model, BATCHES[model].summary, threads, scale, SUMMARY_BARS[model])),
    );
}

/** What a summary's time is spent in. */
function operators(scale: Scale): Row[] {
  return each(scale.threads ?? [ALL], (threads) =>
    (["shallow", "deep", "lenet", "vgg-a", "transformer"] as const).map((model) =>
      ours({ work: "operators", model, batch: BATCHES[model].summary, threads }, scale),
    ),
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
  { of: "share", least: 75 },
  { of: "peak", most: 0.5e9 },
];

/** The rates from a summary, which JavaScript computes on one thread. */
function solves(scale: Scale): Row[] {
  return [8, 42, 200, 1000].map((groups) => ours({ work: "solve", groups, threads: 1 }, scale));
}

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

/** Summaries with more groups (two a layer), samples and units; a chain of 3 × 256 has three layers of that width. */
function growth(scale: Scale): Row[] {
  const depths = [1, 3, 10, 30, 100].map((depth): [ModelName, number] => [`chain-${depth}x256`, 1000]);
  const batches = [10, 100, 1000, 10_000].map((batch): [ModelName, number] => ["shallow", batch]);
  const widths = [64, 256, 1024, 4096].map((width): [ModelName, number] => [`chain-4x${width}`, 1000]);
  return each(scale.threads ?? [ALL], (threads) =>
    each([...depths, ...batches, ...widths], ([model, batch]) => summary(model, batch, threads, scale)),
  );
}

/** What can be asked for by name. */
export const SUITES = {
  forward: forwards,
  step: steps,
  summary: summariesOf("shallow", "deep", "lenet", "vgg-a", "transformer"),
  operators,
  memory,
  solve: solves,
  epoch: epochs,
  growth,
  resnet18: summariesOf("resnet18"),
  "step-peers": stepPeers,
  "summary-peers": summaryPeers,
} as const satisfies Record<string, (scale: Scale) => Row[]>;

/** The name of a suite. */
export type SuiteName = keyof typeof SUITES;

/** Those that take longer, and so run only when asked for. */
export const ON_REQUEST: ReadonlySet<SuiteName> = new Set(["growth", "resnet18", "step-peers", "summary-peers"]);

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
