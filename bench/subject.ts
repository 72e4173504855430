import { dataInputs, type Needs, type Objective, type Source, specOf } from "../src/engine/index.ts";
import { GraphBuilder, graphOf } from "../src/graph/index.ts";
import { type Batch, type Direction, losses, type Module, models, type NDArray, Random } from "../src/index.ts";
import { init, objective } from "../src/nn/index.ts";
import { type NamedGroup, nameGroups, partition } from "../src/summary/index.ts";
import type { ModelName } from "./request.ts";

const LAYERS: Readonly<Record<ModelName, readonly number[]>> = {
  shallow: [784, 1024, 200, 100, 10],
  deep: [3072, ...new Array<number>(20).fill(1024), 10],
};
const ACTIVATION = { shallow: "tanh", deep: "elu" } as const;

/** A model with all that a measurement needs of it. */
export interface Subject {
  readonly model: Module;
  readonly objective: Objective;
  /** The canonical ones. */
  readonly groups: readonly NamedGroup[];
  readonly batch: Batch;
}

/** One of the two perceptrons and a batch of noise. */
export function makeSubject(name: ModelName, samples: number, seed: number = 0): Subject {
  const layers = LAYERS[name];
  const model = models.perceptron({ layers, activation: ACTIVATION[name], seed });
  const whole = objective(model, losses.nll);
  const groups = nameGroups(partition.canonical(model), whole.variables);
  return { model, objective: whole, groups, batch: noise(samples, layers[0]!, layers.at(-1)!, new Random(seed + 1)) };
}

function noise(samples: number, width: number, classes: number, random: Random): Batch {
  const labels = Int32Array.from({ length: samples }, () => random.below(classes));
  return { x: init.normal([samples, width], { random }), y: { shape: [samples], data: labels } };
}

/** A direction of noise, as large as the parameters are: it takes no gradient to make. */
export function noiseDirection({ objective: { variables } }: Subject, seed: number = 2): Direction {
  const random = new Random(seed);
  const arrays = [...variables].map(([name, { shape }]): [string, NDArray<Float32Array>] => [
    name,
    init.normal(shape, { std: 1 / Math.sqrt(shape.at(-1)!), random }),
  ]);
  return Object.fromEntries(arrays);
}

/** The graph of the loss alone: one forward pass. */
export function forwardSource({ objective: whole, batch }: Subject): Source<Needs> {
  const b = new GraphBuilder();
  const { loss, checks, masks } = whole.trace(b, dataInputs(b, specOf(batch)));
  return { graph: graphOf({ loss }), plan: { checks, masks } };
}
