import { type Builder, formatShape, type Node, type Shape, sameShape } from "../graph/index.ts";
import { Tensor, traceApart } from "../nn/index.ts";
import { input } from "../ops/index.ts";
import { OptionError, ShapeError } from "../util/errors.ts";
import { type EvaluationInputs, stateNamesOf, type Updater, type UpdaterOutputs } from "./updater.ts";

/** Inputs of the graph that a rule reads beside gradients and parameters. */
export interface RuleNames {
  state(name: string, parameter: string): string;
  scalar(name: string): string;
  shared(name: string): string;
}

/** One parameter, as a rule sees it. */
export interface RuleTarget {
  readonly name: string;
  readonly parameter: Node;
}

/** One parameter with what the loss tells of it. */
export interface RuleSubject extends RuleTarget {
  readonly gradient: Node;
  /** Its part of H v, for a rule that asks for one. */
  readonly product: Node | undefined;
}

/** What a rule makes of all parameters. */
export interface AppliedRule {
  /** By parameter. */
  readonly directions: ReadonlyMap<string, Node>;
  /** The new state and shared numbers, by the names of their inputs. */
  readonly kept: ReadonlyMap<string, Node>;
}

/** The numbers that an updater wants at a step. */
export function scalarsOf(updater: Updater, step: number): [string, number][] {
  return Object.entries(updater.scalars?.(step) ?? {});
}

/** Writes an updater's rule into a graph, for each parameter. @throws OptionError, ShapeError where it gives what it must not */
export function applyRule(
  b: Builder,
  updater: Updater,
  targets: readonly RuleSubject[],
  names: RuleNames,
): AppliedRule {
  const write = (): AppliedRule => {
    const scalars = tensors(scalarsOf(updater, 0).map(([name]) => [name, input(b, names.scalar(name), [])]));
    const shared = tensors((updater.shared?.names ?? []).map((name) => [name, input(b, names.shared(name), [])]));
    const directions = new Map<string, Node>();
    const kept = new Map<string, Node>();
    const sums: Record<string, Tensor> = {};
    for (const target of targets) {
      const { name, parameter, gradient, product } = target;
      const known = between(b, updater, target, names);
      const slopes = { gradient: new Tensor(gradient), ...(product && { hessianProduct: new Tensor(product) }) };
      const made = updater.update({ ...known, ...slopes, scalars, shared });
      checkMade(updater, name, made);
      directions.set(name, checked(updater, `the direction of ${name}`, made.direction, parameter.shape));
      for (const [each, value] of entriesOf(updater, "state", Object.keys(known.state), made.state))
        kept.set(names.state(each, name), checked(updater, `state "${each}" of ${name}`, value, parameter.shape));
      for (const [each, value] of Object.entries(made.sums ?? {})) {
        const term = new Tensor(checked(updater, `the sum "${each}" of ${name}`, value, []));
        sums[each] = sums[each]?.add(term) ?? term;
      }
    }
    const next = updater.shared?.next({ shared, sums, scalars }) ?? {};
    for (const [each, value] of entriesOf(updater, "shared number", Object.keys(shared), next))
      kept.set(names.shared(each), checked(updater, `shared number "${each}"`, value, []));
    return { directions, kept };
  };
  return writtenTwice(b, updater, write, ({ directions, kept }) => [...directions.values(), ...kept.values()]);
}

/** Runs a rule's code twice and makes sure that both times it wrote the same. @throws OptionError */
function writtenTwice<T>(b: Builder, { name }: Updater, code: () => T, nodesOf: (written: T) => readonly unknown[]): T {
  const [first, second] = [traceApart(b, code), traceApart(b, code)];
  const again = nodesOf(second);
  if (nodesOf(first).some((node, i) => node !== again[i]))
    throw new OptionError(
      `updater ${name}: two traces of its rule differ: it uses random numbers or other outside state, which would be baked in as constants`,
    );
  return first;
}

/** @throws OptionError where a rule gave something else than a direction and a state */
function checkMade({ name }: Updater, parameter: string, made: unknown): void {
  const { direction, state } = (made ?? {}) as Partial<UpdaterOutputs>;
  const lacks =
    direction === undefined ? "direction" : typeof state !== "object" || state === null ? "state" : undefined;
  if (lacks)
    throw new OptionError(
      `updater ${name}: what it gives for ${parameter} has no ${lacks}: expected { direction, state }`,
    );
}

/** What a rule gave under each name that it has; under no other. */
function entriesOf(
  { name }: Updater,
  what: string,
  known: readonly string[],
  given: Readonly<Record<string, unknown>>,
): [string, unknown][] {
  const odd = Object.keys(given).find((each) => !known.includes(each));
  if (odd !== undefined)
    throw new OptionError(`updater ${name}: its ${what} "${odd}" is not among those that it names`);
  return known.map((each) => [each, given[each]]);
}

/** What the learning rate times this must be taken off a parameter for the weights to use; undefined where that is nothing. */
export function evaluationOffset(b: Builder, updater: Updater, target: RuleTarget, names: RuleNames): Node | undefined {
  const write = (): Node | undefined => {
    const offset = updater.evaluation?.(between(b, updater, target, names));
    return offset && checked(updater, `the evaluation of ${target.name}`, offset, target.parameter.shape);
  };
  return writtenTwice(b, updater, write, (offset) => [offset]);
}

/** The vector that a rule wants to be multiplied by the Hessian, parameter by parameter; undefined for one that wants none. */
export function hessianVectors(
  b: Builder,
  updater: Updater,
  targets: readonly RuleTarget[],
  names: RuleNames,
): Node[] | undefined {
  if (!updater.hessianVector) return undefined;
  const write = (): Node[] =>
    targets.map((target) => {
      const vector = updater.hessianVector!(between(b, updater, target, names));
      return checked(updater, `the hessianVector of ${target.name}`, vector, target.parameter.shape);
    });
  return writtenTwice(b, updater, write, (vectors) => vectors);
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

/** Something that a rule gave, if it is a tensor of the right shape. */
function checked({ name }: Updater, what: string, value: unknown, shape: Shape): Node {
  if (!(value instanceof Tensor))
    throw new OptionError(`updater ${name}: ${what} must be a tensor; found ${typeof value}`);
  const { node } = value;
  if (node.dtype !== "float" || !sameShape(node.shape, shape))
    throw new ShapeError(
      `updater ${name}: ${what}: expected float${formatShape(shape)}, found ${node.dtype}${formatShape(node.shape)}`,
    );
  return node;
}
