import { gradients, hessianProduct, ofParts, PART_SIZE, splitAsGiven } from "../derive/index.ts";
import {
  type DataSpec,
  dataInputs,
  type Mode,
  type Needs,
  type Objective,
  type Source,
  variableInput,
} from "../engine/index.ts";
import {
  afterParts,
  type Builder,
  type Graph,
  GraphBuilder,
  graphOf,
  type Node,
  type PartSums,
  type Shape,
} from "../graph/index.ts";
import {
  add,
  broadcast,
  concat,
  constant,
  flatten,
  greater,
  indexAdd,
  indexSelect,
  input,
  mul,
  reciprocal,
  reshape,
  scalar,
  scale,
  shift,
  slice,
  sqrt,
  stopGradient,
  sub,
  sum,
  where,
} from "../ops/index.ts";
import {
  directionInput,
  membersOf,
  type NamedGroup,
  type Owners,
  ownersOf,
  type PartPlan,
  sideBySide,
} from "../summary/index.ts";
import type { Preconditioned, Preconditioner } from "./preconditioner.ts";
import { applyRule, evaluationOffset, hessianVectors, type RuleTarget } from "./rule-graph.ts";
import type { Updater } from "./updater.ts";

/** A gradient that comes from the loss of a batch. */
interface BatchSource {
  readonly kind: "batch";
  readonly spec: DataSpec;
  /** The preconditioner's, where there is one. */
  readonly phase?: string | undefined;
}

/** Where a step's gradient comes from: the loss of a batch, at once or part by part; shares of one, that were run; or the caller. */
export type GradientSource =
  | BatchSource
  | { readonly kind: "parts"; readonly spec: DataSpec }
  | { readonly kind: "shares"; readonly count: number }
  | { readonly kind: "given" };

/** What a training program is made of. */
export interface StepParts {
  readonly objective: Objective;
  readonly groups: readonly NamedGroup[];
  readonly updater: Updater;
  /** The largest norm of the whole gradient; longer ones are scaled down to it. */
  readonly clipGradNorm: number | undefined;
  /** What becomes of gradients ahead of the updater; they stay as they are without one. */
  readonly preconditioner?: Preconditioner;
}

/** What a training program must be given beside variables and the updater's state. */
export interface StepNeeds extends Needs {
  /** The shapes of the preconditioner's tensors that it reads, by the names of their inputs. */
  readonly reads: Preconditioned["reads"];
}

/** Names of the inputs and outputs of training programs. */
export const names = {
  gradient: (parameter: string): string => `d:${parameter}`,
  /** The part of H v, for a rule that asks for it. */
  product: (parameter: string): string => `h:${parameter}`,
  /** What a share of a batch gave. */
  share: (i: number, name: string): string => `${i}:${name}`,
  direction: directionInput,
  /** The new value of a parameter or buffer. */
  updated: (variable: string): string => `p:${variable}`,
  state: (name: string, parameter: string): string => `s:${name}:${parameter}`,
  scalar: (name: string): string => `c:${name}`,
  shared: (name: string): string => `a:${name}`,
  rates: "rates",
  loss: "loss",
  norms: "norms",
  check: "check",
};

interface Directions {
  readonly outputs: Map<string, Node>;
  readonly directions: ReadonlyMap<string, Node>;
  /** The new values of buffers and of what the preconditioner keeps. */
  readonly assigned: readonly Node[];
  readonly needs: StepNeeds;
  readonly ahead: PartSums | undefined;
}

/** The updater's directions from a gradient, with its new state; and where a batch gives it the loss, and buffers' values. */
function directions(b: Builder, parts: StepParts, from: GradientSource): Directions {
  const outputs = new Map<string, Node>();
  const { slopes, products, assigned, needs, ahead } = slopesOf(b, parts, from, outputs);
  const gradient = parts.clipGradNorm === undefined ? slopes : clipped(b, slopes, parts.clipGradNorm);
  const subjects = targetsOf(b, parts).map((target, i) => ({
    ...target,
    gradient: gradient[i]!,
    product: products?.[i],
  }));
  const { directions: made, kept } = applyRule(b, parts.updater, subjects, names);
  for (const [name, node] of kept) outputs.set(name, node);
  return { outputs, directions: made, assigned, needs, ahead };
}

