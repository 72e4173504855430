import { formatShape } from "../graph/index.ts";
import {
  Embedding,
  gelu,
  init,
  LayerNorm,
  Linear,
  linear,
  logSoftmax,
  Module,
  MultiHeadAttention,
  type Parameter,
  type Tensor,
} from "../nn/index.ts";
import { OptionError, ShapeError } from "../util/errors.ts";
import { checkBoolean, checkWhole, refuseUnknown } from "../util/options.ts";
import { Random } from "../util/random.ts";

/** How a transformer is built. */
export interface TransformerOptions {
  /** How many tokens there are. */
  readonly vocabulary: number;
  /** The longest sequence; 128 by default. */
  readonly context?: number;
  /** Numbers for each place; 128 by default. */
  readonly width?: number;
  /** Heads of attention, which divide the width; 4 by default. */
  readonly heads?: number;
  /** Blocks of attention and perceptron; 4 by default. */
  readonly layers?: number;
  /** Whether the last layer's weights are those of the token embedding; true by default. */
  readonly tied?: boolean;
  /** Whether the output is log-probabilities, by a log-softmax; true by default. */
  readonly classification?: boolean;
  /** Of the initial values; 0 by default. */
  readonly seed?: number;
}

const OPTIONS = ["vocabulary", "context", "width", "heads", "layers", "tied", "classification", "seed"];

/** Attention and a perceptron of four times the width, each added to what it reads through a norm. */
class Block extends Module {
  readonly ln1: LayerNorm;
  readonly attn: MultiHeadAttention;
  readonly ln2: LayerNorm;
  readonly fc1: Linear;
  readonly fc2: Linear;

  constructor(width: number, heads: number) {
    super();
    this.ln1 = new LayerNorm(width);
    this.attn = new MultiHeadAttention(width, heads, { causal: true });
    this.ln2 = new LayerNorm(width);
    this.fc1 = new Linear(width, 4 * width);
    this.fc2 = new Linear(4 * width, width);
  }

  override forward(x: Tensor): Tensor {
    const seen = x.add(this.attn.forward(this.ln1.forward(x)));
    return seen.add(this.fc2.forward(gelu(this.fc1.forward(this.ln2.forward(seen)))));
  }
}

/**
 * A decoder-only transformer with learned positions and norms ahead of each part (Radford et al., 2019). From tokens
 * [batch, places] it gives scores of the next token, [batch, vocabulary, places], as the losses on labels take them.
 */
export class Transformer extends Module {
  readonly tokens: Embedding;
  readonly positions: Embedding;
  readonly blocks: readonly Block[];
  readonly norm: LayerNorm;
  readonly head?: Linear;
  readonly #context: number;
  readonly #classification: boolean;

  /** @throws OptionError */
  constructor(options: TransformerOptions) {
    super();
    refuseUnknown("transformer", options, OPTIONS);
    const { vocabulary, context = 128, width = 128, heads = 4, layers = 4, seed = 0 } = options;
    const { tied = true, classification = true } = options;
    for (const [name, value] of Object.entries({ vocabulary, context, width, heads, layers }))
      checkWhole(`transformer: ${name}`, value, 1);
    checkBoolean("transformer: tied", tied);
    checkBoolean("transformer: classification", classification);
    checkWhole("transformer: seed", seed);
    if (width % heads !== 0) throw new OptionError(`transformer: ${heads} heads do not divide a width of ${width}`);
    this.tokens = init.skipInit(() => new Embedding(vocabulary, width));
    this.positions = init.skipInit(() => new Embedding(context, width));
    this.blocks = init.skipInit(() => Array.from({ length: layers }, () => new Block(width, heads)));
    this.norm = new LayerNorm(width);
    if (!tied) this.head = init.skipInit(() => new Linear(width, vocabulary, { bias: false }));
    this.#context = context;
    this.#classification = classification;
    this.#initialise(new Random(seed));
  }

  /** Weights N(0, 0.02²), those that add to the running sum smaller by √(2 layers), biases 0 (Radford et al., 2019, §2.3). */
  #initialise(random: Random): void {
    const draw = ({ variable }: Parameter, std: number): void =>
      variable.write(init.normal(variable.shape, { std, random }));
    const added = new Set(this.blocks.flatMap(({ attn, fc2 }) => [attn.outProj.weight, fc2.weight]));
    for (const [name, parameter] of this.namedParameters()) {
      if (parameter.shape.length === 2)
        draw(parameter, added.has(parameter) ? 0.02 / Math.sqrt(2 * this.blocks.length) : 0.02);
      else if (name.endsWith("bias")) parameter.variable.write(init.zeros(parameter.shape));
    }
  }

  /** @throws ShapeError where the sequence is longer than the table of positions */
  override forward(x: Tensor): Tensor {
    const places = x.shape[1];
    if (x.shape.length !== 2 || typeof places !== "number")
      throw new ShapeError(`transformer: expected tokens [batch, places], found ${formatShape(x.shape)}`);
    if (places > this.#context)
      throw new ShapeError(
        `transformer: a sequence of ${places} is longer than the table of ${this.#context} positions`,
      );
    const start = this.tokens.forward(x).add(this.positions.weight.slice(0, 0, places));
    const seen = this.norm.forward(this.blocks.reduce((value, block) => block.forward(value), start));
    const scores = linear(seen, this.head?.weight ?? this.tokens.weight).permute(0, 2, 1);
    return this.#classification ? logSoftmax(scores, 1) : scores;
  }
}

/** A small decoder-only transformer; see {@link TransformerOptions}. */
export function transformer(options: TransformerOptions): Transformer {
  return new Transformer(options);
}
