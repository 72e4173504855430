import { formatShape } from "../../graph/index.ts";
import { OptionError, ShapeError } from "../../util/errors.ts";
import { ndarray } from "../../util/ndarray.ts";
import { checkWhole, refuseUnknown } from "../../util/options.ts";
import { checkProbability, dropout, linear, softmax } from "../functional.ts";
import { xavierUniform, zeros } from "../init.ts";
import { Module, Parameter } from "../module.ts";
import { constant, type Tensor, where } from "../tensor.ts";
import { Linear } from "./linear.ts";

/** Options of attention. */
export interface AttentionOptions {
  /** Whether the projections have biases; true by default. */
  readonly bias?: boolean;
  /** Whether a place sees only itself and those before it; false by default. */
  readonly causal?: boolean;
  /** The probability with which a weight of attention is dropped in training mode; 0 by default. */
  readonly dropout?: number;
}

/**
 * softmax(q kᵀ / √width) v over the last two axes, [places, width] (Vaswani et al., 2017).
 * @param options.causal whether a place sees only itself and those before it; false by default.
 * @param options.dropout the probability with which each weight becomes 0; 0 by default.
 */
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: { readonly causal?: boolean; readonly dropout?: number } = {},
): Tensor {
  refuseUnknown("scaledDotProductAttention", options, ["causal", "dropout"]);
  const [queries, width] = q.shape.slice(-2) as [number, number];
  const scores = q.matmul(k.t()).mul(1 / Math.sqrt(width));
  const seen = options.causal ? hideLater(scores, queries, k.shape.at(-2) as number) : scores;
  return dropout(softmax(seen, -1), options.dropout ?? 0).matmul(v);
}

/** Scores [queries, keys] plus −∞ for later keys: weights of 0 by softmax, where the scores are finite (as in PyTorch). */
function hideLater(scores: Tensor, queries: number, keys: number): Tensor {
  const places = (length: number, shape: readonly number[]): Tensor =>
    constant(
      ndarray(
        Int32Array.from({ length }, (_, i) => i),
        shape,
      ),
    );
  const later = places(keys, [1, keys]).gt(places(queries, [queries, 1]));
  return scores.add(where(later, Number.NEGATIVE_INFINITY, 0));
}

/**
 * Multi-head attention on [batch, places, width], of a sequence to itself or to another one. Parameters have PyTorch's
 * names and layout: `in_proj_weight` [3 width, width] for queries, keys and values, `out_proj`.
 */
export class MultiHeadAttention extends Module {
  readonly inProjWeight: Parameter;
  readonly inProjBias?: Parameter;
  readonly outProj: Linear;
  readonly #width: number;
  readonly #heads: number;
  readonly #causal: boolean;
  readonly #dropout: number;

  /** @throws OptionError where the heads do not divide the width */
  constructor(embedDim: number, numHeads: number, options: AttentionOptions = {}) {
    super();
    refuseUnknown("MultiHeadAttention", options, ["bias", "causal", "dropout"]);
    const { bias = true, causal = false, dropout: p = 0 } = options;
    checkProbability("MultiHeadAttention: dropout", p);
    checkWhole("MultiHeadAttention: embedDim", embedDim, 1);
    checkWhole("MultiHeadAttention: numHeads", numHeads, 1);
    if (embedDim % numHeads !== 0)
      throw new OptionError(`MultiHeadAttention: ${numHeads} heads do not divide a width of ${embedDim}`);
    this.#width = embedDim;
    this.#heads = numHeads;
    this.#causal = causal;
    this.#dropout = p;
    this.inProjWeight = new Parameter(xavierUniform([3 * embedDim, embedDim]));
    if (bias) this.inProjBias = new Parameter(zeros([3 * embedDim]));
    this.outProj = new Linear(embedDim, embedDim, { bias });
    this.outProj.bias?.variable.write(zeros([embedDim]));
  }

  override fields(): [string, unknown][] {
    return [
      ["in_proj_weight", this.inProjWeight],
      ["in_proj_bias", this.inProjBias],
      ["out_proj", this.outProj],
    ];
  }

  /**
   * @param query [batch, queries, width].
   * @param key [batch, keys, width]; the query by default.
   * @param value [batch, keys, width]; the key by default.
   */
  override forward(query: Tensor, key: Tensor = query, value: Tensor = key): Tensor {
    const [q, k, v] = this.#project(query, key, value).map((x) => this.#split(x)) as [Tensor, Tensor, Tensor];
    const seen = scaledDotProductAttention(q, k, v, {
      causal: this.#causal,
      dropout: this.#dropout > 0 && this.training ? this.#dropout : 0,
    });
    const [batch, places] = query.shape;
    return this.outProj.forward(seen.permute(0, 2, 1, 3).reshape(batch!, places!, this.#width));
  }

  /** Queries, keys and values, in one product where they are made from the same sequence. */
  #project(query: Tensor, key: Tensor, value: Tensor): Tensor[] {
    for (const x of [query, key, value])
      if (x.shape.length !== 3 || x.shape[2] !== this.#width)
        throw new ShapeError(`expected [batch, places, ${this.#width}], found ${formatShape(x.shape)}`);
    const width = this.#width;
    const part = (x: Tensor, dim: number, i: number): Tensor => x.slice(dim, i * width, (i + 1) * width);
    if (query === key && key === value) {
      const all = linear(query, this.inProjWeight, this.inProjBias);
      return [0, 1, 2].map((i) => part(all, 2, i));
    }
    return [query, key, value].map((x, i) =>
      linear(x, part(this.inProjWeight, 0, i), this.inProjBias && part(this.inProjBias, 0, i)),
    );
  }

  /** [batch, places, width] as [batch, heads, places, width / heads]. */
  #split(x: Tensor): Tensor {
    const [batch, places] = x.shape;
    return x.reshape(batch!, places!, this.#heads, this.#width / this.#heads).permute(0, 2, 1, 3);
  }
}