function joined(outputs: ReadonlyMap<string, Node>, ahead: PartSums | undefined): Graph {
  const graph = graphOf(outputs);
  return ahead ? afterParts(graph, ahead) : graph;
}

function inputOf(b: Builder, { variables }: Objective, name: string): Node {
  return variableInput(b, name, variables.get(name)!);
}

/** The parameters that a step moves, group by group. */
function targetsOf(b: Builder, { groups, objective }: StepParts): RuleTarget[] {
  return membersOf(groups).map((name) => ({ name, parameter: inputOf(b, objective, name) }));
}

/** What a rule reads of the loss, in the graph: one node for each parameter. */
interface Slopes {
  readonly slopes: readonly Node[];
  /** The parts of H v, for a rule that asks for them. */
  readonly products: readonly Node[] | undefined;
  readonly assigned: readonly Node[];
  readonly needs: StepNeeds;
  /** What they are sums of, where they are made part by part. */
  readonly ahead?: PartSums;
}

function slopesOf(b: Builder, parts: StepParts, from: GradientSource, outputs: Map<string, Node>): Slopes {
  if (from.kind === "batch") return traced(b, parts, from, outputs);
  if (from.kind === "parts") return summed(b, parts, from.spec, outputs);
  if (from.kind === "given") return given(b, parts, (name, shape) => input(b, name, shape));
  const sumOf = (name: string, shape: Shape): Node =>
    Array.from({ length: from.count }, (_, i) => input(b, names.share(i, name), shape)).reduce((x, y) => add(b, x, y));
  outputs.set(names.loss, sumOf(names.loss, []));
  return given(b, parts, sumOf);
}

function summed(b: Builder, parts: StepParts, spec: DataSpec, outputs: Map<string, Node>): Slopes {
  const { graph, plan } = slopesSource(parts, spec);
  const { checks, masks } = plan;
  outputs.set(names.loss, input(b, names.loss, []));
  const size = { name: PART_SIZE, node: input(b, PART_SIZE, []) };
  const slopes = given(b, parts, (name, shape) => input(b, name, shape));
  return { ...slopes, needs: { ...NO_NEEDS, checks, masks }, ahead: { graph, size } };
}

function traced(b: Builder, parts: StepParts, { spec, phase }: BatchSource, outputs: Map<string, Node>): Slopes {
  const data = dataInputs(b, spec);
  const step = parts.objective.trace(b, data);
  const { loss, checks, masks } = step;
  outputs.set(names.loss, loss);
  for (const [name, node] of step.assigned) outputs.set(names.updated(name), node);
  const targets = targetsOf(b, parts);
  const { slopes, products } = derived(b, parts, loss);
  const assigned = [...step.assigned.values()];
  if (!parts.preconditioner) return { slopes, products, assigned, needs: { ...NO_NEEDS, checks, masks } };
  const named = (nodes: readonly Node[]): Map<string, Node> => new Map(targets.map(({ name }, i) => [name, nodes[i]!]));
  const parameters = named(targets.map(({ parameter }) => parameter));
  const about = { traced: step, target: data[1], parameters, slopes: named(slopes) };
  const made = parts.preconditioner.write(b, about, phase!);
  for (const [name, node] of made.kept) outputs.set(name, node);
  return {
    slopes: targets.map(({ name }) => made.slopes.get(name)!),
    products,
    assigned: [...assigned, ...made.kept.values()],
    needs: { checks, masks: [...masks, ...made.masks], reads: made.reads },
  };
}

/** The gradient of a loss, and H v for a rule that asks for it. */
function derived(b: Builder, parts: StepParts, loss: Node): Pick<Slopes, "slopes" | "products"> {
  const targets = targetsOf(b, parts);
  const parameters = targets.map(({ parameter }) => parameter);
  const filled = (found: readonly (Node | undefined)[]): Node[] =>
    found.map((node, i) => node ?? broadcast(b, scalar(b, 0), parameters[i]!.shape));
  const slopes = gradients(b, loss, parameters);
  const vectors = hessianVectors(b, parts.updater, targets, names);
  return { slopes: filled(slopes), products: vectors && filled(hessianProduct(b, slopes, vectors, parameters)) };
}

