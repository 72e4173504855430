import { type CompileOptions, type Engine, type EngineTensor, finished, type Session } from "../src/engine/index.ts";
import type { Graph } from "../src/graph/index.ts";
import type { NDArray } from "../src/index.ts";
import type { Product } from "./product.ts";

/**
 * An engine that looks at the product after each run of a session: a summary takes seconds, in which the machine's speed
 * drifts, and so the product is measured between its parts. Not so where these go side by side: a look would hold up all of them.
 */
export class PacedEngine implements Engine {
  readonly name: string;
  readonly precision: Engine["precision"];
  readonly threads: number;
  readonly lanes: number;
  readonly spareProcessor: boolean;
  readonly tuning: Engine["tuning"];
  readonly #engine: Engine;
  readonly #product: Product;
  #looks: number[] | undefined;
  #taken = 0;

  constructor(engine: Engine, product: Product) {
    this.name = engine.name;
    this.precision = engine.precision;
    this.threads = engine.threads;
    this.lanes = engine.lanes;
    this.spareProcessor = engine.spareProcessor;
    this.tuning = engine.tuning;
    this.#engine = engine;
    this.#product = product;
  }

  get sessions(): Engine["sessions"] {
    return this.#engine.sessions;
  }

  get tensors(): Engine["tensors"] {
    return this.#engine.tensors;
  }

  /** From now on, looks at the product. */
  start(): void {
    this.#looks = [];
    this.#taken = 0;
  }

  /** No longer does. Returns the products' times since the start, and how long it took to look, in ms. */
  stop(): { readonly looks: readonly number[]; readonly taken: number } {
    const looks = this.#looks ?? [];
    this.#looks = undefined;
    return { looks, taken: this.#taken };
  }

  upload(array: NDArray): Promise<EngineTensor> {
    return this.#engine.upload(array);
  }

  read(tensor: EngineTensor): Promise<NDArray> {
    return this.#engine.read(tensor);
  }

  release(...tensors: EngineTensor[]): void {
    this.#engine.release(...tensors);
  }

  async compile(graph: Graph, options?: CompileOptions): Promise<Session> {
    const session = await this.#engine.compile(graph, options);
    const begin: Session["begin"] = async (inputs, donated) => {
      const { outputs, done } = await session.begin(inputs, donated);
      return { outputs, done: session.sideBySide === 1 ? done.then(() => this.#look()) : done };
    };
    return {
      sideBySide: session.sideBySide,
      run: async (inputs, donated) => await finished(await begin(inputs, donated)),
      begin,
      dispose: () => session.dispose(),
    };
  }

  dispose(): Promise<void> {
    return this.#engine.dispose();
  }

  async #look(): Promise<void> {
    if (!this.#looks) return;
    const begun = performance.now();
    this.#looks.push(await this.#product.look());
    this.#taken += performance.now() - begun;
  }
}
