import type { Term } from "../../src/derive/index.ts";

/** A summary of S groups as plain arrays; `H` is row-major. */
export interface DenseSummary {
  readonly loss: number;
  readonly g: Float64Array;
  readonly H: Float64Array;
  readonly order3: Float64Array;
  readonly entry: Float64Array;
  readonly exit: Float64Array;
}

/** Unpacks a summary, by the definition of `Term`. */
export function unpack(terms: readonly Term[], packed: ArrayLike<number>, groups: number): DenseSummary {
  const vector = (): Float64Array => new Float64Array(groups);
  const dense = { g: vector(), order3: vector(), entry: vector(), exit: vector(), H: new Float64Array(groups ** 2) };
  let [loss, at] = [0, 0];
  for (const { kind, rows, columns } of terms) {
    if (kind === "loss") loss += packed[at++]!;
    else if (kind === "H" || kind === "cross")
      for (const i of rows)
        for (const j of columns) {
          dense.H[i * groups + j]! += packed[at]!;
          if (kind === "cross") dense.H[j * groups + i]! += packed[at]!;
          at++;
        }
    else for (const i of rows) dense[kind][i]! += packed[at++]!;
  }
  if (at !== packed.length) throw new Error(`the terms cover ${at} numbers, the summary has ${packed.length}`);
  return { loss, ...dense };
}
