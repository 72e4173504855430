import { PartitionError } from "../util/errors.ts";
import { sizeOf } from "../util/ndarray.ts";
import { checkWhole } from "../util/options.ts";
import type { ParameterGroup, ParameterLike, ParameterTree, Partition } from "./groups.ts";
import { type Pattern, tester } from "./pattern.ts";

type Named<P> = readonly (readonly [string, P])[];

function trainable<P extends ParameterLike>(model: ParameterTree<P>): Named<P> {
  return model.namedParameters().filter(([, { variable }]) => variable.trainable);
}

function groupOf<P extends ParameterLike>(name: string, members: Named<P>): ParameterGroup<P>[] {
  return members.length === 0 ? [] : [{ name, params: members.map(([, parameter]) => parameter) }];
}

/** Whether a name is the pattern, or ends in it after a dot: "weight" and "0.weight" both fit "layers.0.weight". */
function fits(name: string, pattern: string): boolean {
  return name === pattern || name.endsWith(`.${pattern}`);
}

/** One group for each parameter. */
export function canonical<P extends ParameterLike>(model: ParameterTree<P>): Partition<P> {
  return trainable(model).flatMap((member) => groupOf(member[0], [member]));
}

/** The most groups of a number each that `scalars` makes: their H̄ takes 128 MiB, and to solve with it minutes. */
const MOST_SCALARS = 4096;

/**
 * One group for each number, the finest partition: with it the method is Newton's own. For small models: H̄ has a row and a
 * column for each number, and the tangents of all are computed.
 * @throws PartitionError where there are more than 4096.
 */
export function scalars<P extends ParameterLike>(model: ParameterTree<P>): Partition<P> {
  const members = trainable(model);
  const total = members.reduce((sum, [, { variable }]) => sum + sizeOf(variable.shape), 0);
  if (total > MOST_SCALARS)
    throw new PartitionError(
      `scalars: one group for each of the ${total} numbers that can be trained makes an H̄ of ${total} × ${total}; at most ${MOST_SCALARS} groups make sense`,
    );
  return members.flatMap(([, { variable }]) =>
    Array.from({ length: sizeOf(variable.shape) }, (_, entry) => ({ params: [{ variable, entries: [entry] }] })),
  );
}

/** One group with all parameters. */
export function trivial<P extends ParameterLike>(model: ParameterTree<P>): Partition<P> {
  return groupOf("all", trainable(model));
}

/** All weights, all biases, and whatever else there is. */
export function wb<P extends ParameterLike>(model: ParameterTree<P>): Partition<P> {
  return names(model, ["weight", "bias"]);
}

/** One group for each name, of the parameters whose names end in it, and one for the rest. */
export function names<P extends ParameterLike>(model: ParameterTree<P>, patterns: readonly string[]): Partition<P> {
  return namesByList(
    model,
    patterns.map((pattern) => [pattern]),
  );
}

/**
 * One group for each list, of the parameters whose names end in one of its entries, and one for the rest. A parameter
 * that fits several lists goes to the first; a group that gets none is left out.
 */
export function namesByList<P extends ParameterLike>(
  model: ParameterTree<P>,
  lists: readonly (readonly string[])[],
): Partition<P> {
  const listOf = (name: string): number => lists.findIndex((list) => list.some((pattern) => fits(name, pattern)));
  return withRest(
    trainable(model),
    lists.map((list) => list.join("+")),
    listOf,
  );
}

/**
 * One group for each pattern or list of patterns, of the parameters whose names fit it, and one for the rest. A parameter
 * that fits several goes to the first.
 * @throws PartitionError where a pattern is left without a parameter.
 */
export function patterns<P extends ParameterLike>(
  model: ParameterTree<P>,
  lists: readonly (Pattern | readonly Pattern[])[],
): Partition<P> {
  const members = trainable(model);
  const entries = lists.flatMap((list, i) =>
    [list].flat().map((pattern) => ({ pattern, group: i, test: tester(pattern) })),
  );
  const entryOf = new Map(members.map(([name]) => [name, entries.find(({ test }) => test(name))]));
  const used = new Set(entryOf.values());
  const idle = entries.find((entry) => !used.has(entry));
  if (idle)
    throw new PartitionError(
      `patterns: no parameter is left for ${idle.pattern}; the model's are ${members.map(([name]) => name).join(", ")}`,
    );
  return withRest(
    members,
    lists.map((list) => [list].flat().join("+")),
    (name) => entryOf.get(name)?.group ?? -1,
  );
}

/** A group for each of `titles`, of the parameters that `groupAt` gives its index, and one for those without. */
function withRest<P extends ParameterLike>(
  members: Named<P>,
  titles: readonly string[],
  groupAt: (name: string) => number,
): Partition<P> {
  const at = (i: number): Named<P> => members.filter(([name]) => groupAt(name) === i);
  return [...titles.flatMap((title, i) => groupOf(title, at(i))), ...groupOf("rest", at(-1))];
}

/**
 * One group for each module that has parameters of its own, named by its path.
 * @param depth how many names of the path count: with 1, whatever lies below one of the model's fields is one group.
 */
export function modules<P extends ParameterLike>(
  model: ParameterTree<P>,
  depth: number = Number.MAX_SAFE_INTEGER,
): Partition<P> {
  checkWhole("depth", depth, 1);
  const found = new Map<string, Named<P>>();
  for (const member of trainable(model)) {
    const path = member[0].split(".").slice(0, -1).slice(0, depth).join(".") || "the model's own";
    found.set(path, [...(found.get(path) ?? []), member]);
  }
  return [...found].flatMap(([path, members]) => groupOf(path, members));
}

