import type { Variable } from "../engine/index.ts";
import { PartitionError } from "../util/errors.ts";
import { checkWhole } from "../util/options.ts";

/** A parameter as a partition sees it. */
export interface ParameterLike {
  readonly variable: Variable;
}

/** Parameters with names, in order: a model. */
export interface ParameterTree<P extends ParameterLike = ParameterLike> {
  namedParameters(): [string, P][];
}

/** Parameters that share one learning rate. */
export interface ParameterGroup<P extends ParameterLike = ParameterLike> {
  /** For logs and reports; made from the parameters' names where it is left out. */
  readonly name?: string;
  readonly params: readonly P[];
}

/** Every trainable parameter of a model in exactly one group. */
export type Partition<P extends ParameterLike = ParameterLike> = readonly ParameterGroup<P>[];

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
  const members = trainable(model);
  const listOf = (name: string): number => lists.findIndex((list) => list.some((pattern) => fits(name, pattern)));
  const grouped = lists.map((list, i) =>
    groupOf(
      list.join("+"),
      members.filter(([name]) => listOf(name) === i),
    ),
  );
  return [
    ...grouped.flat(),
    ...groupOf(
      "rest",
      members.filter(([name]) => listOf(name) < 0),
    ),
  ];
}

/** The parameters cut into `count` runs of nearly equal number, each a group of its weights and one of its biases. */
export function blocks<P extends ParameterLike>(model: ParameterTree<P>, count: number): Partition<P> {
  const members = trainable(model);
  weightsAndBiases(members);
  return runs(members, count).flatMap((run, i) => {
    const [weights, biases] = weightsAndBiases(run);
    return [...groupOf(`block ${i} weights`, weights), ...groupOf(`block ${i} biases`, biases)];
  });
}

/** The layers cut into `count` runs of nearly equal number: a group of weights for each run, then one of biases for each. */
export function layerBlocks<P extends ParameterLike>(model: ParameterTree<P>, count: number): Partition<P> {
  const [weights, biases] = weightsAndBiases(trainable(model));
  return [
    ...runs(weights, count).flatMap((run, i) => groupOf(`block ${i} weights`, run)),
    ...runs(biases, count).flatMap((run, i) => groupOf(`block ${i} biases`, run)),
  ];
}

/** Layers i, i + count, i + 2 count, … together: `count` groups of weights, then as many of biases. */
export function alternate<P extends ParameterLike>(model: ParameterTree<P>, count: number): Partition<P> {
  checkWhole("count", count, 1);
  const turns = (members: Named<P>, kind: string): Partition<P> =>
    Array.from({ length: count }, (_, i) =>
      groupOf(
        `turn ${i} ${kind}`,
        members.filter((_, at) => at % count === i),
      ),
    ).flat();
  const [weights, biases] = weightsAndBiases(trainable(model));
  return [...turns(weights, "weights"), ...turns(biases, "biases")];
}

/** @throws PartitionError where a parameter is neither */
function weightsAndBiases<P>(members: Named<P>): [Named<P>, Named<P>] {
  const odd = members.find(([name]) => !fits(name, "weight") && !fits(name, "bias"));
  if (odd) throw new PartitionError(`this partition knows weights and biases only; ${odd[0]} is neither`);
  return [members.filter(([name]) => fits(name, "weight")), members.filter(([name]) => fits(name, "bias"))];
}

/** Cut into runs whose lengths differ by at most one, the longer ones first. */
function runs<T>(items: readonly T[], count: number): T[][] {
  checkWhole("count", count, 1);
  const [length, longer] = [Math.floor(items.length / count), items.length % count];
  const start = (i: number): number => i * length + Math.min(i, longer);
  return Array.from({ length: count }, (_, i) => items.slice(start(i), start(i + 1)));
}

/** A partition with its groups named and its parameters known by name. */
export interface NamedGroup {
  readonly name: string;
  readonly members: readonly string[];
}

/**
 * Checks a partition against a model's variables.
 * @throws PartitionError where it misses, repeats or invents a parameter, has an empty group, or there is nothing to train.
 */
export function nameGroups(partition: Partition, variables: ReadonlyMap<string, Variable>): NamedGroup[] {
  const nameOf = new Map([...variables].map(([name, variable]) => [variable, name]));
  const seen = new Set<string>();
  if (!Array.isArray(partition)) throw new PartitionError("partition: expected a list of groups, [{ params: […] }, …]");
  const groups = (partition as Partition).map(({ name, params }, i) => {
    if (!Array.isArray(params)) throw new PartitionError(`partition: group ${name ?? i} has no list of params`);
    if (params.length === 0) throw new PartitionError(`partition: group ${name ?? i} is empty`);
    const members = params.map(({ variable }) => {
      const member = nameOf.get(variable);
      if (member === undefined)
        throw new PartitionError(`partition: group ${name ?? i} has a parameter that the model lacks`);
      if (!variable.trainable) throw new PartitionError(`partition: group ${name ?? i} has ${member}, which is frozen`);
      if (seen.has(member)) throw new PartitionError(`partition: ${member} is in two places`);
      seen.add(member);
      return member;
    });
    return { name: name ?? members.join("+"), members };
  });
  for (const [name, { trainable: needed }] of variables)
    if (needed && !seen.has(name)) throw new PartitionError(`partition: ${name} is in no group`);
  if (seen.size === 0) throw new PartitionError("partition: the model has no parameter that is not frozen");
  return groups;
}
