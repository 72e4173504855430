import type { Objective, Variable } from "../engine/index.ts";
import { type FullLoss, fullObjective, type Loss, Module, objective, type Parameter } from "../nn/index.ts";
import {
  type NamedGroup,
  nameGroups,
  type ParameterGroup,
  type Partition,
  partition as partitions,
} from "../summary/index.ts";
import { OptionError } from "../util/errors.ts";

/** What is trained: a model with a loss of its output, or parameter groups with a loss that contains the model. */
export type Target = Module | readonly ParameterGroup<Parameter>[];

/** A target as the optimisers see it. */
export interface ResolvedTarget {
  readonly objective: Objective;
  readonly groups: readonly NamedGroup[];
}

/** @throws PartitionError, OptionError */
export function resolveTarget(target: Target, loss: Loss | FullLoss, partition: Partition | undefined): ResolvedTarget {
  if (target instanceof Module) {
    const whole = objective(target, loss);
    return { objective: whole, groups: nameGroups(partition ?? partitions.canonical(target), whole.variables) };
  }
  if (partition) throw new OptionError("partition would be ignored beside parameter groups");
  const variables = new Map<string, Variable>();
  const known = new Set<Variable>();
  target.forEach(({ name = "", params }, i) => {
    params.forEach(({ variable }, j) => {
      // Parts of one parameter; one that is in two places is refused below.
      if (known.has(variable)) return;
      known.add(variable);
      const own = params.length === 1 ? name || `group${i}` : `${name || `group${i}`}.${j}`;
      variables.set(variables.has(own) ? `${own}#${variables.size}` : own, variable);
    });
  });
  return { objective: fullObjective(variables, loss), groups: nameGroups(target, variables) };
}
