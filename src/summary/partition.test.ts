import { describe, expect, test } from "vitest";
import { fromFunction, type Module } from "../nn/index.ts";
import { OptionError, PartitionError } from "../util/errors.ts";
import { ndarray } from "../util/ndarray.ts";
import { nameGroups, type Partition, partition } from "./index.ts";

/** A model with parameters of these names, in this order. */
function tree(...names: string[]): Module {
  const one = ndarray(Float64Array.of(1), [1]);
  return fromFunction(Object.fromEntries(names.map((name) => [name, one])), (p) => p[names[0]!]!);
}

const variables = (model: Module) => new Map(model.namedParameters().map(([name, { variable }]) => [name, variable]));
const named = (model: Module, groups: Partition) =>
  nameGroups(groups, variables(model)).map(({ name, members }) => `${name}: ${members.join(" ")}`);

const layers = (count: number) => Array.from({ length: count }, (_, i) => [`${i}.weight`, `${i}.bias`]).flat();
const mlp = () => tree(...layers(3));
const mixed = () => tree("0.weight", "0.bias", "norm.gain", "out.weight", "weight");

test.each<[string, Module, (model: Module) => Partition, string[]]>([
  [
    "canonical",
    mixed(),
    partition.canonical,
    ["0.weight: 0.weight", "0.bias: 0.bias", "norm.gain: norm.gain", "out.weight: out.weight", "weight: weight"],
  ],
  ["trivial", mixed(), partition.trivial, ["all: 0.weight 0.bias norm.gain out.weight weight"]],
  ["wb", mixed(), partition.wb, ["weight: 0.weight out.weight weight", "bias: 0.bias", "rest: norm.gain"]],
  ["wb without a rest", mlp(), partition.wb, ["weight: 0.weight 1.weight 2.weight", "bias: 0.bias 1.bias 2.bias"]],
  [
    "names, which end names after a dot",
    tree("a.weight", "aweight", "b.a.weight", "bias"),
    (model) => partition.names(model, ["a.weight", "none"]),
    ["a.weight: a.weight b.a.weight", "rest: aweight bias"],
  ],
  [
    "lists of names, of which the first that fits counts",
    mixed(),
    (model) => partition.namesByList(model, [["bias", "out.weight"], ["weight"]]),
    ["bias+out.weight: 0.bias out.weight", "weight: 0.weight weight", "rest: norm.gain"],
  ],
  [
    "blocks of parameters, the longer ones first",
    tree(...layers(2), "2.weight"),
    (model) => partition.blocks(model, 2),
    [
      "block 0 weights: 0.weight 1.weight",
      "block 0 biases: 0.bias",
      "block 1 weights: 2.weight",
      "block 1 biases: 1.bias",
    ],
  ],
  [
    "more blocks than parameters",
    tree("0.weight", "0.bias"),
    (model) => partition.blocks(model, 5),
    ["block 0 weights: 0.weight", "block 1 biases: 0.bias"],
  ],
  [
    "blocks of layers",
    mlp(),
    (model) => partition.layerBlocks(model, 2),
    [
      "block 0 weights: 0.weight 1.weight",
      "block 1 weights: 2.weight",
      "block 0 biases: 0.bias 1.bias",
      "block 1 biases: 2.bias",
    ],
  ],
  [
    "layers by turns",
    mlp(),
    (model) => partition.alternate(model, 2),
    [
      "turn 0 weights: 0.weight 2.weight",
      "turn 1 weights: 1.weight",
      "turn 0 biases: 0.bias 2.bias",
      "turn 1 biases: 1.bias",
    ],
  ],
])("%s", (_what, model, make, expected) => {
  expect(named(model, make(model))).toEqual(expected);
});

test("frozen parameters are in no group", () => {
  const model = mlp();
  for (const [name, parameter] of model.namedParameters()) parameter.requiresGrad = name.startsWith("1");
  for (const make of [partition.canonical, partition.trivial, partition.wb])
    expect(make(model).flatMap(({ params }) => params)).toEqual(model.parameters().slice(2, 4));
  expect(named(model, partition.layerBlocks(model, 2))).toEqual([
    "block 0 weights: 1.weight",
    "block 0 biases: 1.bias",
  ]);
});

describe("refused", () => {
  test.each<[string, (model: Module) => Partition]>([
    ["blocks", (model) => partition.blocks(model, 2)],
    ["layerBlocks", (model) => partition.layerBlocks(model, 2)],
    ["alternate", (model) => partition.alternate(model, 2)],
  ])("%s of what is neither weight nor bias, and counts that are none", (name, make) => {
    expect(() => make(mixed())).toThrow(PartitionError);
    expect(() => make(mixed())).toThrow(/norm.gain is neither/);
    for (const count of [0, -1, 1.5, Number.NaN])
      expect(() => partition[name as "blocks"](mlp(), count)).toThrow(OptionError);
  });

  const model = mlp();
  const [first, ...others] = model.parameters();
  test.each<[string, unknown, RegExp]>([
    ["a parameter in no group", [{ params: others }], /0.weight is in no group/],
    ["one in two groups", [{ params: [first, ...others] }, { params: [first] }], /0.weight is in two places/],
    ["one twice in a group", [{ params: [first, first, ...others] }], /0.weight is in two places/],
    [
      "one of another model",
      [{ name: "g", params: [first, ...mlp().parameters()] }],
      /group g .* that the model lacks/,
    ],
    ["what is no parameter", [{ params: [model] }], /group 0 has a parameter that the model lacks/],
    ["an empty group", [{ params: [first, ...others] }, { params: [] }], /group 1 is empty/],
    ["a group without params", [{ name: "a" }], /group a has no list of params/],
    ["what is no list", { params: model.parameters() }, /expected a list of groups/],
    ["no group at all", [], /0.weight is in no group/],
  ])("%s", (_what, groups, message) => {
    expect(() => nameGroups(groups as Partition, variables(model))).toThrow(PartitionError);
    expect(() => nameGroups(groups as Partition, variables(model))).toThrow(message);
  });

  test("a model of which all is frozen, and a group with a frozen parameter", () => {
    const frozen = mlp();
    const groups = partition.canonical(frozen);
    for (const parameter of frozen.parameters()) parameter.requiresGrad = false;
    expect(() => nameGroups(groups, variables(frozen))).toThrow("group 0.weight has 0.weight, which is frozen");
    expect(() => nameGroups(partition.canonical(frozen), variables(frozen))).toThrow(/no parameter that is not frozen/);
  });
});
