import type { CompileOptions, Engine, EngineTensor, Session } from "../src/engine/index.ts";
import type { Graph } from "../src/graph/index.ts";
import type { NDArray } from "../src/index.ts";
import type { Product } from "./product.ts";

/**
 * An engine that looks at the product after each run of a session, or after as many as go side by side: a summary takes seconds, in
 * which the machine's speed drifts, and so the product is measured between its parts.
 */
export class PacedEngine implements Engine {
  readonly name: string;
  readonly precision: Engine["precision"];
  readonly threads: number;
  readonly lanes: number;
  readonly tuning: Engine["tuning"];
  readonly #engine: Engine;
  readonly #product: Product;
  #looks: number[] | undefined;
  #taken = 0;
  /** Runs since the last look, and how many of them have not ended. */
  #begun = 0;
  #running = 0;
  /** The next look. */
  #next: Promise<void> = Promise.resolve();
  #looked: () => void = () => {};

  constructor(engine: Engine, product: Product) {
    this.name = engine.name;
    this.precision = engine.precision;
    this.threads = engine.threads;
    this.lanes = engine.lanes;
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
    this.#begun = 0;
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
    return {
      sideBySide: session.sideBySide,
      run: (inputs, donated) => this.#paced(session.sideBySide, () => session.run(inputs, donated)),
      dispose: () => session.dispose(),
    };
  }

  dispose(): Promise<void> {
    return this.#engine.dispose();
  }

  async #paced<T>(together: number, run: () => Promise<T>): Promise<T> {
    if (!this.#looks) return await run();
    while (this.#begun === together) await this.#next;
    if (this.#begun++ === 0)
      this.#next = new Promise((resolve) => {
        this.#looked = resolve;
      });
    this.#running++;
    try {
      return await run();
    } finally {
      if (--this.#running === 0 && this.#begun === together) await this.#look(this.#looks);
    }
  }

  async #look(looks: number[]): Promise<void> {
    const begun = performance.now();
    looks.push(await this.#product.look());
    this.#taken += performance.now() - begun;
    this.#begun = 0;
    this.#looked();
  }
}
