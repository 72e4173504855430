import type { Builder, Node } from "../../graph/index.ts";
import { Tensor } from "../../nn/index.ts";
import { input } from "../../ops/index.ts";

const PREFIX = "k:";

/** The input that says how much of a running average stays. */
export const DECAY: string = `${PREFIX}decay`;

/** What is kept of a layer, under its weight's name, and `square` of a parameter that belongs to none. */
type Kept = "left" | "right" | "leftInverse" | "rightInverse" | "square";

/** Whether a saved tensor of this name was kept here. */
export function isKept(name: string): boolean {
  return name.startsWith(PREFIX);
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
