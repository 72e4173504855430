import type { Variable } from "../engine/index.ts";
import { PartitionError } from "../util/errors.ts";
import type { Pattern } from "./pattern.ts";

/** A parameter as a partition sees it. */
export interface ParameterLike {
  readonly variable: Variable;
}

/** Parameters with names, in order: a model. */
export interface ParameterTree<P extends ParameterLike = ParameterLike> {
  namedParameters(): [string, P][];
  /** Which of its layers `layerBlocks` and `alternate` cut; all of them where a model does not say. */
  readonly layerCut?: LayerCut;
}

/** How a model's layers are cut. Layers that fit neither pattern are one group, weights and biases together. */
export interface LayerCut {
  /** The layers that are cut into blocks or turns. */
  readonly cut: Pattern;
  /** Layers of which each weight and each bias stays a group of its own, after the cut ones. */
  readonly whole: Pattern;
}

/** Parameters that share one learning rate. */
export interface ParameterGroup<P extends ParameterLike = ParameterLike> {
  /** For logs and reports; made from the parameters' names where it is left out. */
  readonly name?: string;
  readonly params: readonly P[];
}

/** Every trainable parameter of a model in exactly one group. */
export type Partition<P extends ParameterLike = ParameterLike> = readonly ParameterGroup<P>[];

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
