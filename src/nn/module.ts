import { Variable, variableInput } from "../engine/index.ts";
import { formatShape, type Node, sameShape } from "../graph/index.ts";
import { stopGradient } from "../ops/index.ts";
import { ShapeError, StateError } from "../util/errors.ts";
import { checkShaped, type FloatData, isFloat, type NDArray } from "../util/ndarray.ts";
import { type PredictOptions, predict } from "./predict.ts";
import { currentTrace, Tensor } from "./tensor.ts";
import { isTraining, within } from "./trace.ts";

/** A tensor whose value outlives a trace. Within `forward` it is used like any other tensor. */
class Kept extends Tensor {
  /** Where its value lives. */
  readonly variable: Variable;

  constructor(value: NDArray<FloatData>) {
    super();
    this.variable = new Variable(value);
  }

  override get node(): Node {
    const { builder, scope, assigned } = currentTrace();
    return assigned.get(this.variable) ?? variableInput(builder, scope.nameOf(this.variable), this.variable);
  }

  override get shape(): readonly number[] {
    return this.variable.shape;
  }
}

/** A tensor that training may change. */
export class Parameter extends Kept {
  /** Whether training changes it; a frozen parameter belongs to no group. */
  get requiresGrad(): boolean {
    return this.variable.trainable;
  }

  set requiresGrad(value: boolean) {
    this.variable.trainable = value;
  }
}

/**
 * A tensor that belongs to a model's state but is no parameter, such as a running mean: no derivative is taken with respect
 * to it, and it is in no group. Only training steps change it, by what `forward` assigned.
 */
export class Buffer extends Kept {
  constructor(value: NDArray<FloatData>) {
    super(value);
    this.variable.trainable = false;
  }

  /**
   * Gives it a new value, which counts for the rest of the forward, and afterwards where that was a training step's. No
   * derivative passes through it.
   * @throws ShapeError
   */
  assign(value: Tensor): void {
    const { builder, assigned } = currentTrace();
    const { node } = value;
    if (!sameShape(node.shape, this.shape) || node.dtype !== "float")
      throw new ShapeError(
        `assign: expected real numbers of shape ${formatShape(this.shape)}, found ${node.dtype}${formatShape(node.shape)}`,
      );
    assigned.set(this.variable, stopGradient(builder, node));
  }
}

/** Tensors by the name of the parameter or buffer. */
export type StateDict = Record<string, NDArray<FloatData>>;

/**
 * A model or a part of one, written as in PyTorch: parameters, buffers and other modules are fields, or arrays in fields,
 * and `forward` says what is computed. Names are the fields' names, joined by dots.
 */
export abstract class Module {
  #training = true;

  constructor() {
    // A module's own forward, so that a trace always knows where it is.
    const { forward } = this;
    const value = (...inputs: Tensor[]): Tensor => within(this, () => forward.apply(this, inputs));
    Object.defineProperty(this, "forward", { value, writable: true, configurable: true });
  }

  /** Whether the module is in training mode; see `train` and `eval`. */
  get training(): boolean {
    return isTraining(this, this.#training);
  }

  set training(mode: boolean) {
    this.#training = mode;
  }

  /** The output for given inputs. It runs while the model is traced, so it may branch on shapes but not on values. */
  abstract forward(...inputs: Tensor[]): Tensor;

  /** What is searched for parameters, buffers and parts, by name: the module's own fields. */
  fields(): [string, unknown][] {
    return Object.entries(this);
  }

  /** This module and all its parts, each once, with their names; its own is empty. */
  namedModules(): [string, Module][] {
    return firstNames(this, Module);
  }

  modules(): Module[] {
    return this.namedModules().map(([, module]) => module);
  }

  /** All parameters with their names, a module's own ones before those of its parts; one that occurs twice is named once. */
  namedParameters(): [string, Parameter][] {
    return firstNames(this, Parameter);
  }

  parameters(): Parameter[] {
    return this.namedParameters().map(([, parameter]) => parameter);
  }

  /** All buffers with their names, in the same order. */
  namedBuffers(): [string, Buffer][] {
    return firstNames(this, Buffer);
  }

  /** Sets training mode for this module and all its parts. */
  train(mode: boolean = true): this {
    for (const module of this.modules()) module.training = mode;
    return this;
  }

  /** Sets evaluation mode for this module and all its parts. */
  eval(): this {
    return this.train(false);
  }

  /** Copies of all parameters and buffers, by name. */
  async stateDict(): Promise<StateDict> {
    const state: StateDict = {};
    for (const [name, { variable }] of firstNames(this, Kept)) state[name] = await variable.read();
    return state;
  }

  /**
   * Sets all parameters and buffers, from arrays in PyTorch's layout.
   * @throws StateError where a name is missing or unknown, ShapeError where a shape differs, DataError where an array is none; then nothing changes.
   */
  loadStateDict(state: Readonly<Record<string, NDArray>>): void {
    const own = new Map(firstNames(this, Kept));
    for (const name of Object.keys(state))
      if (!own.has(name))
        throw new StateError(`state: unknown name ${name}; the model has ${[...own.keys()].join(", ")}`);
    const values = [...own].map(([name, kept]) => [kept, valueFor(name, kept, state[name])] as const);
    for (const [{ variable }, value] of values) variable.write(value);
  }

  /** The output for an array of samples, without derivatives. The model stays as it is, its buffers too. */
  predict(x: NDArray, options: PredictOptions = {}): Promise<NDArray> {
    return predict(this, x, options);
  }
}

/** A saved value, checked. PyTorch saves counts, which are buffers, as whole numbers. */
function valueFor(name: string, kept: Kept, found: NDArray | undefined): NDArray<FloatData> {
  const what = `state: ${kept instanceof Buffer ? "buffer" : "parameter"} ${name}`;
  if (!found) throw new StateError(`${what} is missing`);
  const counts = kept instanceof Buffer && !isFloat(found);
  const value = counts
    ? { ...found, data: Float64Array.from(found.data as ArrayLike<number | bigint>, Number) }
    : found;
  checkShaped(what, value, kept.shape);
  return value;
}

/** What a module holds of one kind, each by the first name under which it is found. */
function firstNames<T extends Kept | Module>(module: Module, kind: abstract new (...args: never) => T): [string, T][] {
  const found = new Map<T, string>();
  for (const [name, value] of visit(module)) if (value instanceof kind && !found.has(value)) found.set(value, name);
  return [...found].map(([value, name]) => [name, value]);
}

/**
 * A module, its own parameters and buffers, and then in the same way each part, with names joined by dots. An array is a
 * part that names what it holds by index (`ModuleList`, `ParameterList`); a part that was met before is not entered again.
 */
function* visit(
  part: Module | readonly unknown[],
  path: readonly string[] = [],
  seen: Set<unknown> = new Set(),
): Generator<[string, Kept | Module]> {
  if (seen.has(part)) return;
  seen.add(part);
  if (part instanceof Module) yield [path.join("."), part];
  const fields = part instanceof Module ? part.fields() : Object.entries(part);
  for (const kind of [Parameter, Buffer])
    for (const [name, field] of fields) if (field instanceof kind) yield [[...path, name].join("."), field];
  for (const [name, field] of fields)
    if (field instanceof Module || Array.isArray(field)) yield* visit(field, [...path, name], seen);
}
