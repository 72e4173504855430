import { activeNodes, adjoints } from "../../derive/index.ts";
import type { Mask, Objective } from "../../engine/index.ts";
import type { Builder, Node } from "../../graph/index.ts";
import { type Loss, Tensor, traceApart } from "../../nn/index.ts";
import type { Shapes } from "../../util/ndarray.ts";
import type { Preconditioned, Preconditioner, TracedStep } from "../preconditioner.ts";
import { DECAY, keptShapes, Memory } from "./memory.ts";
import { type NaturalSettings, naturalSlopes, type Phase } from "./natural.ts";
import { NOISE, sampledTargets } from "./sampled.ts";

/** What the preconditioner must be told. */
export interface KroneckerSettings extends NaturalSettings {
  /** How much of the old factors stays in the end. */
  readonly factorDecay: number;
  /** Steps from one change of the factors to the next, and of their inverses. */
  readonly factorUpdateSteps: number;
  readonly invUpdateSteps: number;
}

/** The inverse of a damped Kronecker-factored Fisher matrix, which multiplies the gradient. */
export class KroneckerPreconditioner implements Preconditioner {
  readonly #settings: KroneckerSettings;
  readonly #objective: Objective;
  readonly #loss: Loss | undefined;

  /** @param loss of the model's output, where targets are to be drawn for it; without one the batch's are taken. */
  constructor(settings: KroneckerSettings, objective: Objective, loss: Loss | undefined) {
    this.#settings = settings;
    this.#objective = objective;
    this.#loss = loss;
  }

  phase(step: number): Phase {
    const { factorUpdateSteps, invUpdateSteps } = this.#settings;
    if (step % invUpdateSteps === 0) return "inverses";
    return step % factorUpdateSteps === 0 ? "factors" : "none";
  }

  /** How much of the old factors stays: at first so much that they are plain means (Martens & Grosse, 2015, §5). */
  scalars(step: number): Record<string, number> {
    const { factorUpdateSteps, factorDecay } = this.#settings;
    const taken = Math.floor(step / factorUpdateSteps) + 1;
    return { [DECAY]: Math.min(1 - 1 / taken, factorDecay) };
  }

  shapes(found: Shapes, parameters: Shapes): Shapes {
    return keptShapes(found, parameters);
  }

  write(b: Builder, step: TracedStep, phase: Phase): Preconditioned {
    return traceApart(b, () => {
      const masks: Mask[] = [];
      const bars = phase === "none" ? new Map<Node, Node>() : this.#adjoints(b, step, masks);
      const memory = new Memory(b);
      const slopes = naturalSlopes(b, this.#settings, step, {
        phase,
        memory,
        adjoint: (node) => adjointOf(bars, node),
      });
      return { slopes, reads: memory.reads, kept: memory.written, masks };
    });
  }

  /** The derivatives of the loss of which the Fisher matrix is the second moment, sample by sample. */
  #adjoints(b: Builder, { traced, target, parameters }: TracedStep, masks: Mask[]): ReadonlyMap<Node, Node> {
    let { loss } = traced;
    if (this.#loss && traced.output && target) {
      masks.push({ name: NOISE, shape: target.shape });
      loss = this.#objective.lossOf!(b, traced.output, sampledTargets(b, this.#loss, traced.output, target));
    }
    return adjoints(b, loss, activeNodes(loss, [...parameters.values()]));
  }
}

/** The derivative in a node, 0 where the loss does not depend on it. */
function adjointOf(bars: ReadonlyMap<Node, Node>, node: Node): Tensor {
  const bar = bars.get(node);
  return bar ? new Tensor(bar) : new Tensor(node).detach().mul(0);
}
