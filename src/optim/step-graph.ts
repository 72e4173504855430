import { gradients } from "../derive/index.ts";
import {
  type DataSpec,
  dataInputs,
  type Objective,
  type RangeCheck,
  type Source,
  variableInputs,
} from "../engine/index.ts";
import { type Builder, GraphBuilder, graphOf, type Node } from "../graph/index.ts";
import {
  add,
  broadcast,
  concat,
  greater,
  input,
  mul,
  reciprocal,
  reshape,
  scalar,
  scale,
  shift,
  slice,
  sqrt,
  sub,
  sum,
  where,
} from "../ops/index.ts";
import { directionInput, type NamedGroup } from "../summary/index.ts";
import type { Updater } from "./updater.ts";

/** Where a step's gradient comes from: the loss of a batch, or the caller. */
export type GradientSource = { readonly kind: "batch"; readonly spec: DataSpec } | { readonly kind: "given" };

/** What a training program is made of. */
export interface StepParts {
  readonly objective: Objective;
  readonly groups: readonly NamedGroup[];
  readonly updater: Updater;
  /** The largest norm of the whole gradient; longer ones are scaled down to it. */
  readonly clipGradNorm: number | undefined;
}

/** Names of the inputs and outputs of training programs. */
export const names = {
  gradient: (parameter: string): string => `d:${parameter}`,
  direction: directionInput,
  updated: (parameter: string): string => `p:${parameter}`,
  state: (name: string, parameter: string): string => `s:${name}:${parameter}`,
  scalar: (name: string): string => `c:${name}`,
  rates: "rates",
  loss: "loss",
  norms: "norms",
  check: "check",
};

interface Directions {
  readonly outputs: Map<string, Node>;
  readonly directions: ReadonlyMap<string, Node>;
  readonly checks: readonly RangeCheck[];
}

/** The updater's directions from a gradient, with its new state; and the loss where a batch gives it. */
function directions(
  b: Builder,
  parts: StepParts,
  variables: ReadonlyMap<string, Node>,
  from: GradientSource,
): Directions {
  const { objective, groups, updater } = parts;
  const members = groups.flatMap((group) => group.members);
  const outputs = new Map<string, Node>();
  const { slopes, checks } =
    from.kind === "batch" ? traced(b, objective, variables, members, from.spec, outputs) : given(b, variables, members);
  const gradient = parts.clipGradNorm === undefined ? slopes : clipped(b, slopes, parts.clipGradNorm);
  const scalars = Object.fromEntries(
    Object.keys(updater.scalars(0)).map((name) => [name, input(b, names.scalar(name), [])]),
  );
  const made = new Map<string, Node>();
  members.forEach((name, i) => {
    const parameter = variables.get(name)!;
    const stateInputs = updater.stateNames.map(
      (each) => [each, input(b, names.state(each, name), parameter.shape)] as const,
    );
    const result = updater.update(b, {
      gradient: gradient[i]!,
      parameter,
      state: Object.fromEntries(stateInputs),
      scalars,
    });
    made.set(name, result.direction);
    for (const [each, node] of Object.entries(result.state)) outputs.set(names.state(each, name), node);
  });
  return { outputs, directions: made, checks };
}

function traced(
  b: Builder,
  objective: Objective,
  variables: ReadonlyMap<string, Node>,
  members: readonly string[],
  spec: DataSpec,
  outputs: Map<string, Node>,
): { slopes: Node[]; checks: readonly RangeCheck[] } {
  const nodes = new Map([...objective.variables].map(([name, variable]) => [variable, variables.get(name)!]));
  const { loss, checks } = objective.trace(b, nodes, dataInputs(b, spec));
  outputs.set(names.loss, loss);
  const parameters = members.map((name) => variables.get(name)!);
  const slopes = gradients(b, loss, parameters).map(
    (slope, i) => slope ?? broadcast(b, scalar(b, 0), parameters[i]!.shape),
  );
  return { slopes, checks };
}

function given(
  b: Builder,
  variables: ReadonlyMap<string, Node>,
  members: readonly string[],
): { slopes: Node[]; checks: readonly RangeCheck[] } {
  return { slopes: members.map((name) => input(b, names.gradient(name), variables.get(name)!.shape)), checks: [] };
}

/** `torch.nn.utils.clip_grad_norm_`: all gradients times min(1, bound / (norm + 1e-6)). */
function clipped(b: Builder, slopes: readonly Node[], bound: number): Node[] {
  const norm = sqrt(
    b,
    slopes.map((slope) => sum(b, mul(b, slope, slope))).reduce((x, y) => add(b, x, y)),
  );
  const factor = scale(b, reciprocal(b, shift(b, norm, 1e-6)), bound);
  const one = scalar(b, 1);
  const bounded = where(b, greater(b, factor, one), one, factor);
  return slopes.map((slope) => mul(b, slope, bounded));
}

/** θ − rate · u for each parameter, and the sum of all new entries, which is finite only if they are. */
function applied(
  b: Builder,
  groups: readonly NamedGroup[],
  variables: ReadonlyMap<string, Node>,
  moves: ReadonlyMap<string, Node>,
  outputs: Map<string, Node>,
): void {
  const rates = input(b, names.rates, [groups.length]);
  const updated = groups.flatMap(({ members }, s) => {
    const rate = reshape(b, slice(b, rates, 0, s, s + 1), []);
    return members.map((name) => {
      const node = sub(b, variables.get(name)!, mul(b, moves.get(name)!, rate));
      outputs.set(names.updated(name), node);
      return node;
    });
  });
  outputs.set(
    names.check,
    updated.map((node) => sum(b, node)).reduce((x, y) => add(b, x, y)),
  );
}

function named(objective: Objective, b: Builder): Map<string, Node> {
  const inputs = variableInputs(b, objective.variables);
  return new Map([...objective.variables].map(([name, variable]) => [name, inputs.get(variable)!]));
}

/** A whole step in one program: gradient, updater, new parameters. */
export function stepSource(parts: StepParts, from: GradientSource): Source<readonly RangeCheck[]> {
  const b = new GraphBuilder();
  const variables = named(parts.objective, b);
  const { outputs, directions: moves, checks } = directions(b, parts, variables, from);
  applied(b, parts.groups, variables, moves, outputs);
  return { graph: graphOf(outputs), plan: checks };
}

/** The first half of a step before which a summary is taken: directions, and Σ u² for each group. */
export function directionSource(parts: StepParts, from: GradientSource): Source<readonly RangeCheck[]> {
  const b = new GraphBuilder();
  const variables = named(parts.objective, b);
  const { outputs, directions: moves, checks } = directions(b, parts, variables, from);
  for (const [name, node] of moves) outputs.set(names.direction(name), node);
  const norms = parts.groups.map(({ members }) =>
    members.map((name) => sum(b, mul(b, moves.get(name)!, moves.get(name)!))).reduce((x, y) => add(b, x, y)),
  );
  outputs.set(
    names.norms,
    concat(
      b,
      norms.map((norm) => reshape(b, norm, [1])),
      0,
    ),
  );
  return { graph: graphOf(outputs), plan: checks };
}

/** The second half: new parameters from directions and rates. */
export function applySource({ objective, groups }: StepParts): Source<null> {
  const b = new GraphBuilder();
  const variables = named(objective, b);
  const moves = new Map(
    groups
      .flatMap(({ members }) => members)
      .map((name) => [name, input(b, names.direction(name), variables.get(name)!.shape)]),
  );
  const outputs = new Map<string, Node>();
  applied(b, groups, variables, moves, outputs);
  return { graph: graphOf(outputs), plan: null };
}
