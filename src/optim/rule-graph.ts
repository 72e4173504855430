import { type Builder, formatShape, type Node, type Shape, sameShape } from "../graph/index.ts";
import { Tensor, traceApart } from "../nn/index.ts";
import { input } from "../ops/index.ts";
import { OptionError, ShapeError } from "../util/errors.ts";
import { stateNamesOf, type Updater, type UpdaterOutputs } from "./updater.ts";

/** Inputs of the graph that a rule reads beside gradients and parameters. */
export interface RuleNames {
  state(name: string, parameter: string): string;
  scalar(name: string): string;
}

/** One parameter, as a rule sees it. */
export interface RuleTarget {
  readonly name: string;
  readonly parameter: Node;
  readonly gradient: Node;
}

/** What a rule makes of one parameter. */
export interface RuleResult {
  readonly name: string;
  readonly direction: Node;
  /** The new state, by the rule's names. */
  readonly state: ReadonlyMap<string, Node>;
}

/** The numbers that an updater wants at a step. */
export function scalarsOf(updater: Updater, step: number): [string, number][] {
  return Object.entries(updater.scalars?.(step) ?? {});
}

/** Writes an updater's rule into a graph, for each parameter. @throws OptionError, ShapeError where it gives what it must not */
export function applyRule(
  b: Builder,
  updater: Updater,
  targets: readonly RuleTarget[],
  names: RuleNames,
): RuleResult[] {
  return traceApart(b, () => {
    const scalars = tensors(scalarsOf(updater, 0).map(([name]) => [name, input(b, names.scalar(name), [])]));
    return targets.map(({ name, parameter, gradient }) => {
      // Parameters have no axis that grows with the batch.
      const stateNames = stateNamesOf(updater, parameter.shape as readonly number[]);
      const state = tensors(stateNames.map((each) => [each, input(b, names.state(each, name), parameter.shape)]));
      const made = updater.update({
        gradient: new Tensor(gradient),
        parameter: new Tensor(parameter),
        state,
        scalars,
      });
      return { name, ...checked(updater.name, stateNames, made, { name, shape: parameter.shape }) };
    });
  });
}

function tensors(nodes: readonly (readonly [string, Node])[]): Record<string, Tensor> {
  return Object.fromEntries(nodes.map(([name, node]) => [name, new Tensor(node)]));
}

/** What a rule gave, if it is what it must be. */
function checked(
  name: string,
  stateNames: readonly string[],
  { direction, state }: UpdaterOutputs,
  parameter: { readonly name: string; readonly shape: Shape },
): Omit<RuleResult, "name"> {
  const odd = Object.keys(state).find((each) => !stateNames.includes(each));
  if (odd !== undefined) throw new OptionError(`updater ${name}: its state "${odd}" is not among its stateNames`);
  const nodeOf = (what: string, value: unknown): Node => {
    if (!(value instanceof Tensor))
      throw new OptionError(`updater ${name}: ${what} of ${parameter.name} must be a tensor; found ${typeof value}`);
    if (value.node.dtype !== "float" || !sameShape(value.shape, parameter.shape))
      throw new ShapeError(
        `updater ${name}: ${what} of ${parameter.name}: expected float${formatShape(parameter.shape)}, found ${value.node.dtype}${formatShape(value.shape)}`,
      );
    return value.node;
  };
  return {
    direction: nodeOf("the direction", direction),
    state: new Map(stateNames.map((each) => [each, nodeOf(`state "${each}"`, state[each])])),
  };
}
