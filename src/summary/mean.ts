import type { GroupIndex } from "../derive/index.ts";
import { DataError } from "../util/errors.ts";
import type { Summary } from "./summary.ts";

/** The mean of arrays by name, weighted by numbers of samples, in float64. */
export class WeightedMean {
  readonly #sums: Record<string, Float64Array> = {};
  #samples = 0;

  add(samples: number, arrays: Readonly<Record<string, ArrayLike<number>>>): void {
    this.#samples += samples;
    for (const [name, array] of Object.entries(arrays)) {
      this.#sums[name] ??= new Float64Array(array.length);
      const sum = this.#sums[name];
      for (let i = 0; i < array.length; i++) sum[i]! += samples * array[i]!;
    }
  }

  /** The weighted sums, not divided by anything. */
  sums(): Record<string, Float64Array> {
    return this.#sums;
  }

  /** @throws DataError where nothing was added */
  result(): Record<string, Float64Array> {
    if (this.#samples === 0) throw new DataError("expected at least one batch, found none");
    return Object.fromEntries(
      Object.entries(this.#sums).map(([name, sum]) => [name, sum.map((value) => value / this.#samples)]),
    );
  }
}

/** The mean of summaries along one direction, weighted by numbers of samples; third derivatives are added with their signs. */
export class SummaryMean {
  readonly #mean = new WeightedMean();
  #only: Summary | undefined;
  #noEffect: readonly GroupIndex[] | undefined;

  add(samples: number, part: Summary): void {
    const { loss, g, H, order3 } = part;
    this.#mean.add(samples, { loss: [loss], g, H, order3 });
    this.#only = this.#noEffect ? undefined : part;
    this.#noEffect = this.#noEffect?.filter((group) => part.noEffect.includes(group)) ?? part.noEffect;
  }

  /** Groups without effect are those that have none in any part. @throws DataError where nothing was added */
  result(): Summary {
    const { loss, g, H, order3 } = this.#mean.result();
    // One alone is its own mean, to the last bit.
    return this.#only ?? { loss: loss![0]!, g: g!, H: H!, order3: order3!, noEffect: this.#noEffect! };
  }
}
