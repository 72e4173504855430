import { ReferenceEngine } from "../../src/engine/index.ts";

type Compile = ReferenceEngine["compile"];

/** The oracle, counting the tensors that were made and not freed. */
export class CountingEngine extends ReferenceEngine {
  readonly #live = new Set<object>();

  get tensors(): number {
    return this.#live.size;
  }

  override async upload(...args: Parameters<ReferenceEngine["upload"]>) {
    const tensor = await super.upload(...args);
    this.#live.add(tensor);
    return tensor;
  }

  /** @throws for a tensor that was freed before */
  override release(...tensors: Parameters<ReferenceEngine["release"]>): void {
    for (const tensor of tensors) if (!this.#live.delete(tensor)) throw new Error("a tensor was freed twice");
    super.release(...tensors);
  }

  override async compile(graph: Parameters<Compile>[0]): ReturnType<Compile> {
    const session = await super.compile(graph);
    return {
      dispose: () => session.dispose(),
      run: async (...inputs) => {
        const outputs = await session.run(...inputs);
        for (const tensor of Object.values(outputs)) this.#live.add(tensor);
        return outputs;
      },
    };
  }
}
