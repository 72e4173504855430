import { init, Module, Parameter, type Tensor } from "../nn/index.ts";
import { OptionError } from "../util/errors.ts";
import { checkWhole, refuseUnknown } from "../util/options.ts";
import { Random } from "../util/random.ts";

/** Options of Rosenbrock's function. */
export interface RosenbrockOptions {
  /** How many pairs of scalars there are; 1 by default. */
  readonly d?: number;
  /** Where the minimum is: at (a², a); 1 by default. */
  readonly a?: number;
  /** How steep the sides of the valley are; 100 by default. */
  readonly b?: number;
  /** Of the initial values, which are N(0, 1); 0 by default. */
  readonly seed?: number;
}

/** @throws OptionError */
function read(where: string, options: RosenbrockOptions): { d: number; a: number; b: number; random: Random } {
  refuseUnknown(where, options, ["d", "a", "b", "seed"]);
  const { d = 1, a = 1, b = 100, seed = 0 } = options;
  checkWhole(`${where}: d`, d, 1);
  for (const [name, value] of Object.entries({ a, b }))
    if (!Number.isFinite(value)) throw new OptionError(`${where}: ${name} must be a number; found ${value}`);
  checkWhole(`${where}: seed`, seed);
  return { d, a, b, random: new Random(seed) };
}

/** (odd − a)² + b (odd² − even)², summed. */
function valley(even: Tensor, odd: Tensor, a: number, b: number): Tensor {
  return odd.sub(a).square().add(odd.square().sub(even).square().mul(b)).sum();
}

/**
 * Rosenbrock's function of d pairs of scalars as a model without inputs: Σ (xodd − a)² + b (xodd² − xeven)², its minimum 0
 * at xodd = a, xeven = a². Its output is the loss, so it is trained with the loss `(output) => output`. Parameters are
 * `xeven` and `xodd`, [d] each.
 */
export class Rosenbrock extends Module {
  readonly xeven: Parameter;
  readonly xodd: Parameter;
  readonly #a: number;
  readonly #b: number;

  /** @throws OptionError */
  constructor(options: RosenbrockOptions = {}) {
    super();
    const { d, a, b, random } = read("rosenbrock", options);
    this.xeven = new Parameter(init.normal([d], { random }));
    this.xodd = new Parameter(init.normal([d], { random }));
    this.#a = a;
    this.#b = b;
  }

  override forward(): Tensor {
    return valley(this.xeven, this.xodd, this.#a, this.#b);
  }
}

/** The same function with one parameter [even, odd] for each pair: `mod000`, `mod001`, …. */
export class RosenbrockT extends Module {
  readonly #pairs: readonly Parameter[];
  readonly #a: number;
  readonly #b: number;

  /** @throws OptionError */
  constructor(options: RosenbrockOptions = {}) {
    super();
    const { d, a, b, random } = read("rosenbrockT", options);
    this.#pairs = Array.from({ length: d }, () => new Parameter(init.normal([2], { random })));
    this.#a = a;
    this.#b = b;
  }

  override fields(): [string, unknown][] {
    return this.#pairs.map((pair, i) => [`mod${String(i).padStart(3, "0")}`, pair]);
  }

  override forward(): Tensor {
    const [first, ...others] = this.#pairs.map((pair) =>
      valley(pair.slice(0, 0, 1), pair.slice(0, 1, 2), this.#a, this.#b),
    );
    return others.reduce((sum, each) => sum.add(each), first!);
  }
}

/** Rosenbrock's function of two vectors; see {@link RosenbrockOptions}. */
export function rosenbrock(options?: RosenbrockOptions): Rosenbrock {
  return new Rosenbrock(options);
}

/** Rosenbrock's function of pairs; see {@link RosenbrockOptions}. */
export function rosenbrockT(options?: RosenbrockOptions): RosenbrockT {
  return new RosenbrockT(options);
}
