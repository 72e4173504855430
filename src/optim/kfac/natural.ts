import { activeNodes } from "../../derive/index.ts";
import type { Builder, Node } from "../../graph/index.ts";
import { cat, Tensor, where } from "../../nn/index.ts";
import { batchSize } from "../../ops/index.ts";
import { sizeOf } from "../../util/ndarray.ts";
import type { TracedStep } from "../preconditioner.ts";
import { identity, inverses } from "./inverse.ts";
import { findLayers, type Layer } from "./layers.ts";
import type { Memory } from "./memory.ts";
import { type Moments, momentsOf } from "./moments.ts";

/** What the natural gradient must be told. */
export interface NaturalSettings {
  readonly lr: number;
  readonly damping: number;
  readonly weightDecay: number;
  readonly klClip: number;
}

/** What a step does beside the step itself: new factors, and from them new inverses. */
export type Phase = "inverses" | "factors" | "none";

/** What there is to work with. */
export interface Means {
  readonly phase: Phase;
  readonly memory: Memory;
  /** The derivative, in a node, of the loss that the Fisher matrix belongs to. */
  readonly adjoint: (node: Node) => Tensor;
}

type Slopes = ReadonlyMap<string, Tensor>;

/** A layer, and its gradient as matrices [groups, m, n], the bias's beside the weight's. */
interface LayerSlope {
  readonly layer: Layer;
  readonly matrix: Tensor;
}

/**
 * (F + λ)⁻¹ ∇ by parameter, scaled down where the step would change the model's distribution too much. The Fisher matrix F has a
 * block left ⊗ right for each layer, and a diagonal for each parameter that belongs to none.
 */
export function naturalSlopes(
  b: Builder,
  settings: NaturalSettings,
  step: TracedStep,
  means: Means,
): Map<string, Node> {
  const { traced, parameters } = step;
  // What a layer is, the model says: a penalty on the weights in the loss is no other use of them.
  const layers = findLayers(activeNodes(traced.output ?? traced.loss, [...parameters.values()]), parameters);
  const slopes = decayed(step, settings);
  const found = layers.map((layer) => ({ layer, matrix: joined(layer, slopes) }));
  const inverse = layerInverses(b, found, settings, means);
  const natural = new Map(
    found.flatMap(({ layer, matrix }, i) => {
      const { left, right } = inverse[i]!;
      return unjoined(layer, left.matmul(matrix).matmul(right), slopes);
    }),
  );
  for (const [name, node] of parameters)
    if (!natural.has(name)) natural.set(name, slopes.get(name)!.div(diagonal(b, name, node, settings, means)));
  const factor = clipFactor(natural, slopes, settings);
  return new Map([...natural].map(([name, slope]) => [name, slope.mul(factor).node]));
}

/** The gradients of the loss + ½ η ‖θ‖². */
function decayed({ parameters, slopes }: TracedStep, { weightDecay }: NaturalSettings): Slopes {
  return new Map(
    [...slopes].map(([name, node]) => {
      const slope = new Tensor(node);
      return [name, weightDecay === 0 ? slope : slope.add(new Tensor(parameters.get(name)!).mul(weightDecay))];
    }),
  );
}

function joined({ weight, bias, groups, inputSide }: Layer, slopes: Slopes): Tensor {
  const slope = slopes.get(weight)!;
  const [rows, ...rest] = slope.shape as number[];
  const shape = [groups, rows! / groups, sizeOf(rest)];
  const matrix = slope.reshape(...shape);
  if (bias === undefined) return matrix;
  return cat([matrix, slopes.get(bias)!.reshape(...shape.with(1 + inputSide, 1))], 1 + inputSide);
}

