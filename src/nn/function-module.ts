import type { FloatData, NDArray } from "../util/ndarray.ts";
import { Module, Parameter } from "./module.ts";
import type { Tensor } from "./tensor.ts";

/** The function that a module made by `fromFunction` applies. */
export type ParameterFunction<N extends string> = (parameters: Record<N, Tensor>, ...inputs: Tensor[]) => Tensor;

class FunctionModule<N extends string> extends Module {
  readonly #parameters: Record<N, Parameter>;
  readonly #f: ParameterFunction<N>;

  constructor(values: Record<N, NDArray<FloatData>>, f: ParameterFunction<N>) {
    super();
    const entries = Object.entries<NDArray<FloatData>>(values).map(([name, value]) => [name, new Parameter(value)]);
    this.#parameters = Object.fromEntries(entries) as Record<N, Parameter>;
    this.#f = f;
  }

  override fields(): [string, unknown][] {
    return Object.entries<Parameter>(this.#parameters);
  }

  override forward(...inputs: Tensor[]): Tensor {
    return this.#f(this.#parameters, ...inputs);
  }
}

/**
 * A plain function of a record of parameters as a module.
 * @param values the initial value of each parameter.
 * @param f gives the output from the parameters, by name, and the inputs.
 */
export function fromFunction<N extends string>(values: Record<N, NDArray<FloatData>>, f: ParameterFunction<N>): Module {
  return new FunctionModule(values, f);
}
