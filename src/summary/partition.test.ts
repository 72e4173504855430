import { describe, expect, test } from "vitest";
import { fromFunction, type Module, type Parameter } from "../nn/index.ts";
import { OptionError, PartitionError } from "../util/errors.ts";
import { ndarray } from "../util/ndarray.ts";
import { nameGroups, ownersOf, type Partition, partition } from "./index.ts";

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
/** Layers that are cut, a head of which the first layer stays whole, and something else. */
const headed = () =>
  Object.assign(tree(...layers(3).map((name) => `body.${name}`), ...layers(2).map((name) => `head.${name}`), "scale"), {
    layerCut: { cut: /^body/, whole: "head.0.*" },
  });
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
    "blocks without a weight or a bias",
    tree("0.weight", "0.bias"),
    (model) => partition.blocks(model, 2),
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
  [
    "blocks of the layers that a model's cut names",
    headed(),
    (model) => partition.layerBlocks(model, 2),
    [
      "block 0 weights: body.0.weight body.1.weight",
      "block 1 weights: body.2.weight",
      "head.0.weight: head.0.weight",
      "block 0 biases: body.0.bias body.1.bias",
      "block 1 biases: body.2.bias",
      "head.0.bias: head.0.bias",
      "rest: head.1.weight head.1.bias scale",
    ],
  ],
  [
    "turns of the layers that a model's cut names",
    headed(),
    (model) => partition.alternate(model, 3),
    [
      "turn 0 weights: body.0.weight",
      "turn 1 weights: body.1.weight",
      "turn 2 weights: body.2.weight",
      "head.0.weight: head.0.weight",
      "turn 0 biases: body.0.bias",
      "turn 1 biases: body.1.bias",
      "turn 2 biases: body.2.bias",
      "head.0.bias: head.0.bias",
      "rest: head.1.weight head.1.bias scale",
    ],
  ],
  [
    "modules",
    headed(),
    (model) => partition.modules(model),
    [
      "body.0: body.0.weight body.0.bias",
      "body.1: body.1.weight body.1.bias",
      "body.2: body.2.weight body.2.bias",
      "head.0: head.0.weight head.0.bias",
      "head.1: head.1.weight head.1.bias",
      "the model's own: scale",
    ],
  ],
  [
    "modules to a depth",
    headed(),
    (model) => partition.modules(model, 1),
    [
      "body: body.0.weight body.0.bias body.1.weight body.1.bias body.2.weight body.2.bias",
      "head: head.0.weight head.0.bias head.1.weight head.1.bias",
      "the model's own: scale",
    ],
  ],
  [
    "patterns, of which the first that fits counts",
    headed(),
    (model) => partition.patterns(model, ["body.*.weight", [/^head.*bias$/, "scale"], "**.weight"]),
    [
      "body.*.weight: body.0.weight body.1.weight body.2.weight",
      "/^head.*bias$/+scale: head.0.bias head.1.bias scale",
      "**.weight: head.0.weight head.1.weight",
      "rest: body.0.bias body.1.bias body.2.bias",
    ],
  ],
])("%s", (_what, model, make, expected) => {
  expect(named(model, make(model))).toEqual(expected);
});

test("the projections of attention are weights and biases, as their names end", () => {
  const model = tree("attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj.weight");
  expect(named(model, partition.layerBlocks(model, 1))).toEqual([
    "block 0 weights: attn.in_proj_weight attn.out_proj.weight",
    "block 0 biases: attn.in_proj_bias",
  ]);
});

test("frozen parameters are in no group", () => {
  const model = mlp();
  for (const [name, parameter] of model.namedParameters()) parameter.requiresGrad = name.startsWith("1");
  for (const make of [partition.canonical, partition.trivial, partition.wb])
    expect(make(model).flatMap(({ params }) => params)).toEqual(model.parameters().slice(2, 4));
  expect(named(model, partition.layerBlocks(model, 1))).toEqual([
    "block 0 weights: 1.weight",
    "block 0 biases: 1.bias",
  ]);
});

