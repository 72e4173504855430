import { ReferenceEngine } from "../../src/engine/index.ts";

/** The oracle, which lets no tensor be freed twice. */
export class StrictEngine extends ReferenceEngine {
  /** @throws for a tensor that was freed before */
  override release(...tensors: Parameters<ReferenceEngine["release"]>): void {
    for (const tensor of tensors) {
      const { live } = this.tensors;
      super.release(tensor);
      if (this.tensors.live === live) throw new Error("a tensor was freed twice");
    }
  }
}
