import { dataInputs, type Needs, type Objective, type Source, specOf } from "../src/engine/index.ts";
import { GraphBuilder, graphOf } from "../src/graph/index.ts";
import { type Batch, type Direction, losses, type Module, models, type NDArray, Random } from "../src/index.ts";
import { init, objective } from "../src/nn/index.ts";
import { type NamedGroup, nameGroups, partition } from "../src/summary/index.ts";
import { sizeOf } from "../src/util/ndarray.ts";
import type { ModelName } from "./request.ts";

/** How a model and its batches are made. */
interface Recipe {
  readonly model: (seed: number) => Module;
  readonly batch: (samples: number, random: Random) => Batch;
}

const CLASSES = 10;
const IMAGE = [3, 32, 32];
/** Of a text by characters, such as the usual Shakespeare. */
const VOCABULARY = 65;
const PLACES = 128;

type Chain = Extract<ModelName, `chain-${string}`>;

const RECIPES: Readonly<Record<Exclude<ModelName, Chain>, Recipe>> = {
  shallow: {
    model: (seed) => models.perceptron({ layers: [784, 1024, 200, 100, CLASSES], activation: "tanh", seed }),
    batch: labelled([784]),
  },
  deep: {
    model: (seed) => models.perceptron({ layers: `3072-20*1024-${CLASSES}`, activation: "elu", seed }),
    batch: labelled([3072]),
  },
  lenet: { model: (seed) => models.lenet({ seed }), batch: labelled(IMAGE) },
  "vgg-a": {
    model: (seed) => models.vgg({ cfg: "A", activation: "elu", sigmaW: Math.SQRT2, seed }),
    batch: labelled(IMAGE),
  },
  resnet18: { model: (seed) => models.resnet18({ seed }), batch: labelled(IMAGE) },
  transformer: {
    model: (seed) => models.transformer({ vocabulary: VOCABULARY, context: PLACES, seed }),
    batch: (samples, random) => {
      const tokens = (): NDArray => whole([samples, PLACES], VOCABULARY, random);
      return { x: tokens(), y: tokens() };
    },
  },
};

function recipeOf(name: ModelName): Recipe {
  return isChain(name) ? chain(name) : RECIPES[name];
}

function isChain(name: ModelName): name is Chain {
  return name.startsWith("chain-");
}

function chain(name: Chain): Recipe {
  const [depth, width] = name.slice("chain-".length).split("x");
  return {
    model: (seed) => models.perceptron({ layers: `${width}-${depth}*${width}`, activation: "tanh", seed }),
    batch: labelled([Number(width)]),
  };
}

/** Noise of a shape, with classes. */
function labelled(shape: readonly number[]): Recipe["batch"] {
  return (samples, random) => ({
    y: whole([samples], CLASSES, random),
    x: init.normal([samples, ...shape], { random }),
  });
}

function whole(shape: readonly number[], below: number, random: Random): NDArray {
  return { shape, data: Int32Array.from({ length: sizeOf(shape) }, () => random.below(below)) };
}

/** A model with all that a measurement needs of it. */
export interface Subject {
  readonly model: Module;
  /** All models give log-probabilities. */
  readonly objective: Objective;
  /** The canonical ones. */
  readonly groups: readonly NamedGroup[];
  readonly batch: Batch;
}

/** One of the models, in training mode, and a batch of noise. */
export function makeSubject(name: ModelName, samples: number, seed: number = 0): Subject {
  const recipe = recipeOf(name);
  const model = recipe.model(seed);
  const target = objective(model, losses.nll);
  const groups = nameGroups(partition.canonical(model), target.variables);
  return { model, objective: target, groups, batch: recipe.batch(samples, new Random(seed + 1)) };
}

/** A direction of noise, as large as the parameters are: it takes no gradient to make. */
export function noiseDirection({ objective: { variables }, groups }: Subject, seed: number = 2): Direction {
  const random = new Random(seed);
  const arrays = groups.flatMap(({ members }) =>
    members.map((name): [string, NDArray<Float32Array>] => {
      const { shape } = variables.get(name)!;
      const fanIn = sizeOf(shape.length > 1 ? shape.slice(1) : shape);
      return [name, init.normal(shape, { std: 1 / Math.sqrt(fanIn), random })];
    }),
  );
  return Object.fromEntries(arrays);
}

/** The graph of the loss alone: one forward pass. */
export function forwardSource({ objective: target, batch }: Subject): Source<Needs> {
  const b = new GraphBuilder();
  const { loss, checks, masks } = target.trace(b, dataInputs(b, specOf(batch)));
  return { graph: graphOf({ loss }), plan: { checks, masks } };
}
