import type { Builder, Node } from "../graph/index.ts";
import { input } from "../ops/index.ts";
import { checkFloats, checkShaped, type FloatData, type NDArray } from "../util/ndarray.ts";
import type { Engine, EngineTensor } from "./engine.ts";

/**
 * A tensor of real numbers that outlives a run: a parameter. It is kept on the host until an engine asks for it, and
 * from then on by that engine.
 */
export class Variable {
  readonly shape: readonly number[];
  /** Whether training may change it; a partition holds exactly the trainable ones. */
  trainable = true;
  #host: NDArray<FloatData> | undefined;
  /** How often it was given a value: a move that was overtaken by one must not undo it. */
  #version = 0;
  #place: { readonly engine: Engine; readonly tensor: EngineTensor } | undefined;
  #arriving: { readonly engine: Engine; readonly tensor: Promise<EngineTensor> } | undefined;

  /** @throws ShapeError, DataError */
  constructor(value: NDArray<FloatData>) {
    checkFloats("parameter", value);
    this.shape = value.shape;
    this.#host = value;
  }

  /** The tensor on this engine, uploaded or moved there the first time. The variable keeps it: do not release it. */
  async on(engine: Engine): Promise<EngineTensor> {
    if (this.#place?.engine === engine) return this.#place.tensor;
    // One upload for all who ask while it is under way.
    if (this.#arriving?.engine !== engine) this.#arriving = { engine, tensor: this.#moveTo(engine) };
    return await this.#arriving.tensor;
  }

  async #moveTo(engine: Engine): Promise<EngineTensor> {
    try {
      for (;;) {
        const version = this.#version;
        const tensor = await engine.upload(await this.read());
        if (version === this.#version) {
          this.set(engine, tensor);
          return tensor;
        }
        engine.release(tensor);
      }
    } finally {
      if (this.#arriving?.engine === engine) this.#arriving = undefined;
    }
  }

  /** Gives the variable a new value, which it owns from now on; the old one is released. */
  set(engine: Engine, tensor: EngineTensor): void {
    this.#version++;
    const old = this.#place;
    this.#place = { engine, tensor };
    this.#host = undefined;
    old?.engine.release(old.tensor);
  }

  /** A copy of the value. */
  async read(): Promise<NDArray<FloatData>> {
    if (this.#host) return { shape: this.shape, data: this.#host.data.slice() };
    const { engine, tensor } = this.#place!;
    return (await engine.read(tensor)) as NDArray<FloatData>;
  }

  /** Gives the variable a value from the host, copied. @throws ShapeError, DataError */
  write(value: NDArray<FloatData>): void {
    checkShaped("value", value, this.shape);
    this.#version++;
    const old = this.#place;
    this.#host = { shape: this.shape, data: value.data.slice() };
    this.#place = undefined;
    old?.engine.release(old.tensor);
  }
}

/** The input that holds a variable, named apart from all other inputs: a parameter may be called `x` or `rates`. */
function variableInput(name: string): string {
  return `p:${name}`;
}

/** Variables as inputs of a graph. */
export function variableInputs(b: Builder, variables: ReadonlyMap<string, Variable>): Map<Variable, Node> {
  return new Map([...variables].map(([name, variable]) => [variable, input(b, variableInput(name), variable.shape)]));
}

/** Every variable's tensor on an engine, by the name of its input. */
export async function variableTensors(
  engine: Engine,
  variables: ReadonlyMap<string, Variable>,
): Promise<Record<string, EngineTensor>> {
  const tensors: Record<string, EngineTensor> = {};
  for (const [name, variable] of variables) tensors[variableInput(name)] = await variable.on(engine);
  return tensors;
}

/** A whole number that must lie in `[0, bound)`, or be `except`: a label. Checked before the data are used. */
export interface RangeCheck {
  readonly input: string;
  readonly bound: number;
  readonly except?: number;
}

/** The names of the inputs that hold a batch. */
export const DATA_INPUTS = ["x", "y"] as const;

/** What a training program traces: a scalar loss of variables and a batch. */
export interface Objective {
  /** All variables by name, in PyTorch's order. */
  readonly variables: ReadonlyMap<string, Variable>;
  /** What else a trace depends on, now: which parts of the model are in training mode. */
  mode?(): string;
  /**
   * Writes the loss into a graph.
   * @param variables the input that stands for each variable.
   * @param data the inputs x and y, or none for an objective without data.
   * @throws GraphError where the loss is not a scalar.
   */
  trace(b: Builder, variables: ReadonlyMap<Variable, Node>, data: readonly Node[]): Traced;
}

/** A traced objective. */
export interface Traced {
  /** A scalar. */
  readonly loss: Node;
  /** The model's output, where the objective knows it. */
  readonly output?: Node;
  readonly checks: readonly RangeCheck[];
}
