import { type Mode, type Program, specOf } from "../engine/index.ts";
import { checkParts, compileTotals, type PartPlan, runParts } from "../summary/index.ts";
import { StateError } from "../util/errors.ts";
import type { FloatData } from "../util/ndarray.ts";
import { Random } from "../util/random.ts";
import type { Watch } from "./auto-damping.ts";
import { lossSource, names } from "./step-graph.ts";
import type { Moved, Stepper } from "./stepper.ts";

/** What is seen of a summary again. */
type Watched = Pick<Watch, "batch" | "parts" | "random">;

/** How a loss is taken. */
export interface LossOptions {
  /** Of all modules; each has its own by default. */
  readonly mode?: Mode | undefined;
  /** Parameters to take instead of the model's, as {@link Stepper.moved} gives them. */
  readonly moved?: Moved | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The loss of a batch, NaN and infinity too, in the runs and with the masks that a summary saw it in; the random numbers stay where they are.
 */
export async function lossOf(
  stepper: Stepper,
  watched: Watched,
  { mode, moved = {}, signal }: LossOptions = {},
): Promise<number> {
  const { engine } = stepper;
  const { batch, parts, random: masks } = watched;
  const { program, totals } = await compile(stepper, watched, mode);
  const random = new Random(0);
  random.state = masks;
  // What a step makes of a variable has the name of the variable's input.
  const { [names.check]: _, ...parameters } = moved;
  const tensors = { ...(await stepper.variables()), ...parameters };
  let loss = 0;
  const inputs = { engine, program, totals, tensors, batch, parts, random, signal };
  await runParts(inputs, [program.session], async (outputs) => {
    const { data } = await engine.read(outputs[names.loss]!);
    engine.release(...Object.values(outputs));
    loss += (data as FloatData)[0]!;
  });
  return loss;
}

/** Checks that the loss of a saved batch can be taken. @throws StateError */
export async function checkWatched(stepper: Stepper, watched: Watched, mode: Mode | undefined): Promise<void> {
  const { batch, parts } = watched;
  try {
    const { program } = await compile(stepper, watched, mode);
    if (batch) checkParts(program.plan, batch, parts);
  } catch (cause) {
    throw new StateError(`state: a batch of automatic damping is damaged: ${(cause as Error).message}`, { cause });
  }
}

/** The program of the loss of such a batch, and what is run ahead of it. */
async function compile(
  stepper: Stepper,
  { batch, parts }: Watched,
  mode: Mode | undefined,
): Promise<{ program: Program<PartPlan>; totals: Program<null> | undefined }> {
  const { programs } = stepper;
  const spec = specOf(batch);
  const inParts = parts.length > 1;
  const key = (): string => `${inParts ? "in parts " : ""}${spec.key} ${mode ?? stepper.mode}`;
  const program = await programs.get(
    () => `loss ${key()}`,
    () => ({ ...lossSource(stepper.parts, spec, { mode, inParts }), samples: batch && parts[0] }),
  );
  const totals = await compileTotals(program.plan, (name, source) =>
    programs.get(
      () => `loss's ${name} ${key()}`,
      () => source,
    ),
  );
  return { program, totals };
}
