import { checkWhole, refuseUnknown } from "../../util/options.ts";
import { embedding, rowOf } from "../functional.ts";
import { normal } from "../init.ts";
import { Module, Parameter } from "../module.ts";
import type { Tensor } from "../tensor.ts";

/** Options of `Embedding`. */
export interface EmbeddingOptions {
  /** A token whose row starts as zeros and stays as it is; a negative one is counted from the end; none by default. */
  readonly paddingIdx?: number;
}

/** A row of numbers for each token. `weight` is [tokens, width] and starts as N(0, 1), as in PyTorch. */
export class Embedding extends Module {
  readonly weight: Parameter;
  readonly #paddingIdx: number | undefined;

  /** @throws OptionError */
  constructor(numEmbeddings: number, embeddingDim: number, options: EmbeddingOptions = {}) {
    super();
    refuseUnknown("Embedding", options, ["paddingIdx"]);
    checkWhole("Embedding: numEmbeddings", numEmbeddings, 1);
    checkWhole("Embedding: embeddingDim", embeddingDim, 1);
    const { paddingIdx } = options;
    const weight = normal([numEmbeddings, embeddingDim]);
    if (paddingIdx !== undefined) {
      const start = rowOf("Embedding: paddingIdx", paddingIdx, numEmbeddings) * embeddingDim;
      weight.data.fill(0, start, start + embeddingDim);
    }
    this.weight = new Parameter(weight);
    this.#paddingIdx = paddingIdx;
  }

  /** @param index whole numbers of any shape; the result has one more axis. */
  override forward(index: Tensor): Tensor {
    return embedding(index, this.weight, this.#paddingIdx);
  }
}
