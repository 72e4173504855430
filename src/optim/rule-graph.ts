import { type Builder, formatShape, type Node, sameShape } from "../graph/index.ts";
import { Tensor, traceApart } from "../nn/index.ts";
import { input } from "../ops/index.ts";
import { OptionError, ShapeError } from "../util/errors.ts";
import { type EvaluationInputs, stateNamesOf, type Updater } from "./updater.ts";

/** Inputs of the graph that a rule reads beside gradients and parameters. */
export interface RuleNames {
  state(name: string, parameter: string): string;
  scalar(name: string): string;
}

/** One parameter, as a rule sees it. */
export interface RuleTarget {
  readonly name: string;
  readonly parameter: Node;
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
  targets: readonly (RuleTarget & { readonly gradient: Node })[],
  names: RuleNames,
): RuleResult[] {
  return traceApart(b, () => {
    const scalars = tensors(scalarsOf(updater, 0).map(([name]) => [name, input(b, names.scalar(name), [])]));
    return targets.map((target) => {
      const known = between(b, updater, target, names);
      const { direction, state } = updater.update({ ...known, gradient: new Tensor(target.gradient), scalars });
      const stateNames = Object.keys(known.state);
      const odd = Object.keys(state).find((each) => !stateNames.includes(each));
      if (odd !== undefined)
        throw new OptionError(`updater ${updater.name}: its state "${odd}" is not among its stateNames`);
      return {
        name: target.name,
        direction: checked(updater, target, "the direction", direction),
        state: new Map(stateNames.map((each) => [each, checked(updater, target, `state "${each}"`, state[each])])),
      };
    });
  });
}

/** What the learning rate times this must be taken off a parameter for the weights to use; undefined where that is nothing. */
export function evaluationOffset(b: Builder, updater: Updater, target: RuleTarget, names: RuleNames): Node | undefined {
  return traceApart(b, () => {
    const offset = updater.evaluation?.(between(b, updater, target, names));
    return offset && checked(updater, target, "the evaluation", offset);
  });
}

/** What is known of a parameter between two steps. */
function between(b: Builder, updater: Updater, { name, parameter }: RuleTarget, names: RuleNames): EvaluationInputs {
  // Parameters have no axis that grows with the batch.
  const stateNames = stateNamesOf(updater, parameter.shape as readonly number[]);
  const state = tensors(stateNames.map((each) => [each, input(b, names.state(each, name), parameter.shape)]));
  return { parameter: new Tensor(parameter), state };
}

function tensors(nodes: readonly (readonly [string, Node])[]): Record<string, Tensor> {
  return Object.fromEntries(nodes.map(([name, node]) => [name, new Tensor(node)]));
}

/** Something that a rule gave for a parameter, if it is a tensor of its shape. */
function checked({ name }: Updater, { name: of, parameter }: RuleTarget, what: string, value: unknown): Node {
  if (!(value instanceof Tensor))
    throw new OptionError(`updater ${name}: ${what} of ${of} must be a tensor; found ${typeof value}`);
  const { node } = value;
  if (node.dtype !== "float" || !sameShape(node.shape, parameter.shape))
    throw new ShapeError(
      `updater ${name}: ${what} of ${of}: expected float${formatShape(parameter.shape)}, found ${node.dtype}${formatShape(node.shape)}`,
    );
  return node;
}
