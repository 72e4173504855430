import type { Mode } from "../engine/index.ts";
import { specOf } from "../engine/index.ts";
import { compileTotals, runParts } from "../summary/index.ts";
import type { FloatData } from "../util/ndarray.ts";
import { Random } from "../util/random.ts";
import type { Watch } from "./auto-damping.ts";
import { lossSource, names } from "./step-graph.ts";
import type { Moved, Stepper } from "./stepper.ts";

/**
 * The loss of a batch, NaN and infinity too, in the runs and with the masks that a summary saw it in; the random numbers stay where they are.
 * @param mode of all modules; each has its own by default.
 * @param moved parameters to take instead of the model's, as {@link Stepper.moved} gives them.
 */
export async function lossOf(
  stepper: Stepper,
  { batch, parts, random: masks }: Pick<Watch, "batch" | "parts" | "random">,
  mode: Mode | undefined,
  moved: Moved = {},
): Promise<number> {
  const { engine, programs } = stepper;
  const spec = specOf(batch);
  const key = (): string => `${parts.length > 1 ? "in parts " : ""}${spec.key} ${mode ?? stepper.mode}`;
  const program = await programs.get(
    () => `loss ${key()}`,
    () => lossSource(stepper.parts, spec, { mode, inParts: parts.length > 1 }),
  );
  const totals = await compileTotals(program.plan, (name, source) =>
    programs.get(
      () => `loss's ${name} ${key()}`,
      () => source,
    ),
  );
  const random = new Random(0);
  random.state = masks;
  // What a step makes of a variable has the name of the variable's input.
  const { [names.check]: _, ...parameters } = moved;
  const tensors = { ...(await stepper.variables()), ...parameters };
  let loss = 0;
  await runParts({ engine, program, totals, tensors, batch, parts, random }, [program.session], async (outputs) => {
    const { data } = await engine.read(outputs[names.loss]!);
    engine.release(...Object.values(outputs));
    loss += (data as FloatData)[0]!;
  });
  return loss;
}
