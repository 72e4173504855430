import type { GroupIndex } from "../derive/index.ts";
import type { Variable } from "../engine/index.ts";
import { PartitionError } from "../util/errors.ts";
import { sizeOf } from "../util/ndarray.ts";
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

/** Some entries of a parameter, for a group that has not all of it. */
export interface ParameterPart extends ParameterLike {
  /** Which of the parameter's numbers, counted row by row from 0. */
  readonly entries: readonly number[];
}

/** Parameters that share one learning rate. */
export interface ParameterGroup<P extends ParameterLike = ParameterLike> {
  /** For logs and reports; made from the parameters' names where it is left out. */
  readonly name?: string;
  /** Whole parameters, and parts of some: `{ variable: parameter.variable, entries: [0, 3] }`. */
  readonly params: readonly (P | ParameterPart)[];
}

/** Every trainable parameter of a model in exactly one group, or each of its entries where it is in parts. */
export type Partition<P extends ParameterLike = ParameterLike> = readonly ParameterGroup<P>[];

/** A partition with its groups named and its parameters known by name. */
export interface NamedGroup {
  readonly name: string;
  readonly members: readonly string[];
  /** Of those members that it has only a part of, which entries. */
  readonly entries?: Readonly<Record<string, readonly number[]>>;
}

/** The group of a parameter, or of each of its entries, row by row. */
export type Owners = GroupIndex | readonly GroupIndex[];

/** Where the parameters of a checked partition belong, by name. */
export function ownersOf(groups: readonly NamedGroup[]): ReadonlyMap<string, Owners> {
  const owners = new Map<string, GroupIndex | GroupIndex[]>();
  for (const [group, { members, entries = {} }] of groups.entries())
    for (const name of members) {
      const each = owners.get(name) ?? (entries[name] ? [] : group);
      owners.set(name, each);
      if (typeof each !== "number") for (const entry of entries[name]!) each[entry] = group;
    }
  return owners;
}

/** The names of all parameters of a partition, each once. */
export function membersOf(groups: readonly NamedGroup[]): string[] {
  return [...new Set(groups.flatMap(({ members }) => members))];
}

/**
 * Checks a partition against a model's variables.
 * @throws PartitionError where it misses, repeats or invents a parameter or an entry, has an empty group, or there is nothing
 * to train.
 */
export function nameGroups(partition: Partition, variables: ReadonlyMap<string, Variable>): NamedGroup[] {
  if (!Array.isArray(partition)) throw new PartitionError("partition: expected a list of groups, [{ params: […] }, …]");
  const taken = new Taken(variables);
  const groups = (partition as Partition).map((group, i) => nameGroup(group, i, taken));
  taken.checkAll();
  return groups;
}

function nameGroup({ name, params }: ParameterGroup, i: number, taken: Taken): NamedGroup {
  const where = `group ${name ?? i}`;
  if (!Array.isArray(params)) throw new PartitionError(`partition: ${where} has no list of params`);
  if (params.length === 0) throw new PartitionError(`partition: ${where} is empty`);
  const named = (params as readonly (ParameterLike | ParameterPart)[]).map((each) => taken.take(where, each));
  const entries: Record<string, readonly number[]> = {};
  for (const { member, part } of named) if (part) entries[member] = [...(entries[member] ?? []), ...part];
  return {
    name: name ?? named.map(({ title }) => title).join("+"),
    members: [...new Set(named.map(({ member }) => member))],
    ...(Object.keys(entries).length > 0 && { entries }),
  };
}

/** What of a model's variables is in a group already. */
class Taken {
  readonly #variables: ReadonlyMap<string, Variable>;
  readonly #nameOf: ReadonlyMap<Variable, string>;
  readonly #whole = new Set<string>();
  readonly #parts = new Map<string, Set<number>>();

  constructor(variables: ReadonlyMap<string, Variable>) {
    this.#variables = variables;
    this.#nameOf = new Map([...variables].map(([name, variable]) => [variable, name]));
  }

  /** A parameter's name, or that of a part of it with its entries. @throws PartitionError */
  take(
    where: string,
    param: ParameterLike | ParameterPart,
  ): { member: string; title: string; part?: readonly number[] } {
    const { variable } = param;
    const member = this.#nameOf.get(variable);
    if (member === undefined) throw new PartitionError(`partition: ${where} has a parameter that the model lacks`);
    if (!variable.trainable) throw new PartitionError(`partition: ${where} has ${member}, which is frozen`);
    const part = "entries" in param ? param.entries : undefined;
    if (this.#whole.has(member) || (!part && this.#parts.has(member)))
      throw new PartitionError(`partition: ${member} is in two places`);
    if (!part) {
      this.#whole.add(member);
      return { member, title: member };
    }
    this.#takeEntries(where, member, variable, part);
    return { member, title: titleOf(member, variable.shape, part), part: [...part] };
  }

  #takeEntries(where: string, member: string, { shape }: Variable, part: readonly number[]): void {
    if (!Array.isArray(part) || part.length === 0)
      throw new PartitionError(`partition: ${where} has a part of ${member} without entries`);
    const taken = this.#parts.get(member) ?? new Set();
    this.#parts.set(member, taken);
    const size = sizeOf(shape);
    for (const entry of part) {
      if (!Number.isSafeInteger(entry) || entry < 0 || entry >= size)
        throw new PartitionError(
          `partition: ${where} has entry ${entry} of ${member}, expected a whole number from 0 to ${size - 1}`,
        );
      if (taken.has(entry)) throw new PartitionError(`partition: ${titleOf(member, shape, [entry])} is in two places`);
      taken.add(entry);
    }
  }

  /** @throws PartitionError where something that can be trained is in no group, or there is nothing. */
  checkAll(): void {
    for (const [name, { trainable, shape }] of this.#variables) {
      if (!trainable || this.#whole.has(name)) continue;
      const part = this.#parts.get(name);
      const missing = part && Array.from({ length: sizeOf(shape) }, (_, i) => i).find((i) => !part.has(i));
      if (part && missing === undefined) continue;
      throw new PartitionError(
        `partition: ${missing === undefined ? name : titleOf(name, shape, [missing])} is in no group`,
      );
    }
    if (this.#whole.size + this.#parts.size === 0)
      throw new PartitionError("partition: the model has no parameter that is not frozen");
  }
}

/** A part's name: "w[1,2]" of one entry, "w[1,2…]" of more. */
function titleOf(member: string, shape: readonly number[], [first, ...more]: readonly number[]): string {
  const index = shape.map((_, axis) => {
    const step = sizeOf(shape.slice(axis + 1));
    return Math.floor(first! / step) % shape[axis]!;
  });
  return shape.length === 0 ? member : `${member}[${index}${more.length > 0 ? "…" : ""}]`;
}
