import type { Builder, Node } from "../graph/index.ts";
import { input } from "../ops/index.ts";
import { checkFloats, checkShaped, type FloatData, type NDArray } from "../util/ndarray.ts";
import type { Engine, EngineTensor } from "./engine.ts";

/**
 * A tensor of real numbers that outlives a run: a parameter. Its value is the host's until an engine sets it, and then
 * that engine's; other engines that ask get copies, so to look at a model on another engine changes nothing.
 */
export class Variable {
  readonly shape: readonly number[];
  /** Whether training may change it; a partition holds exactly the trainable ones. */
  trainable = true;
  /** Whose value counts: an array that nobody changes, or the tensor on this engine. */
  #source: NDArray<FloatData> | Engine;
  readonly #tensors = new Map<Engine, EngineTensor>();
  readonly #arriving = new Map<Engine, Promise<EngineTensor>>();
  /** How often it was given a value: an upload that was overtaken by one must not undo it. */
  #version = 0;

  /** @throws ShapeError, DataError */
  constructor(value: NDArray<FloatData>) {
    checkFloats("parameter", value);
    this.shape = value.shape;
    this.#source = { shape: value.shape, data: value.data.slice() };
  }

  /** The tensor on this engine, uploaded the first time. The variable keeps it: do not release it. */
  async on(engine: Engine): Promise<EngineTensor> {
    const tensor = this.#tensors.get(engine);
    if (tensor) return tensor;
    // One upload for all who ask while it is under way.
    const arriving = this.#arriving.get(engine) ?? this.#upload(engine);
    this.#arriving.set(engine, arriving);
    return await arriving;
  }

  async #upload(engine: Engine): Promise<EngineTensor> {
    try {
      for (;;) {
        const version = this.#version;
        const tensor = await engine.upload(await this.#value());
        if (version === this.#version) {
          this.#tensors.set(engine, tensor);
          return tensor;
        }
        engine.release(tensor);
      }
    } finally {
      this.#arriving.delete(engine);
    }
  }

  /** Gives the variable a new value, which it owns from now on; the old one is released. */
  set(engine: Engine, tensor: EngineTensor): void {
    this.#forget();
    this.#source = engine;
    this.#tensors.set(engine, tensor);
  }

  /** A copy of the value. */
  async read(): Promise<NDArray<FloatData>> {
    const { data } = await this.#value();
    return { shape: this.shape, data: data.slice() };
  }

  /** Gives the variable a value from the host, copied. @throws ShapeError, DataError */
  write(value: NDArray<FloatData>): void {
    checkShaped("value", value, this.shape);
    this.#forget();
    this.#source = { shape: this.shape, data: value.data.slice() };
  }

  async #value(): Promise<NDArray<FloatData>> {
    const source = this.#source;
    if ("data" in source) return source;
    return (await source.read(this.#tensors.get(source)!)) as NDArray<FloatData>;
  }

  #forget(): void {
    this.#version++;
    for (const [engine, tensor] of this.#tensors) engine.release(tensor);
    this.#tensors.clear();
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

/** Whole numbers that must lie in `[0, bound)`, or be `except`. Checked before the data are used. */
export interface RangeCheck {
  readonly input: string;
  /** What they are: labels or indices. */
  readonly what: "label" | "index";
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