describe("parts of parameters", () => {
  const model = () =>
    fromFunction({ w: ndarray(new Float64Array(6), [2, 3]), b: ndarray(new Float64Array(1), []) }, ({ w }) => w);

  test("scalars: one group for each number, named by its place", () => {
    const own = model();
    const groups = nameGroups(partition.scalars(own), variables(own));
    expect(groups.map(({ name }) => name)).toEqual(["w[0,0]", "w[0,1]", "w[0,2]", "w[1,0]", "w[1,1]", "w[1,2]", "b"]);
    expect([...ownersOf(groups)]).toEqual([
      ["w", [0, 1, 2, 3, 4, 5]],
      ["b", [6]],
    ]);
  });

  test("stand beside whole parameters, also several of one", () => {
    const own = model();
    const [w, b] = own.parameters() as [Parameter, Parameter];
    const part = (...entries: number[]) => ({ variable: w.variable, entries });
    const groups = nameGroups([{ params: [part(5, 0), b, part(1)] }, { params: [part(4, 3, 2)] }], variables(own));
    expect(groups).toEqual([
      { name: "w[1,2…]+b+w[0,1]", members: ["w", "b"], entries: { w: [5, 0, 1] } },
      { name: "w[1,1…]", members: ["w"], entries: { w: [4, 3, 2] } },
    ]);
    expect([...ownersOf(groups)]).toEqual([
      ["w", [0, 0, 1, 1, 1, 0]],
      ["b", 0],
    ]);
  });

  test("scalars of more numbers than make sense are refused, frozen ones not counted", () => {
    const zeros = (size: number) => ndarray(new Float64Array(size), [size]);
    const large = fromFunction({ w: zeros(4096), v: zeros(1) }, ({ w }) => w);
    expect(() => partition.scalars(large)).toThrow(PartitionError);
    expect(() => partition.scalars(large)).toThrow(
      "scalars: one group for each of the 4097 numbers that can be trained makes an H̄ of 4097 × 4097; at most 4096",
    );
    large.parameters()[1]!.requiresGrad = false;
    expect(partition.scalars(large)).toHaveLength(4096);
  });

  test.each<[string, number[][], boolean, RegExp]>([
    [
      "an entry in no group",
      [
        [0, 1, 2],
        [4, 5],
      ],
      false,
      /w\[1,0\] is in no group/,
    ],
    [
      "an entry in two groups",
      [
        [0, 1, 2, 3],
        [3, 4, 5],
      ],
      false,
      /w\[1,0\] is in two places/,
    ],
    ["an entry twice in a group", [[0, 1, 2, 3, 4, 5, 5]], false, /w\[1,2\] is in two places/],
    ["an entry past the end", [[0, 1, 2, 3, 4, 5, 6]], false, /group 0 has entry 6 of w, expected .* 0 to 5/],
    ["an entry that is no place", [[0.5]], false, /group 0 has entry 0.5 of w/],
    ["a part without entries", [[0, 1, 2, 3, 4, 5], []], false, /group 1 has a part of w without entries/],
    ["a part beside the whole", [[0]], true, /w is in two places/],
  ])("%s is refused", (_what, parts, whole, message) => {
    const own = model();
    const [w, b] = own.parameters() as [Parameter, Parameter];
    const groups = parts.map((entries) => ({ params: [{ variable: w.variable, entries }] }));
    for (const all of whole
      ? [
          [...groups, { params: [w, b] }],
          [{ params: [b, w] }, ...groups],
        ]
      : [[...groups, { params: [b] }]]) {
      expect(() => nameGroups(all, variables(own))).toThrow(PartitionError);
      expect(() => nameGroups(all, variables(own))).toThrow(message);
    }
  });
});

describe("a name", () => {
  test.each<[string, (model: Module) => Partition]>([
    ["canonical", partition.canonical],
    ["scalars", partition.scalars],
    ["trivial", partition.trivial],
    ["wb", partition.wb],
    ["modules", (model) => partition.modules(model)],
    ["modules-1", (model) => partition.modules(model, 1)],
    ["blocks-2", (model) => partition.layerBlocks(model, 2)],
    ["alternate-3", (model) => partition.alternate(model, 3)],
  ])("%s", (name, make) => {
    const model = headed();
    expect(partition.byName(model, name)).toEqual(make(model));
  });

  test.each(["", "blocks", "blocks-n", "blocks-2x", "wb-2", "toString", "alternate--1"])("%j is refused", (name) => {
    expect(() => partition.byName(mlp(), name)).toThrow(PartitionError);
    expect(() => partition.byName(mlp(), name)).toThrow(
      `unknown partition "${name}"; it is one of canonical, scalars, trivial, wb, modules, modules-n, blocks-n, alternate-n`,
    );
  });
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

  test.each<[string, () => Partition, string]>([
    [
      "blocks",
      () => partition.blocks(mlp(), 7),
      "blocks: cannot make 7 groups of the 6 parameters that can be trained",
    ],
    ["layerBlocks", () => partition.layerBlocks(mlp(), 4), "layerBlocks: cannot make 4 groups of the 3 weights"],
    ["alternate", () => partition.byName(headed(), "alternate-4"), "alternate: cannot make 4 groups of the 3 weights"],
  ])("%s of more than there is", (_name, make, message) => {
    expect(make).toThrow(PartitionError);
    expect(make).toThrow(message);
  });

  test.each<[string, (string | RegExp)[]]>([
    ["that fits none", ["nosuch.*"]],
    ["that must fit the whole name", ["body.0", "weight"]],
    ["in which * meets a dot", ["*.weight"]],
    ["of which a dot is no letter", ["body?0?weight", "body_0_weight"]],
    ["whose parameters have gone to others", ["**", /bias/]],
  ])("a pattern %s", (_what, patterns) => {
    expect(() => partition.patterns(headed(), patterns)).toThrow(PartitionError);
    expect(() => partition.patterns(headed(), patterns)).toThrow(
      /no parameter is left for .*; the model's are body.0.weight/,
    );
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
