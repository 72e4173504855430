import { elu, gelu, leakyRelu, logSoftmax, selu, silu, softmax } from "../functional.ts";
import { Module } from "../module.ts";
import type { Tensor } from "../tensor.ts";

const functions = {
  Identity: (x: Tensor): Tensor => x,
  Flatten: (x: Tensor, startDim: number = 1, endDim: number = -1): Tensor => x.flatten(startDim, endDim),
  ReLU: (x: Tensor): Tensor => x.relu(),
  LeakyReLU: leakyRelu,
  ELU: elu,
  SELU: selu,
  GELU: gelu,
  SiLU: silu,
  Tanh: (x: Tensor): Tensor => x.tanh(),
  Sigmoid: (x: Tensor): Tensor => x.sigmoid(),
  Softplus: (x: Tensor): Tensor => x.softplus(),
  Softmax: softmax,
  LogSoftmax: logSoftmax,
};

/** The class of modules that apply a function to a tensor and to what they were made with. */
type Applying<F> = F extends (x: Tensor, ...args: infer A) => Tensor ? new (...args: A) => Module : never;

type Classes = { readonly [Name in keyof typeof functions]: Applying<(typeof functions)[Name]> };

function applying<A extends unknown[]>(name: string, f: (x: Tensor, ...args: A) => Tensor): new (...args: A) => Module {
  const named = {
    [name]: class extends Module {
      readonly #args: A;

      constructor(...args: A) {
        super();
        this.#args = args;
      }

      override forward(x: Tensor): Tensor {
        return f(x, ...this.#args);
      }
    },
  };
  return named[name]!;
}

/**
 * Functions as modules, to stand between the layers of a `Sequential`: `new ReLU()`, `new LeakyReLU(0.1)`, `new Flatten()`,
 * `new LogSoftmax(1)`. What they are made with are PyTorch's arguments.
 */
export const {
  Identity,
  Flatten,
  ReLU,
  LeakyReLU,
  ELU,
  SELU,
  GELU,
  SiLU,
  Tanh,
  Sigmoid,
  Softplus,
  Softmax,
  LogSoftmax,
}: Classes = Object.fromEntries(
  Object.entries(functions).map(([name, f]) => [name, applying(name, f as (x: Tensor, ...args: never[]) => Tensor)]),
) as Classes;