/** What was joined, by parameter. */
function unjoined({ weight, bias, inputSide }: Layer, matrix: Tensor, slopes: Slopes): [string, Tensor][] {
  const axis = 1 + inputSide;
  const length = matrix.shape[axis] as number;
  const part = (name: string, start: number, end: number): [string, Tensor] => [
    name,
    matrix.slice(axis, start, end).reshape(...slopes.get(name)!.shape),
  ];
  if (bias === undefined) return [part(weight, 0, length)];
  return [part(weight, 0, length - 1), part(bias, length - 1, length)];
}

/** The inverses of the damped factors of each layer. */
function layerInverses(b: Builder, found: readonly LayerSlope[], settings: NaturalSettings, means: Means): Moments[] {
  const { phase, memory, adjoint } = means;
  const factors =
    phase === "none" ? [] : found.map(({ layer }) => averaged(layer, momentsOf(b, layer, adjoint), memory));
  if (phase !== "inverses")
    return found.map(({ layer: { weight }, matrix }) => {
      const [groups, rows, columns] = matrix.shape as [number, number, number];
      return {
        left: memory.read("leftInverse", weight, [groups, rows, rows]),
        right: memory.read("rightInverse", weight, [groups, columns, columns]),
      };
    });
  const damping = Math.sqrt(settings.damping + settings.weightDecay);
  const inverted = inverses(factors.flatMap((each) => damped(each, damping)));
  return found.map(({ layer: { weight } }, i) => ({
    left: memory.write("leftInverse", weight, inverted[2 * i]!),
    right: memory.write("rightInverse", weight, inverted[2 * i + 1]!),
  }));
}

function averaged({ weight }: Layer, { left, right }: Moments, memory: Memory): Moments {
  return { left: memory.average("left", weight, left), right: memory.average("right", weight, right) };
}

/** left + π γ and right + γ / π, where π² is the ratio of their mean eigenvalues (Martens & Grosse, 2015, §6.3). */
function damped({ left, right }: Moments, damping: number): [Tensor, Tensor] {
  const [first, second] = [meanEigenvalue(left), meanEigenvalue(right)];
  // A layer through which no derivative passes has a factor of zeros.
  const ratio = where(first.mul(second).gt(0), first.div(second), 1).sqrt();
  return [withDiagonal(left, ratio.mul(damping)), withDiagonal(right, ratio.reciprocal().mul(damping))];
}

/** Of each matrix in a stack, [count, 1, 1]. */
function meanEigenvalue(stack: Tensor): Tensor {
  const size = stack.shape[1] as number;
  return stack.mul(identity(size)).sum([1, 2], true).div(size);
}

function withDiagonal(stack: Tensor, values: Tensor): Tensor {
  return stack.add(identity(stack.shape[1] as number).mul(values));
}

/**
 * D + λ for a parameter of no layer. D is a running average of B ḡ², where ḡ is the gradient of a mean over B samples: as the
 * gradients of targets drawn from the model have mean 0, that is right in the mean.
 */
function diagonal(b: Builder, name: string, node: Node, settings: NaturalSettings, means: Means): Tensor {
  const { phase, memory, adjoint } = means;
  const square = (): Tensor =>
    adjoint(node)
      .square()
      .mul(new Tensor(batchSize(b)));
  const found =
    phase === "none" ? memory.read("square", name, node.shape as number[]) : memory.average("square", name, square());
  return found.add(settings.damping + settings.weightDecay);
}

/** min(1, √(κ / Σ Δ ∇)) for steps Δ times the learning rate: with it Δ F Δ is at most κ (Ba, Grosse & Martens, 2017), but for momentum. */
function clipFactor(natural: Slopes, slopes: Slopes, { lr, klClip }: NaturalSettings): Tensor | number {
  if (klClip === Number.POSITIVE_INFINITY) return 1;
  const products = [...natural].map(([name, slope]) => slope.mul(slopes.get(name)!).sum());
  const change = products.reduce((sum, each) => sum.add(each)).mul(lr ** 2);
  return where(change.gt(klClip), change.reciprocal().mul(klClip).sqrt(), 1);
}
