import {
  type EndEvent,
  type EpochEvent,
  type RunFacts,
  type StartEvent,
  type StepEvent,
  type TrainEvent,
  type UpdateEvent,
  warningsOf,
} from "../train/index.ts";
import { formatLoss } from "./format.ts";

/** A run as a report sees it: its events sorted by kind, whether it is finished or not. */
export interface RunView {
  readonly start: StartEvent | undefined;
  readonly groups: RunFacts["groups"];
  /** Epochs that the run was, or at last is, to have. */
  readonly epochsWanted: number;
  /** Where it was to end after so many steps. */
  readonly stepsWanted: number | undefined;
  readonly stepsPerEpoch: number;
  readonly steps: readonly StepEvent[];
  readonly updates: readonly UpdateEvent[];
  readonly epochs: readonly EpochEvent[];
  readonly end: EndEvent | undefined;
  /** Each with how often it came. */
  readonly warnings: ReadonlyMap<string, number>;
}

/** How much higher, as a share, a loss must be to be called so: that of one batch is not that of all. */
const CLEARLY = 0.1;

/** What is wrong with a run as a whole: that its training loss is clearly above the one that it began with. */
export function divergenceOf(events: readonly TrainEvent[]): string | undefined {
  const first = events.find((event): event is StepEvent => event.type === "step" && event.loss !== null)?.loss;
  const last = events.findLast((event): event is EpochEvent => event.type === "epoch")?.trainLoss;
  if (typeof first !== "number" || typeof last !== "number") return undefined;
  if (last - first <= CLEARLY * Math.abs(first)) return undefined;
  return `the training loss is ${formatLoss(last)}, above the ${formatLoss(first)} of the first batch: nothing was learned`;
}

/** Sorts the events of a run, in any state of completion. */
export function viewOf(events: readonly TrainEvent[]): RunView {
  const all = <T extends TrainEvent["type"]>(type: T): Extract<TrainEvent, { type: T }>[] =>
    events.filter((event): event is Extract<TrainEvent, { type: T }> => event.type === type);
  const [start] = all("start");
  const facts: RunFacts | undefined = all("resume").at(-1) ?? start;
  const last = events.at(-1);
  const steps = all("step");
  const warnings = new Map<string, number>();
  for (const event of events)
    for (const warning of warningsOf(event, facts?.groups ?? []))
      warnings.set(warning, (warnings.get(warning) ?? 0) + 1);
  const divergence = divergenceOf(events);
  if (divergence !== undefined) warnings.set(divergence, 1);
  return {
    start,
    groups: facts?.groups ?? [],
    epochsWanted: facts?.epochs ?? 0,
    stepsWanted: facts?.steps,
    stepsPerEpoch: facts?.stepsPerEpoch ?? Math.max(1, steps.length),
    steps,
    updates: all("update"),
    epochs: all("epoch"),
    end: last?.type === "end" ? last : undefined,
    warnings,
  };
}
