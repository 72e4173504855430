import type { Builder, Node } from "../graph/index.ts";
import { input } from "../ops/index.ts";
import { checkFloats, checkShaped, type FloatData, type NDArray } from "../util/ndarray.ts";
import type { Engine, EngineTensor } from "./engine.ts";
import type { Mask } from "./masks.ts";

/** Models are not disposed: when nobody has a variable any more, the engines free what they held for it. */
const abandoned = new FinalizationRegistry<ReadonlyMap<Engine, EngineTensor>>(releaseAll);

function releaseAll(tensors: ReadonlyMap<Engine, EngineTensor>): void {
  for (const [engine, tensor] of tensors) engine.release(tensor);
}

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
    this.shape = [...value.shape];
    this.#source = { shape: this.shape, data: value.data.slice() };
    abandoned.register(this, this.#tensors);
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
    releaseAll(this.#tensors);
    this.#tensors.clear();
  }
}

/** The name of a variable's input, apart from all others: a parameter may be called `x` or `rates`. */
function inputName(name: string): string {
  return `p:${name}`;
}

/** A variable as an input of a graph. */
export function variableInput(b: Builder, name: string, { shape }: Variable): Node {
  return input(b, inputName(name), shape);
}

/** Every variable's tensor on an engine, by the name of its input. */
export async function variableTensors(
  engine: Engine,
  variables: ReadonlyMap<string, Variable>,
): Promise<Record<string, EngineTensor>> {
  const tensors: Record<string, EngineTensor> = {};
  for (const [name, variable] of variables) tensors[inputName(name)] = await variable.on(engine);
  return tensors;
}

/** What a layer asks of the data that only the data can tell; checked before they are used. */
interface LayerCheck {
  /** The layer that asks, if it is one. */
  readonly layer: string | undefined;
}

/** Whole numbers must lie in `[0, bound)`, or be `except`. */
export interface RangeCheck extends LayerCheck {
  readonly kind: "range";
  readonly input: string;
  /** What they are: labels or indices. */
  readonly what: "label" | "index";
  readonly bound: number;
  readonly except?: number;
}

/** There must be so many samples. */
export interface SizeCheck extends LayerCheck {
  readonly kind: "size";
  readonly least: number;
  readonly reason: string;
}

export type BatchCheck = RangeCheck | SizeCheck;

/** The names of the inputs that hold a batch. */
export const DATA_INPUTS = ["x", "y"] as const;

/** Whether a model is trained or used; some layers differ. */
export type Mode = "train" | "eval";

/** What a training program traces: a scalar loss of variables and a batch. */
export interface Objective {
  /**
   * Parameters and buffers by name, in PyTorch's order. Where the loss contains the model they are at first those of the
   * groups; traces add the others that it uses.
   */
  readonly variables: ReadonlyMap<string, Variable>;
  /** What else a trace depends on: the modes that earlier traces have asked for, as they are now. */
  mode(): string;
  /**
   * Writes the loss into a graph, with the inputs that `variableInput` makes.
   * @param data the inputs x and y, or none for an objective without data.
   * @param mode of all modules; each has its own by default.
   * @throws GraphError where the loss is not a scalar.
   */
  trace(b: Builder, data: readonly Node[], mode?: Mode): Traced;
  /**
   * Writes the loss of an output that `trace` gave, with another target; not there where the loss contains the model.
   * @throws GraphError where the loss draws random numbers of its own
   */
  lossOf?(b: Builder, output: Node, target: Node): Node;
}

/** What a program must be given, or may refuse, beside its variables. */
export interface Needs {
  readonly checks: readonly BatchCheck[];
  readonly masks: readonly Mask[];
}

/** A traced objective. */
export interface Traced extends Needs {
  /** A scalar. */
  readonly loss: Node;
  /** The model's output, where the objective knows it. */
  readonly output?: Node;
  /** What a training step gives to buffers, by name. */
  readonly assigned: ReadonlyMap<string, Node>;
}
