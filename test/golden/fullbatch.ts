import { type Batch, computeHgFullbatch, fullbatchGradient } from "../../src/index.ts";
import { checkRoots, compareGradient, compareSummary } from "./derivatives.ts";
import { onEveryEngine } from "./engines.ts";
import type { Item } from "./json.ts";
import { partitionOf, readProblem } from "./problem.ts";
import type { Report } from "./report.ts";

/** Checks the gradient and the summary of a data set whose batches have unequal sizes; the direction is the gradient. */
export async function checkFullbatch(file: Item, report: Report): Promise<void> {
  const items = file.get("batches").list();
  if (items.length === 0) file.get("batches").fail("is empty");
  const problem = readProblem(file, items[0]!);
  const batches = items.map((item) => problem.batch(item) ?? item.fail("has no x"));
  const samples = batches.reduce((sum, { y }) => sum + y.shape[0]!, 0);
  report.require(samples === file.get("dataset_size").number(), `the batches hold ${samples} samples`);
  checkRoots("fullbatch", file, report);
  await onEveryEngine(async (engine, golden) => {
    const model = problem.model(file.get("params"));
    const { gradient } = await fullbatchGradient(model, problem.loss, batches, { engine });
    compareGradient(file.get("grad"), gradient, golden, report);
    const partition = partitionOf(model, file.get("partition").get("groups"));
    for (const source of [batches, again(batches)]) {
      const summary = await computeHgFullbatch(model, problem.loss, source, { engine, partition });
      compareSummary("fullbatch", file, summary, golden, report);
    }
  });
}

/** Batches that come one at a time, as from a loader. */
function again(batches: readonly Batch[]): AsyncIterable<Batch> {
  return {
    async *[Symbol.asyncIterator]() {
      yield* batches;
    },
  };
}
