import { type EngineTensor, specOf } from "../engine/index.ts";
import {
  compileRest,
  directionInput,
  partsOf,
  runSummary,
  type Summary,
  type SummaryInputs,
  summarySource,
} from "../summary/index.ts";
import { OptionError } from "../util/errors.ts";
import type { Batch } from "../util/ndarray.ts";
import type { NewtonSettings } from "./newton-options.ts";
import { runsOf } from "./parted-batch.ts";
import type { Stepper } from "./stepper.ts";

/** What one summary is taken of. */
interface SummaryRequest {
  /** By parameter name. */
  readonly directions: Readonly<Record<string, EngineTensor>>;
  /** Undefined for a model without inputs. */
  readonly batch: Batch | undefined;
  /** Whether third derivatives are taken; they read as 0 otherwise. */
  readonly order3: boolean;
  readonly signal: AbortSignal | undefined;
  readonly warn: (message: string) => void;
}

type Settings = Pick<NewtonSettings, "microbatch" | "summaryMode">;

/** The summary along a step's directions, by programs that are compiled once for each kind of batch. */
export async function takeSummary(stepper: Stepper, settings: Settings, request: SummaryRequest): Promise<Summary> {
  const { engine, random } = stepper;
  const { directions, batch, signal } = request;
  const compiled = await compile(stepper, settings, request);
  const named = Object.fromEntries(Object.entries(directions).map(([name, u]) => [directionInput(name), u]));
  const tensors = { ...(await stepper.variables()), ...named };
  return await runSummary({ engine, ...compiled, tensors, batch, random, signal }, stepper.parts.groups);
}

/** @throws OptionError for a microbatch where the samples are coupled */
async function compile(
  stepper: Stepper,
  { microbatch, summaryMode: mode }: Settings,
  { batch, order3, warn }: SummaryRequest,
): Promise<Pick<SummaryInputs, "program" | "totals" | "rest" | "parts">> {
  const { programs, engine } = stepper;
  const { objective, groups } = stepper.parts;
  const runs = batch ? runsOf(batch, stepper.microbatch) : [1];
  // As in steps, where their samples are coupled.
  const parts = runs.length > 1 ? runs : undefined;
  const spec = specOf(batch);
  const key = (): string => `${parts ? "in parts " : ""}${spec.key} ${mode ?? stepper.mode}`;
  const what = order3 ? "summary" : "summary without order3";
  const source = () => {
    const made = summarySource(objective, groups, batch, { mode, order3, parts });
    return { ...made, samples: partsOf(made.plan, batch, engine, microbatch)[0] };
  };
  const known = await programs.get(() => `${what} ${key()}`, source);
  const { split, samples } = known.plan;
  const reason = split.splits ? split.coupled : split.reason;
  if (microbatch !== undefined && reason !== undefined)
    throw new OptionError(`microbatch: this loss cannot be split, since ${reason}`);
  // The memory of a batch that cannot be split was reckoned for so many samples.
  const most = Math.max(...runs);
  const more = reason !== undefined && most > samples ? ` of ${most}` : "";
  const program = more ? await programs.get(() => `${what}${more} ${key()}`, source) : known;
  const passes = 1 + program.plan.rest.length;
  const cut = passes > 1 ? `; to save memory they are computed in ${passes} passes` : "";
  if (batch && reason !== undefined) warn(`summaries are not split into microbatches: ${reason}${cut}`);
  const besides = await compileRest(program.plan, (name, each) =>
    programs.get(
      () => `${name}${more} ${key()}`,
      () => each,
    ),
  );
  return { program, ...besides, parts: reason === undefined ? partsOf(program.plan, batch, engine, microbatch) : runs };
}
