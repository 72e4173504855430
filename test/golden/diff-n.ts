import { type Batch, diffN, diffNFullbatch, type Engine, type Module, type NDArray, nn } from "../../src/index.ts";
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
    const runs = [
      diffN(model, problem.loss, batch, options),
      diffN(model, problem.loss, batch, { ...options, microbatch: 2 }),
      diffNFullbatch(model, problem.loss, inBatches(batch, 3), options),
    ];
    for (const tensors of await Promise.all(runs)) {
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

/** The samples of a batch in batches of some, the last with what is left. */
function inBatches({ x, y }: Batch, length: number): Batch[] {
  const part = ({ shape, data }: NDArray, start: number): NDArray => {
    const size = data.length / shape[0]!;
    const cut = data.subarray(start * size, (start + length) * size);
    return { shape: [cut.length / size, ...shape.slice(1)], data: cut };
  };
  const starts = Array.from({ length: Math.ceil(x.shape[0]! / length) }, (_, i) => i * length);
  return starts.map((start) => ({ x: part(x, start), y: part(y, start) }));
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
