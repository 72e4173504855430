import { type AverageState, nextAverage } from "../../src/optim/averages.ts";
import type { Item } from "./json.ts";
import type { Report } from "./report.ts";

/** Each mean is a sum of at most two periods: some roundings. */
const BOUND = 1e-13;

/** Checks the averages that the reference documents, on sequences of numbers in the place of H, g and order3. */
export async function checkUniformAvg(file: Item, report: Report): Promise<void> {
  for (const [i, run] of file.get("runs").list().entries()) {
    const averaging = { kind: "uniform", period: run.get("period").number() } as const;
    const expected = run.get("docstring_average").numbers();
    const found = { H: [] as number[], g: [] as number[], order3: [] as number[] };
    let last: AverageState | undefined;
    for (const sample of run.get("samples").numbers()) {
      const value = Float64Array.of(sample);
      const { mean, state } = nextAverage(last, { H: value, g: value, order3: value }, averaging);
      for (const key of ["H", "g", "order3"] as const) found[key].push(mean[key][0]!);
      last = state;
    }
    for (const [key, values] of Object.entries(found))
      report.compare("float64", `run ${i}: averages of ${key}`, values, expected, { bound: BOUND });
  }
}
