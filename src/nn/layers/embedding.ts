import { checkWhole } from "../../util/options.ts";
import { embedding } from "../functional.ts";
import { normal } from "../init.ts";
import { Module, Parameter } from "../module.ts";
import type { Tensor } from "../tensor.ts";

/** A row of numbers for each token. `weight` is [tokens, width] and starts as N(0, 1), as in PyTorch. */
export class Embedding extends Module {
  readonly weight: Parameter;

  /** @throws OptionError */
  constructor(numEmbeddings: number, embeddingDim: number) {
    super();
    checkWhole("Embedding: numEmbeddings", numEmbeddings, 1);
    checkWhole("Embedding: embeddingDim", embeddingDim, 1);
    this.weight = new Parameter(normal([numEmbeddings, embeddingDim]));
  }

  /** @param index whole numbers of any shape; the result has one more axis. */
  override forward(index: Tensor): Tensor {
    return embedding(index, this.weight);
  }
}
