import { type EngineTensor, samplesOf } from "../engine/index.ts";
import { type Direction, runParts, WeightedMean } from "../summary/index.ts";
import type { Batch, Batches, FloatData } from "../util/ndarray.ts";
import { runsOf } from "./parted-batch.ts";
import { names } from "./step-graph.ts";
import { checkOutcome, type GivenSlopes, type Proposal, type StepInput, type Stepper } from "./stepper.ts";

/** What a step works from: also all of some batches. */
export type StepSource = StepInput | { readonly batches: Batches };

/** Whether a step needs no gradients to be added up. */
export function inOneRun(stepper: Stepper, input: StepSource): input is StepInput {
  if ("batches" in input) return false;
  return !("batch" in input && input.batch) || runsOf(input.batch, stepper.microbatch).length === 1;
}

/**
 * The direction of a step and what comes with it. The gradient over many batches is their mean, weighted by their samples; one
 * batch in parts has that of its loss, wherever that does not couple samples.
 * @throws DataError where there is no batch, NonFiniteError where a loss or a buffer is NaN or infinite; nothing is changed but the
 * random numbers.
 */
export async function propose(stepper: Stepper, input: StepSource, signal: AbortSignal | undefined): Promise<Proposal> {
  if (inOneRun(stepper, input)) return await stepper.propose(input);
  const { loss, buffers, ...given } = await addedSlopes(stepper, input, signal);
  try {
    const proposal = await stepper.propose(given);
    return { ...proposal, loss, state: { ...proposal.state, ...buffers } };
  } catch (error) {
    stepper.engine.release(...Object.values(buffers));
    throw error;
  }
}

/** What a step reads of the loss, added up over runs. */
interface AddedSlopes extends GivenSlopes {
  readonly loss: number;
  /** Their values after the last run, by input name. */
  readonly buffers: Readonly<Record<string, EngineTensor>>;
}

async function addedSlopes(stepper: Stepper, input: StepSource, signal: AbortSignal | undefined): Promise<AddedSlopes> {
  const runs = new SlopeRuns(stepper, signal);
  try {
    if ("batches" in input) {
      for await (const batch of input.batches) await runs.add(batch, samplesOf(batch));
      return { ...named(stepper, runs.total.result()), buffers: runs.buffers };
    }
    await runs.add((input as { readonly batch: Batch }).batch, 1);
    return { ...named(stepper, runs.total.sums()), buffers: runs.buffers };
  } catch (error) {
    stepper.engine.release(...Object.values(runs.buffers));
    throw error;
  }
}

/**
 * Runs at the present parameters, adding up in float64 on the host. Buffers go from run to run, as they would in training mode.
 */
class SlopeRuns {
  readonly total: WeightedMean = new WeightedMean();
  buffers: Record<string, EngineTensor> = {};
  readonly #stepper: Stepper;
  readonly #signal: AbortSignal | undefined;

  constructor(stepper: Stepper, signal: AbortSignal | undefined) {
    this.#stepper = stepper;
    this.#signal = signal;
  }

  /** Adds what a batch gives, run by run, each times a weight. */
  async add(batch: Batch, weight: number): Promise<void> {
    const { engine, random, microbatch } = this.#stepper;
    const parts = runsOf(batch, microbatch);
    const { program, totals } = await this.#stepper.slopes(batch, parts[0]!);
    const tensors = { ...(await this.#stepper.kept()), ...this.buffers };
    const inputs = { engine, program, totals, tensors, batch, parts, random, signal: this.#signal };
    await runParts(inputs, [program.session], async (outputs) => {
      engine.release(...Object.values(this.buffers));
      this.buffers = outputs;
      const { loss, check, ...arrays } = await readArrays(this.#stepper, outputs);
      Object.assign(tensors, outputs);
      checkOutcome(loss![0], check?.[0]);
      this.total.add(weight, { loss: loss!, ...arrays });
    });
  }
}

/** Takes all that is no buffer out of a run's outputs. */
async function readArrays(
  { engine, parts }: Stepper,
  outputs: Record<string, EngineTensor>,
): Promise<Record<string, FloatData>> {
  const arrays: Record<string, FloatData> = {};
  const buffers = new Set([...parts.objective.variables.keys()].map(names.updated));
  for (const [name, tensor] of Object.entries(outputs)) {
    if (buffers.has(name)) continue;
    arrays[name] = (await engine.read(tensor)).data as FloatData;
    delete outputs[name];
    engine.release(tensor);
  }
  return arrays;
}

function named(
  { members, parts }: Stepper,
  sums: Readonly<Record<string, Float64Array>>,
): GivenSlopes & { readonly loss: number } {
  const arrays = (nameOf: (parameter: string) => string): Direction =>
    Object.fromEntries(
      [...members].map((name) => [
        name,
        { shape: parts.objective.variables.get(name)!.shape, data: sums[nameOf(name)]! },
      ]),
    );
  const product = parts.updater.hessianVector && arrays(names.product);
  return { loss: sums.loss![0]!, gradient: arrays(names.gradient), ...(product && { product }) };
}
