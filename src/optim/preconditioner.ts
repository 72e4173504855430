import type { Mask, Traced } from "../engine/index.ts";
import type { Builder, Node } from "../graph/index.ts";
import type { Shapes } from "../util/ndarray.ts";

/** A step's program under construction, when its gradients are known. */
export interface TracedStep {
  readonly traced: Traced;
  /** What the loss was given beside the model's output; undefined for an objective without data. */
  readonly target: Node | undefined;
  /** What is trained, by name. */
  readonly parameters: ReadonlyMap<string, Node>;
  /** The loss's derivative in each parameter. */
  readonly slopes: ReadonlyMap<string, Node>;
}

/** What becomes of the gradients. */
export interface Preconditioned {
  /** By parameter. */
  readonly slopes: ReadonlyMap<string, Node>;
  /** The shapes of the tensors that the program reads from the steps before, by the names of their inputs. */
  readonly reads: ReadonlyMap<string, readonly number[]>;
  /** New values of such tensors. */
  readonly kept: ReadonlyMap<string, Node>;
  /** What is drawn for each batch beside the model's masks. */
  readonly masks: readonly Mask[];
}

/** What turns a step's gradients into others ahead of the updater, with tensors of its own that stay from step to step. */
export interface Preconditioner {
  /** Tells apart the programs of steps, which are counted from 0. */
  phase(step: number): string;
  /** Numbers for a step, by the names of their inputs. */
  scalars(step: number): Readonly<Record<string, number>>;
  /**
   * The shapes of all its tensors, as those that were found tell what the model does with its parameters.
   * @throws StateError where these are not of all parameters
   */
  shapes(found: Shapes, parameters: Shapes): Shapes;
  write(b: Builder, step: TracedStep, phase: string): Preconditioned;
}
