import { Random } from "../src/index.ts";
import { type CubicProblem, nesterovLrs } from "../src/nesterov/index.ts";
import type { Solve } from "./request.ts";

/** Prepares the rates of a random problem. */
export function makeSolve({ groups }: Solve): () => Promise<void> {
  const problem = randomProblem(groups, new Random(0));
  return async () => {
    const solution = nesterovLrs(problem);
    if (!solution.found) throw new Error(`no rates: ${solution.reason}`);
  };
}

/** As summaries are: symmetric, with negative curvature, and groups whose scales differ by decades. */
export function randomProblem(size: number, random: Random): CubicProblem {
  const scales = Float64Array.from({ length: size }, () => 10 ** (-3 * random.uniform()));
  const H = new Float64Array(size * size);
  for (let s = 0; s < size; s++)
    for (let t = 0; t <= s; t++) {
      const entry = scales[s]! * scales[t]! * ((s === t ? 1 : 0) + random.normal() / Math.sqrt(size));
      H[s * size + t] = entry;
      H[t * size + s] = entry;
    }
  return {
    H,
    g: scales.map((scale) => scale * random.normal()),
    D: scales.map((scale) => scale * (0.1 + random.uniform())),
    dampingInt: 1,
  };
}
