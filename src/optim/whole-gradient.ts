import { type EngineTensor, samplesOf } from "../engine/index.ts";
import { type Direction, WeightedMean } from "../summary/index.ts";
import type { Batches, FloatData } from "../util/ndarray.ts";
import { names } from "./step-graph.ts";
import { checkOutcome, type GivenSlopes, type Proposal, type Stepper } from "./stepper.ts";

/** The mean over many batches, weighted by their samples, of what a step reads of the loss. */
interface WholeSlopes extends GivenSlopes {
  readonly loss: number;
  /** Their values after the last batch, by input name. */
  readonly buffers: Readonly<Record<string, EngineTensor>>;
}

/**
 * A step along the mean gradient over many batches, weighted by their samples.
 * @throws DataError where there is no batch, NonFiniteError where a loss or a buffer is NaN or infinite; nothing is changed but the
 * random numbers.
 */
export async function proposeWhole(
  stepper: Stepper,
  batches: Batches,
  signal: AbortSignal | undefined,
): Promise<Proposal> {
  const { loss, buffers, ...given } = await wholeSlopes(stepper, batches, signal);
  try {
    const proposal = await stepper.propose(given);
    return { ...proposal, loss, state: { ...proposal.state, ...buffers } };
  } catch (error) {
    stepper.engine.release(...Object.values(buffers));
    throw error;
  }
}

/**
 * Runs over all batches at the present parameters, adding up in float64 on the host. Buffers go from batch to batch, as they would
 * in training mode.
 */
async function wholeSlopes(stepper: Stepper, batches: Batches, signal: AbortSignal | undefined): Promise<WholeSlopes> {
  const { engine } = stepper;
  const mean = new WeightedMean();
  let buffers: Record<string, EngineTensor> = {};
  try {
    for await (const batch of batches) {
      signal?.throwIfAborted();
      const outputs = await stepper.slopes(batch, buffers);
      engine.release(...Object.values(buffers));
      buffers = outputs;
      const { loss, check, ...arrays } = await readArrays(stepper, outputs);
      checkOutcome(loss![0], check?.[0]);
      mean.add(samplesOf(batch), { loss: loss!, ...arrays });
    }
    return { ...named(stepper, mean.result()), buffers };
  } catch (error) {
    engine.release(...Object.values(buffers));
    throw error;
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
