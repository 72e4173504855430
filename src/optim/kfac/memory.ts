import type { Builder, Node } from "../../graph/index.ts";
import { Tensor } from "../../nn/index.ts";
import { input } from "../../ops/index.ts";
import { StateError } from "../../util/errors.ts";
import { type Shapes, sizeOf } from "../../util/ndarray.ts";

const PREFIX = "k:";

/** The input that says how much of a running average stays. */
export const DECAY: string = `${PREFIX}decay`;

/** What is kept of a layer, under its weight's name, and `square` of a parameter that belongs to none. */
type Kept = "left" | "right" | "leftInverse" | "rightInverse" | "square";

/**
 * The shapes of all that is kept: left ⊗ right is a block of as many numbers as the layer's weight and bias have, and each parameter
 * is in one block or has squares.
 * @param found those of saved tensors, which tell the layers.
 * @throws StateError where these are not of all parameters
 */
export function keptShapes(found: Shapes, parameters: Shapes): Shapes {
  const shapes = new Map<string, readonly number[]>();
  let covered = 0;
  for (const [name, shape] of parameters) {
    const [left, right] = [found.get(nameOf("left", name)), found.get(nameOf("right", name))];
    if (left && right) {
      const [groups = 0, rows = 0] = left;
      const [, columns = 0] = right;
      for (const kept of ["left", "leftInverse"] as const) shapes.set(nameOf(kept, name), [groups, rows, rows]);
      for (const kept of ["right", "rightInverse"] as const) shapes.set(nameOf(kept, name), [groups, columns, columns]);
      covered += groups * rows * columns;
    } else if (found.has(nameOf("square", name))) {
      shapes.set(nameOf("square", name), shape);
      covered += sizeOf(shape);
    }
  }
  const all = [...parameters.values()].reduce((sum, shape) => sum + sizeOf(shape), 0);
  if (covered !== all)
    throw new StateError(`state: the Fisher matrix must be of ${all} numbers; found one of ${covered}`);
  return shapes;
}

/** The tensors that stay from step to step, as one step's program reads and writes them. */
export class Memory {
  /** The shapes of those that are read, by the names of their inputs. */
  readonly reads = new Map<string, readonly number[]>();
  readonly written = new Map<string, Node>();
  readonly #b: Builder;

  constructor(b: Builder) {
    this.#b = b;
  }

  /** What the steps before have left. */
  read(kept: Kept, parameter: string, shape: readonly number[]): Tensor {
    const name = nameOf(kept, parameter);
    this.reads.set(name, shape);
    return new Tensor(input(this.#b, name, shape));
  }

  write(kept: Kept, parameter: string, value: Tensor): Tensor {
    this.written.set(nameOf(kept, parameter), value.node);
    return value;
  }

  /** A running average with a new value taken in. */
  average(kept: Kept, parameter: string, value: Tensor): Tensor {
    const old = this.read(kept, parameter, value.shape as readonly number[]);
    const stays = new Tensor(input(this.#b, DECAY, []));
    return this.write(kept, parameter, value.add(old.sub(value).mul(stays)));
  }
}

function nameOf(kept: Kept, parameter: string): string {
  return `${PREFIX}${kept}:${parameter}`;
}
