import { type Batch, type Loss, type Module, type NDArray, nn, type Partition } from "../../src/index.ts";
import { type Chain, readChain } from "./chain.ts";
import { type Formula, readFormula } from "./formulas.ts";
import type { Item } from "./json.ts";
import { readLoss } from "./losses.ts";

/** A model with its loss, as a golden file describes them. */
export interface Problem {
  /** A fresh model with these parameters. */
  readonly model: (params: Item) => Module;
  readonly loss: Loss;
  /** The batch with x and y of `item`; undefined for a model without inputs. */
  readonly batch: (item: Item) => Batch | undefined;
  /** Whether the loss of a batch is more than a sum over its samples. */
  readonly couples: (item: Item) => boolean;
}

/**
 * Reads `model` and `loss_function`.
 * @param sample something with an x of the shape that the model takes.
 * @throws MissingFeature, FormatError
 */
export function readProblem(file: Item, sample: Item): Problem {
  const description = file.get("model");
  const { loss, labels, couples } = readLoss(file.get("loss_function"));
  const ops = description.find("ops");
  const network = ops ? readChain(ops, shapeOf(sample.get("x")).slice(1)) : readFormula(description);
  return {
    model: (params) => moduleOf(network, params, file.find("param_order")?.texts()),
    loss,
    batch: (item) => {
      const x = item.find("x");
      if (!x) return undefined;
      return { x: inputOf(network, x), y: labels ? item.get("y").integers() : item.get("y").floats() };
    },
    couples: (item) => {
      const y = item.find("y");
      return ("couples" in network && network.couples) || (y !== undefined && couples(shapeOf(y).length));
    },
  };
}

function shapeOf(array: Item): number[] {
  return array.get("shape").numbers();
}

function moduleOf(network: Chain | Formula, params: Item, order: readonly string[] = params.keys()): Module {
  const values = Object.fromEntries(order.map((name) => [name, params.get(name).floats()]));
  if ("couples" in network) return nn.fromFunction(values, (p, x) => network.forward(x!, p));
  return nn.fromFunction(values, (p, ...inputs) => network.forward(p, ...inputs));
}

function inputOf(network: Chain | Formula, x: Item): NDArray {
  if ("couples" in network) return network.input(x.floats());
  return network.input === "labels" ? x.integers() : x.floats();
}

/** The partition with these groups of names. */
export function partitionOf(model: Module, groups: Item): Partition {
  const parameters = new Map(model.namedParameters());
  return groups.groups().map((names) => ({
    params: names.map((name) => parameters.get(name) ?? groups.fail(`names ${name}, which the model lacks`)),
  }));
}