const NO_NEEDS: StepNeeds = { checks: [], masks: [], reads: new Map() };

function given(b: Builder, parts: StepParts, read: (name: string, shape: Shape) => Node): Slopes {
  const inputs = (nameOf: (parameter: string) => string): Node[] =>
    targetsOf(b, parts).map(({ name, parameter }) => read(nameOf(name), parameter.shape));
  const products = parts.updater.hessianVector && inputs(names.product);
  return { slopes: inputs(names.gradient), products, assigned: [], needs: NO_NEEDS };
}

/** `torch.nn.utils.clip_grad_norm_`: all gradients times min(1, bound / (norm + 1e-6)), NaN where their squares overflow. */
function clipped(b: Builder, slopes: readonly Node[], bound: number): Node[] {
  const norm = sqrt(
    b,
    slopes.map((slope) => sum(b, mul(b, slope, slope))).reduce((x, y) => add(b, x, y)),
  );
  // ∞ − ∞: without it an infinite norm would make a step of 0, and nobody would know.
  const lost = sub(b, norm, norm);
  const factor = add(b, scale(b, reciprocal(b, shift(b, norm, 1e-6)), bound), lost);
  const one = scalar(b, 1);
  const bounded = where(b, greater(b, factor, one), one, factor);
  // A product that is scaled itself would be another one, computed beside the one in the norm.
  return slopes.map((slope) => mul(b, stopGradient(b, slope), bounded));
}

/** θ − rate · u for each parameter. */
function applied(
  b: Builder,
  { objective, groups }: StepParts,
  moves: ReadonlyMap<string, Node>,
  outputs: Map<string, Node>,
): Node[] {
  const rates = input(b, names.rates, [groups.length]);
  return [...ownersOf(groups)].map(([name, owners]) => {
    const parameter = inputOf(b, objective, name);
    const node = sub(b, parameter, mul(b, moves.get(name)!, rateOf(b, rates, owners, parameter.shape)));
    outputs.set(names.updated(name), node);
    return node;
  });
}

/** A parameter's rate, or that of each of its entries. */
function rateOf(b: Builder, rates: Node, owners: Owners, shape: Shape): Node {
  if (typeof owners === "number") return reshape(b, slice(b, rates, 0, owners, owners + 1), []);
  return reshape(b, indexSelect(b, rates, constant(b, owners, [owners.length], "int"), 0), shape);
}

/** Σ u² for each group. */
function normsOf(b: Builder, groups: readonly NamedGroup[], moves: ReadonlyMap<string, Node>): Node {
  const terms = [...ownersOf(groups)].map(([name, owners]) => {
    const squares = mul(b, moves.get(name)!, moves.get(name)!);
    return typeof owners === "number"
      ? { node: reshape(b, sum(b, squares), [1]), at: [owners] }
      : { node: flatten(b, squares, 0), at: owners };
  });
  const at = terms.flatMap((term) => term.at);
  const all = concat(
    b,
    terms.map(({ node }) => node),
    0,
  );
  return indexAdd(b, all, constant(b, at, [at.length], "int"), 0, groups.length);
}

/** The sum of all new values, which is finite only if they are. */
function check(b: Builder, values: readonly Node[], outputs: Map<string, Node>): void {
  const sums = values.map((node) => sum(b, node));
  if (sums.length > 0)
    outputs.set(
      names.check,
      sums.reduce((x, y) => add(b, x, y)),
    );
}

/** A whole step in one program: gradient, updater, new parameters and buffers. */
export function stepSource(parts: StepParts, from: GradientSource): Source<StepNeeds> {
  const b = new GraphBuilder();
  const { outputs, directions: moves, assigned, needs, ahead } = directions(b, parts, from);
  check(b, [...applied(b, parts, moves, outputs), ...assigned], outputs);
  return { graph: joined(outputs, ahead), plan: needs };
}

