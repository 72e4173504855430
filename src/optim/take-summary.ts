import { type EngineTensor, samplesOf, specOf } from "../engine/index.ts";
import { compileRest, directionInput, runSummary, type Summary, summarySource } from "../summary/index.ts";
import { OptionError } from "../util/errors.ts";
import type { Batch } from "../util/ndarray.ts";
import type { NewtonSettings } from "./newton-options.ts";
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

/** The summary along a step's directions, by programs that are compiled once for each kind of batch. */
export async function takeSummary(
  stepper: Stepper,
  { microbatch, summaryMode: mode }: Pick<NewtonSettings, "microbatch" | "summaryMode">,
  { directions, batch, order3, signal, warn }: SummaryRequest,
): Promise<Summary> {
  const { engine, programs, parts, random } = stepper;
  const spec = specOf(batch);
  const key = (): string => `${spec.key} ${mode ?? stepper.mode}`;
  const what = order3 ? "summary" : "summary without order3";
  const source = () => summarySource(parts.objective, parts.groups, batch, { mode, order3 });
  const known = await programs.get(() => `${what} ${key()}`, source);
  const { split, samples } = known.plan;
  if (microbatch !== undefined && !split.splits)
    throw new OptionError(`microbatch: this loss cannot be split, since ${split.reason}`);
  // The memory of a batch that cannot be split was reckoned for so many samples.
  const more = batch && !split.splits && samplesOf(batch) > samples ? ` of ${samplesOf(batch)}` : "";
  const program = more ? await programs.get(() => `${what}${more} ${key()}`, source) : known;
  const passes = 1 + program.plan.rest.length;
  const cut = passes > 1 ? `; to save memory they are computed in ${passes} passes` : "";
  if (batch && !split.splits) warn(`summaries are not split into microbatches: ${split.reason}${cut}`);
  const besides = await compileRest(program.plan, (name, each) =>
    programs.get(
      () => `${name}${more} ${key()}`,
      () => each,
    ),
  );
  const named = Object.fromEntries(Object.entries(directions).map(([name, u]) => [directionInput(name), u]));
  const tensors = { ...(await stepper.variables()), ...named };
  return await runSummary({ engine, program, ...besides, tensors, batch, microbatch, random, signal }, parts.groups);
}
