/** The whole state of a {@link Random}, plain enough for JSON. */
export interface RandomState {
  readonly words: readonly [number, number, number, number];
}

/**
 * Seeded random numbers: xoshiro128** (Blackman & Vigna, 2021), seeded by splitmix32. The same seed gives the same
 * numbers on every machine.
 */
export class Random {
  #words: [number, number, number, number];

  /** @param seed any whole number; its low 32 bits are used. */
  constructor(seed: number) {
    let state = seed >>> 0;
    const next = (): number => {
      state = (state + 0x9e3779b9) >>> 0;
      let z = state;
      z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
      z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
      return (z ^ (z >>> 16)) >>> 0;
    };
    this.#words = [next(), next(), next(), next()];
  }

  get state(): RandomState {
    const [a, b, c, d] = this.#words;
    return { words: [a >>> 0, b >>> 0, c >>> 0, d >>> 0] };
  }

  set state(state: RandomState) {
    this.#words = [...state.words];
  }

  /** A whole number, uniform on [0, 2³²). */
  uint32(): number {
    const w = this.#words;
    const result = Math.imul(rotate(Math.imul(w[1], 5), 7), 9) >>> 0;
    const t = w[1] << 9;
    w[2] ^= w[0];
    w[3] ^= w[1];
    w[1] ^= w[2];
    w[0] ^= w[3];
    w[2] ^= t;
    w[3] = rotate(w[3], 11);
    return result;
  }

  /** Uniform on [0, 1), with 53 random bits. */
  uniform(): number {
    return ((this.uint32() >>> 5) * 67108864 + (this.uint32() >>> 6)) / 9007199254740992;
  }

  /** Standard normal (Box & Muller, 1958). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** A whole number, uniform on [0, bound). */
  below(bound: number): number {
    return Math.floor(this.uniform() * bound);
  }

  /** A uniform permutation of 0 … length − 1 (Fisher & Yates). */
  permutation(length: number): Uint32Array {
    const order = Uint32Array.from({ length }, (_, i) => i);
    for (let i = length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const kept = order[i]!;
      order[i] = order[j]!;
      order[j] = kept;
    }
    return order;
  }
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}