/** What one part of a batch adds: to loss, gradient, and H v for a rule that asks for it; and buffers as the part makes them. */
export function slopesSource(parts: StepParts, spec: DataSpec): Source<PartPlan> {
  const b = new GraphBuilder();
  const targets = targetsOf(b, parts);
  const { loss, assigned, checks, masks } = parts.objective.trace(b, dataInputs(b, spec));
  const split = splitAsGiven(
    b,
    loss,
    targets.map(({ parameter }) => parameter),
  );
  const own = ofParts(b, [...assigned.values()]);
  const buffers = [...assigned].map(([name, node]) => [names.updated(name), own.get(node)!] as const);
  const { slopes, products } = derived(b, parts, split.loss);
  const outputs = new Map<string, Node>([[names.loss, split.loss], ...buffers]);
  targets.forEach(({ name }, i) => {
    outputs.set(names.gradient(name), slopes[i]!);
    if (products) outputs.set(names.product(name), products[i]!);
  });
  check(
    b,
    buffers.map(([, node]) => node),
    outputs,
  );
  return { graph: graphOf(outputs), plan: { checks, masks, split } };
}

/** What a share of a batch adds, by a program that adds up parts of it where it is cut. */
export function shareSource(parts: StepParts, spec: DataSpec, inParts: boolean): Source<PartPlan> {
  const { graph, plan } = slopesSource(parts, spec);
  if (!inParts) return { graph, plan, sideBySide: true };
  const b = new GraphBuilder();
  const sums = graphOf(new Map([...graph.outputs].map(([name, { shape }]) => [name, input(b, name, shape)])));
  const size = { name: PART_SIZE, node: input(b, PART_SIZE, []) };
  return { graph: afterParts(sums, { graph, size }), plan, sideBySide: true };
}

/** The first half of a step before which a summary is taken: directions, Σ u² for each group, and new buffers. */
export function directionSource(parts: StepParts, from: GradientSource): Source<StepNeeds> {
  const b = new GraphBuilder();
  const { outputs, directions: moves, assigned, needs, ahead } = directions(b, parts, from);
  for (const [name, node] of moves) outputs.set(names.direction(name), node);
  outputs.set(names.norms, normsOf(b, parts.groups, moves));
  check(b, assigned, outputs);
  return { graph: joined(outputs, ahead), plan: needs };
}

/** The loss of a batch alone. */
export function lossSource(
  parts: StepParts,
  spec: DataSpec,
  { mode, inParts }: { readonly mode: Mode | undefined; readonly inParts: boolean },
): Source<PartPlan> {
  const b = new GraphBuilder();
  const { loss, checks, masks } = parts.objective.trace(b, dataInputs(b, spec), mode);
  const parameters = targetsOf(b, parts).map(({ parameter }) => parameter);
  const split = inParts ? splitAsGiven(b, loss, parameters) : { splits: false as const, reason: "it is run at once" };
  const own = split.splits ? split.loss : loss;
  const plan = { checks, masks, split };
  const graph = graphOf(new Map([[names.loss, own]]));
  return { graph, plan, sideBySide: sideBySide(graph, plan) };
}

/** The second half: new parameters from directions and rates. */
export function applySource(parts: StepParts): Source<null> {
  const b = new GraphBuilder();
  const moves = new Map(
    targetsOf(b, parts).map(({ name, parameter }) => [name, input(b, names.direction(name), parameter.shape)]),
  );
  const outputs = new Map<string, Node>();
  check(b, applied(b, parts, moves, outputs), outputs);
  return { graph: graphOf(outputs), plan: null };
}

/** The weights to use, from those that are trained, for an updater that tells them apart. */
export function evaluationSource(parts: StepParts): Source<null> {
  const b = new GraphBuilder();
  const offsets = new Map(
    targetsOf(b, parts).map((target) => {
      const none = broadcast(b, scalar(b, 0), target.parameter.shape);
      return [target.name, evaluationOffset(b, parts.updater, target, names) ?? none];
    }),
  );
  const outputs = new Map<string, Node>();
  applied(b, parts, offsets, outputs);
  return { graph: graphOf(outputs), plan: null };
}
