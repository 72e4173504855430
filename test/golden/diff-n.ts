import { type Batch, diffN, type Engine, type Module, type NDArray, nn } from "../../src/index.ts";
import { onEveryEngine } from "./engines.ts";
import type { Item } from "./json.ts";
import { partitionOf, readProblem } from "./problem.ts";
import type { Report } from "./report.ts";

/** Checks all derivatives by group of a perceptron, and those of a polynomial in one variable. */
export async function checkDiffN(file: Item, report: Report): Promise<void> {
  const mlp = file.get("mlp_case");
  const problem = readProblem(mlp, mlp);
  const batch = problem.batch(mlp) ?? mlp.fail("has no x");
  await onEveryEngine(async (engine, { label, bound }) => {
    const model = problem.model(mlp.get("params"));
    const options = {
      order: mlp.get("max_order").number(),
      engine,
      direction: mlp.get("u").arrays(),
      partition: partitionOf(model, mlp.get("partition").get("groups")),
    };
    for (const microbatch of [undefined, 2]) {
      const tensors = await diffN(model, problem.loss, batch, { ...options, ...(microbatch && { microbatch }) });
      for (const result of mlp.get("results").list()) {
        const order = result.get("order").number();
        const { expected, found } = pairsOf(result, tensors[order] ?? result.fail("was not computed"));
        report.compare(label, `derivatives of order ${order}`, found, expected, { bound });
      }
    }
    const polynomial = file.get("polynomial");
    const found = await polynomialDerivatives(polynomial, engine);
    report.compare(label, "polynomial", found, polynomial.get("derivatives").numbers(), { bound });
  });
}

/** The file's entries, one for each sorted index, and the tensor's at the same places. */
function pairsOf(result: Item, { shape, data }: NDArray<Float64Array>): { expected: number[]; found: number[] } {
  const [expected, found]: [number[], number[]] = [[], []];
  for (const entry of result.get("entries").list()) {
    const index = entry.get("index").numbers();
    for (const [i, value] of entry.get("values").numbers().entries()) {
      const full = shape.length === 0 ? [] : [...index, (index.at(-1) ?? 0) + i];
      expected.push(value);
      found.push(data[full.reduce((place, group) => place * shape[0]! + group, 0)]!);
    }
  }
  return { expected, found };
}

async function polynomialDerivatives(file: Item, engine: Engine): Promise<number[]> {
  const coefficients = file.get("coefficients").numbers();
  const one: NDArray<Float64Array> = { shape: [], data: Float64Array.of(1) };
  const x: NDArray<Float64Array> = { shape: [], data: Float64Array.of(file.get("x").number()) };
  const model: Module = nn.fromFunction({ x }, (p) =>
    coefficients.slice(1).reduce((sum, c, k) => sum.add(p.x!.pow(k + 1).mul(c)), p.x!.mul(0).add(coefficients[0]!)),
  );
  const none: Batch | undefined = undefined;
  const options = { order: file.get("max_order").number(), engine, direction: { x: one } };
  const tensors = await diffN(model, (output) => output, none, options);
  return tensors.map(({ data }) => data[0]!);
}
