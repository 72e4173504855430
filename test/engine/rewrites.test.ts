import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InferenceSession } from "onnxruntime-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeSubject } from "../../bench/subject.ts";
import { updaters } from "../../bench/work.ts";
import { specOf } from "../../src/engine/index.ts";
import { SLOWER, withoutRewrites } from "../../src/engine/ort-node/rewrites.ts";
import type { Graph } from "../../src/graph/index.ts";
import { encodeModel, lowerGraph } from "../../src/onnx/index.ts";
import { stepSource } from "../../src/optim/step-graph.ts";
import { summarySource } from "../../src/summary/summary.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "grnewt-rewrites-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** All rewrites but those that change something. */
const FULL = { optimization: { disable_specified_optimizers: SLOWER.join(";") } };

/** What ONNX Runtime makes of a graph. */
async function rewritten(graph: Graph, extra: InferenceSession.SessionOptions["extra"] = FULL): Promise<Buffer> {
  const optimizedModelFilePath = join(folder, "rewritten.onnx");
  const options = { intraOpNumThreads: 1, logSeverityLevel: 3, optimizedModelFilePath, extra } as const;
  const session = await InferenceSession.create(encodeModel(lowerGraph(graph, { precision: "float32" })), options);
  await session.release();
  return await readFile(optimizedModelFilePath);
}

test.each(["shallow", "lenet", "transformer"] as const)(
  "%s: the rewrites that are left out change nothing",
  async (name) => {
    const subject = makeSubject(name, 2);
    const { objective, groups, batch } = subject;
    const parts = { objective, groups, updater: updaters.momentum(), clipGradNorm: undefined };
    const step = stepSource(parts, { kind: "batch", spec: specOf(batch) }).graph;
    const graphs = name === "transformer" ? [step] : [step, summarySource(objective, groups, batch).graph];
    for (const graph of graphs)
      expect((await rewritten(graph, withoutRewrites("float32"))).equals(await rewritten(graph))).toBe(true);
  },
);
