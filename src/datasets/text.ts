import { DataError, OptionError } from "../util/errors.ts";
import type { NDArray } from "../util/ndarray.ts";
import { checkWhole, refuseUnknown } from "../util/options.ts";
import { Dataset } from "./dataset.ts";
import type { Samples } from "./samples.ts";

/** How a text becomes samples. */
export interface CharTextOptions {
  /** Characters in a sample. */
  readonly sequenceLength: number;
  /** From the start of one sample to that of the next; `sequenceLength` by default, so that samples do not overlap. */
  readonly stride?: number;
  /** The share of the text, at its end, that is left for the test; 0.1 by default. */
  readonly testShare?: number;
}

/** A text as data for a language model. */
export interface CharText {
  /** Inputs [T] and targets [T], int32: tokens, and at each place the token that comes next. */
  readonly train: Dataset;
  readonly test: Dataset;
  readonly vocabulary: Vocabulary;
}

/** The characters of a text, each with its number (its token). A character is a Unicode code point. */
export class Vocabulary {
  /** In the order of their code points; a character's token is its place. */
  readonly characters: readonly string[];
  readonly #tokens: ReadonlyMap<string, number>;

  /** @param text each character of it, however often. */
  constructor(text: string) {
    this.characters = [...new Set(text)].sort((a, b) => a.codePointAt(0)! - b.codePointAt(0)!);
    this.#tokens = new Map(this.characters.map((character, token) => [character, token]));
  }

  /** How many characters there are. */
  get size(): number {
    return this.characters.length;
  }

  /** The tokens of a text. @throws DataError for a character that is not in the vocabulary. */
  encode(text: string): Int32Array {
    return Int32Array.from([...text], (character, i) => {
      const token = this.#tokens.get(character);
      if (token === undefined)
        throw new DataError(`vocabulary of ${this.size} characters lacks ${JSON.stringify(character)}, character ${i}`);
      return token;
    });
  }

  /** The text of tokens. @throws DataError for a number that is none. */
  decode(tokens: ArrayLike<number>): string {
    return Array.from(tokens, (token) => {
      const character = this.characters[token];
      if (character === undefined) throw new DataError(`vocabulary of ${this.size} characters has no token ${token}`);
      return character;
    }).join("");
  }
}

/**
 * A text, character by character, as data for a language model: from each run of characters the next ones are to be
 * told. The text is cut by position: the last part, which no training sample reaches into, is for the test.
 * @param name what error messages call the text.
 * @throws OptionError; DataError where one of the parts is shorter than a sample.
 */
export function charText(text: string, options: CharTextOptions, name: string = "text"): CharText {
  refuseUnknown("charText", options, ["sequenceLength", "stride", "testShare"]);
  const { sequenceLength, stride = sequenceLength, testShare = 0.1 } = options;
  checkWhole("sequenceLength", sequenceLength, 1);
  checkWhole("stride", stride, 1);
  if (!(testShare > 0 && testShare < 1))
    throw new OptionError(`testShare must be a number between 0 and 1; found ${testShare}`);
  if (text === "") throw new DataError(`${name}: expected a text, found nothing`);
  const vocabulary = new Vocabulary(text);
  const tokens = vocabulary.encode(text);
  const cut = tokens.length - Math.round(testShare * tokens.length);
  const part = (what: string, of: Int32Array): Dataset => {
    if (of.length <= sequenceLength)
      throw new DataError(
        `${name}: its part for the ${what} has ${of.length} characters; a sequence of ${sequenceLength} needs ${sequenceLength + 1}`,
      );
    const count = 1 + Math.floor((of.length - 1 - sequenceLength) / stride);
    return Dataset.fromSamples(runs(of, 0, count, sequenceLength, stride), runs(of, 1, count, sequenceLength, stride));
  };
  return { train: part("training", tokens.subarray(0, cut)), test: part("test", tokens.subarray(cut)), vocabulary };
}

/** Runs of tokens, the first at `start`. */
function runs(tokens: Int32Array, start: number, count: number, length: number, stride: number): Samples {
  const gather = (indices: Uint32Array): NDArray => {
    const data = new Int32Array(indices.length * length);
    indices.forEach((index, row) => {
      const from = start + index * stride;
      data.set(tokens.subarray(from, from + length), row * length);
    });
    return { shape: [indices.length, length], data };
  };
  return { length: count, shape: [length], gather };
}