/**
 * The parameters cut into `count` runs of nearly equal number, each a group of its weights and one of its biases.
 * @throws PartitionError where a parameter is neither, or there are fewer than `count`.
 */
export function blocks<P extends ParameterLike>(model: ParameterTree<P>, count: number): Partition<P> {
  const members = trainable(model);
  weightsAndBiases(members);
  checkCount("blocks", count, members.length, "parameters");
  return runs(members, count).flatMap((run, i) => {
    const [weights, biases] = weightsAndBiases(run);
    return [...groupOf(`block ${i} weights`, weights), ...groupOf(`block ${i} biases`, biases)];
  });
}

/**
 * The layers cut into `count` runs of nearly equal number: a group of weights for each run, then one of biases for each.
 * A model's `layerCut` may keep some layers out of the runs.
 * @throws PartitionError where a parameter of such a layer is neither weight nor bias, or there are fewer weights than `count`.
 */
export function layerBlocks<P extends ParameterLike>(model: ParameterTree<P>, count: number): Partition<P> {
  return cutLayers("layerBlocks", model, count, (members, kind) =>
    runs(members, count).flatMap((run, i) => groupOf(`block ${i} ${kind}`, run)),
  );
}

/**
 * Layers i, i + count, i + 2 count, … together: `count` groups of weights, then as many of biases. A model's `layerCut` may
 * keep some layers out of the turns.
 * @throws PartitionError as `layerBlocks`.
 */
export function alternate<P extends ParameterLike>(model: ParameterTree<P>, count: number): Partition<P> {
  return cutLayers("alternate", model, count, (members, kind) =>
    Array.from({ length: count }, (_, i) => members.filter((_, at) => at % count === i)).flatMap((turn, i) =>
      groupOf(`turn ${i} ${kind}`, turn),
    ),
  );
}

/** The groups that `cut` makes of the weights, those of the whole layers, the same of the biases, and one of the rest. */
function cutLayers<P extends ParameterLike>(
  where: string,
  model: ParameterTree<P>,
  count: number,
  cut: (members: Named<P>, kind: string) => Partition<P>,
): Partition<P> {
  const { cut: cutPattern, whole: wholePattern } = model.layerCut ?? { cut: "**", whole: "" };
  const [isCut, isWhole] = [tester(cutPattern), tester(wholePattern)];
  const members = trainable(model);
  const [cutWeights, cutBiases] = weightsAndBiases(members.filter(([name]) => isCut(name)));
  const [wholeWeights, wholeBiases] = weightsAndBiases(members.filter(([name]) => isWhole(name)));
  checkCount(where, count, cutWeights.length, "weights");
  const each = (whole: Named<P>): Partition<P> => whole.flatMap((member) => groupOf(member[0], [member]));
  return [
    ...cut(cutWeights, "weights"),
    ...each(wholeWeights),
    ...cut(cutBiases, "biases"),
    ...each(wholeBiases),
    ...groupOf(
      "rest",
      members.filter(([name]) => !isCut(name) && !isWhole(name)),
    ),
  ];
}

function checkCount(where: string, count: number, available: number, what: string): void {
  checkWhole("count", count, 1);
  if (count > available)
    throw new PartitionError(`${where}: cannot make ${count} groups of the ${available} ${what} that can be trained`);
}

type Maker = <P extends ParameterLike>(model: ParameterTree<P>, count: number) => Partition<P>;

/** The partitions that need at most a number. */
const makers: Readonly<Record<string, Maker>> = {
  canonical,
  scalars,
  trivial,
  wb,
  modules: (model) => modules(model),
  "modules-n": modules,
  "blocks-n": layerBlocks,
  "alternate-n": alternate,
};

/**
 * The partition of that name: canonical, scalars, trivial, wb, modules, modules-n (`modules` to depth n), blocks-n (`layerBlocks`)
 * or alternate-n, with a number for n.
 * @throws PartitionError for another name, or where the model cannot be cut so.
 */
export function byName<P extends ParameterLike>(model: ParameterTree<P>, name: string): Partition<P> {
  const [, kind, count] = /^(.*-)([0-9]+)$/.exec(name) ?? [];
  const key = kind === undefined ? name : `${kind}n`;
  if (!Object.hasOwn(makers, key) || name.endsWith("-n"))
    throw new PartitionError(`unknown partition "${name}"; it is one of ${Object.keys(makers).join(", ")}`);
  if (Number(count) === 0) throw new PartitionError(`partition "${name}": n must be 1 or more`);
  return makers[key]!(model, Number(count));
}

/** @throws PartitionError where a parameter is neither */
function weightsAndBiases<P>(members: Named<P>): [Named<P>, Named<P>] {
  // PyTorch's attention has an "in_proj_weight" and an "in_proj_bias".
  const of = (kind: string): Named<P> => members.filter(([name]) => fits(name, kind) || name.endsWith(`_${kind}`));
  const [weights, biases] = [of("weight"), of("bias")];
  const odd = members.find((member) => !weights.includes(member) && !biases.includes(member));
  if (odd) throw new PartitionError(`this partition knows weights and biases only; ${odd[0]} is neither`);
  return [weights, biases];
}

/** Cut into runs whose lengths differ by at most one, the longer ones first. */
function runs<T>(items: readonly T[], count: number): T[][] {
  const [length, longer] = [Math.floor(items.length / count), items.length % count];
  const start = (i: number): number => i * length + Math.min(i, longer);
  return Array.from({ length: count }, (_, i) => items.slice(start(i), start(i + 1)));
}
