import { DataError } from "../util/errors.ts";

/** A number as metrics hold it: JSON knows no NaN and no infinity, so both are null. */
export type MetricNumber = number | null;

/** What a run is, and where it starts or goes on. */
export interface RunFacts {
  /** Whatever the caller wants to remember of how the run was made. */
  readonly config: Readonly<Record<string, unknown>>;
  /** The optimiser's groups of parameters, in the order of `learningRates`. */
  readonly groups: readonly { readonly name: string; readonly members: readonly string[] }[];
  readonly epochs: number;
  /** After which the run ends, if that is within its last epoch. */
  readonly steps?: number;
  readonly stepsPerEpoch: number;
  /** Training samples. */
  readonly samples: number;
  readonly batchSize: number;
  /** The epoch that comes first, from 0. */
  readonly epoch: number;
  /** The step that comes first, from 0 over all epochs. */
  readonly step: number;
  /** Of training so far. */
  readonly seconds: number;
  /** When this was, in ISO 8601. */
  readonly date: string;
}

/** The first line of a run. */
export interface StartEvent extends RunFacts {
  readonly type: "start";
  /** Of the programs that ran it, where who wrote the metrics added them. */
  readonly versions?: Readonly<Record<string, string>>;
}

/** A run that goes on from a checkpoint. */
export interface ResumeEvent extends RunFacts {
  readonly type: "resume";
}

/** A summary of higher-order derivatives, taken before the step of the same number. */
export interface UpdateEvent {
  readonly type: "update";
  readonly epoch: number;
  readonly step: number;
  /** Of the summary's batch. */
  readonly loss: MetricNumber;
  readonly g: readonly MetricNumber[];
  /** Row-major, [groups, groups]. */
  readonly H: readonly MetricNumber[];
  readonly order3: readonly MetricNumber[];
  /** After smoothing and removal of negative ones, before damping. */
  readonly rates: readonly MetricNumber[];
  /** As solved; missing where the last rates were kept. */
  readonly rawRates?: readonly MetricNumber[];
  readonly found: boolean;
  readonly hard?: boolean;
  /** ‖Dη‖ at the solution. */
  readonly r?: MetricNumber;
  /** Why no solution was found. */
  readonly reason?: string;
  /** Numbers of the groups along which the loss does not change. */
  readonly noEffect: readonly number[];
}

/** A step of the optimiser. */
export interface StepEvent {
  readonly type: "step";
  readonly epoch: number;
  readonly step: number;
  /** Of the step's batch, before the step. */
  readonly loss: MetricNumber;
  /** As applied, one for each group. */
  readonly learningRates: readonly MetricNumber[];
  /** Samples in the batch. */
  readonly samples: number;
  /** Seconds of training since the run began, without evaluations. */
  readonly time: number;
  /** Why the optimiser did not take the step. */
  readonly skipped?: string;
}

/** The end of an epoch, or of a run within one, after its evaluations. */
export interface EpochEvent {
  readonly type: "epoch";
  readonly epoch: number;
  /** Steps taken so far. */
  readonly step: number;
  /** The mean loss of the epoch's batches, each before its step. */
  readonly batchLoss: MetricNumber;
  readonly trainLoss?: MetricNumber;
  readonly trainAccuracy?: number;
  readonly testLoss?: MetricNumber;
  readonly testAccuracy?: number;
  readonly learningRates: readonly MetricNumber[];
  /** Of training in this epoch. */
  readonly seconds: number;
  /** Of its evaluations. */
  readonly evaluationSeconds: number;
}

/** The last line of a run: how it ended. */
export interface EndEvent {
  readonly type: "end";
  readonly how: "done" | "aborted" | "error";
  /** The error's, where there was one. */
  readonly message?: string;
  /** Whole epochs, and steps, so far. */
  readonly epochs: number;
  readonly steps: number;
  /** Of training, without evaluations. */
  readonly seconds: number;
  readonly date: string;
}

/** What happens in a run, in the form in which it is written down: plain enough for JSON. */
export type TrainEvent = StartEvent | ResumeEvent | UpdateEvent | StepEvent | EpochEvent | EndEvent;

/** What a field holds: a number that may be null, one that may not, or an array. */
type Kind = "metric" | "number" | "array" | "object" | "string" | "boolean";

const FACTS = {
  config: "object",
  groups: "array",
  epochs: "number",
  stepsPerEpoch: "number",
  samples: "number",
  batchSize: "number",
  epoch: "number",
  step: "number",
  seconds: "number",
  date: "string",
} as const;

/** The fields that each event must have. */
const FIELDS: { readonly [Type in TrainEvent["type"]]: Readonly<Record<string, Kind>> } = {
  start: FACTS,
  resume: FACTS,
  update: { epoch: "number", step: "number", loss: "metric", rates: "array", found: "boolean", noEffect: "array" },
  step: { epoch: "number", step: "number", loss: "metric", learningRates: "array", samples: "number", time: "number" },
  epoch: { epoch: "number", step: "number", batchLoss: "metric", learningRates: "array", seconds: "number" },
  end: { how: "string", epochs: "number", steps: "number", seconds: "number", date: "string" },
};

/**
 * Reads metrics: one JSON object on each line. A last line without its line break is still being written, and left out.
 * @param name what error messages call them.
 * @throws DataError naming the line that is none.
 */
export function parseMetrics(text: string, name = "metrics"): TrainEvent[] {
  const lines = text.split("\n").slice(0, -1);
  return lines.map((line, i) => {
    const refuse = (why: string): never => {
      throw new DataError(`${name}: line ${i + 1} is not an event of a run, ${why}: ${line.slice(0, 60)}`);
    };
    const event = parsed(line) ?? refuse("but no JSON object");
    if (!Object.hasOwn(FIELDS, String(event.type))) return refuse("as it has no type of one");
    const fields = Object.entries(FIELDS[event.type as TrainEvent["type"]]);
    const missing = fields.find(([field, kind]) => !isOf(kind, event[field]));
    return missing ? refuse(`as it has no ${missing[0]}`) : (event as unknown as TrainEvent);
  });
}

function parsed(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isOf("object", value) ? (value as Readonly<Record<string, unknown>>) : undefined;
  } catch {
    return undefined;
  }
}

function isOf(kind: Kind, value: unknown): boolean {
  if (kind === "array") return Array.isArray(value);
  if (kind === "metric") return value === null || typeof value === "number";
  return typeof value === kind && value !== null;
}

/** A number for metrics. */
export function metricNumber(value: number): MetricNumber {
  return Number.isFinite(value) ? value : null;
}

/** Numbers for metrics. */
export function metricNumbers(values: Iterable<number>): MetricNumber[] {
  return Array.from(values, metricNumber);
}

/** What a user should be told of an event: groups without effect, a summary without solution, a step left out. */
export function warningsOf(event: TrainEvent, groups: RunFacts["groups"]): string[] {
  if (event.type === "step") return event.skipped === undefined ? [] : [`step left out: ${event.skipped}`];
  if (event.type !== "update") return [];
  const idle = event.noEffect.map(
    (group) => `group ${groups[group]?.name ?? group} has no effect on the loss: its rate is 0`,
  );
  return event.found ? idle : [...idle, `no solution found: ${event.reason ?? "no reason given"}`];
}
