import { type Engine, Variable } from "../engine/index.ts";
import type { Node } from "../graph/index.ts";
import { GraphError, StateError } from "../util/errors.ts";
import { checkShaped, type FloatData, type NDArray } from "../util/ndarray.ts";
import { predict } from "./predict.ts";
import { currentTrace, Tensor } from "./tensor.ts";

/** A tensor that training may change. Within `forward` it is used like any other tensor. */
export class Parameter extends Tensor {
  /** Where its value lives. */
  readonly variable: Variable;

  constructor(value: NDArray<FloatData>) {
    super();
    this.variable = new Variable(value);
  }

  override get node(): Node {
    const node = currentTrace().variables.get(this.variable);
    if (!node) throw new GraphError("a parameter was used that the model does not have: make it a field of a module");
    return node;
  }

  override get shape(): readonly number[] {
    return this.variable.shape;
  }

  /** Whether training changes it; a frozen parameter belongs to no group. */
  get requiresGrad(): boolean {
    return this.variable.trainable;
  }

  set requiresGrad(value: boolean) {
    this.variable.trainable = value;
  }
}

/** Tensors by parameter name. */
export type StateDict = Record<string, NDArray<FloatData>>;

/**
 * A model or a part of one, written as in PyTorch: parameters and other modules are fields, or arrays in fields, and
 * `forward` says what is computed. Names are the fields' names, joined by dots.
 */
export abstract class Module {
  /** Whether the module is in training mode; set by `train()` and `eval()`. */
  training = true;

  /** The output for given inputs. It runs while the model is traced, so it may branch on shapes but not on values. */
  abstract forward(...inputs: Tensor[]): Tensor;

  /** What is searched for parameters and parts, by name: the module's own fields. */
  fields(): [string, unknown][] {
    return Object.entries(this);
  }

  /** This module and all its parts, each once. */
  modules(): Module[] {
    const found = new Set<Module>();
    for (const [, value] of visit(this)) if (value instanceof Module) found.add(value);
    return [...found];
  }

  /** All parameters with their names, a module's own ones before those of its parts; one that occurs twice is named once. */
  namedParameters(): [string, Parameter][] {
    const found = new Map<Parameter, string>();
    for (const [name, value] of visit(this))
      if (value instanceof Parameter && !found.has(value)) found.set(value, name);
    return [...found].map(([parameter, name]) => [name, parameter]);
  }

  parameters(): Parameter[] {
    return this.namedParameters().map(([, parameter]) => parameter);
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

  /** Copies of all parameters, by name. */
  async stateDict(): Promise<StateDict> {
    const state: StateDict = {};
    for (const [name, { variable }] of this.namedParameters()) state[name] = await variable.read();
    return state;
  }

  /**
   * Sets all parameters, from arrays in PyTorch's layout.
   * @throws StateError where a name is missing or unknown, ShapeError where a shape differs, DataError where an array is none; then nothing changes.
   */
  loadStateDict(state: StateDict): void {
    const own = new Map(this.namedParameters());
    for (const name of Object.keys(state))
      if (!own.has(name))
        throw new StateError(`state: unknown parameter ${name}; the model has ${[...own.keys()].join(", ")}`);
    for (const [name, { shape }] of own) {
      const found = state[name];
      if (!found) throw new StateError(`state: parameter ${name} is missing`);
      checkShaped(`state: parameter ${name}`, found, shape);
    }
    for (const [name, { variable }] of own) variable.write(state[name]!);
  }

  /**
   * The output for an array of samples, without derivatives.
   * @param options.engine where to run; the default engine if none is named.
   * @param options.batchSize samples in one run, 1000 by default.
   */
  predict(x: NDArray, options: { readonly engine?: Engine; readonly batchSize?: number } = {}): Promise<NDArray> {
    return predict(this, x, options);
  }
}

/**
 * A module, its own parameters, and then in the same way each part, with names joined by dots. An array is a part that
 * names what it holds by index (`ModuleList`, `ParameterList`); a part that was met before is not entered again.
 */
function* visit(
  part: Module | readonly unknown[],
  path: readonly string[] = [],
  seen: Set<unknown> = new Set(),
): Generator<[string, Parameter | Module]> {
  if (seen.has(part)) return;
  seen.add(part);
  if (part instanceof Module) yield [path.join("."), part];
  const fields = part instanceof Module ? part.fields() : Object.entries(part);
  for (const [name, field] of fields) if (field instanceof Parameter) yield [[...path, name].join("."), field];
  for (const [name, field] of fields)
    if (field instanceof Module || Array.isArray(field)) yield* visit(field, [...path, name], seen);
}
