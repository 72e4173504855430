import { expect, test } from "vitest";
import { summarize } from "../../src/derive/index.ts";
import { BATCH, GraphBuilder, printGraph } from "../../src/graph/index.ts";
import * as o from "../../src/ops/index.ts";
import { checkedGraph } from "../support/run.ts";

test("the summary of a small model reads as before", async () => {
  const b = new GraphBuilder();
  const [x, w, v] = [o.input(b, "x", [BATCH, 3]), o.input(b, "w", [3, 2]), o.input(b, "v", [2, 1])];
  const total = o.sum(b, o.matmul(b, o.tanh(b, o.matmul(b, x, w)), v));
  const loss = o.mul(b, total, o.reciprocal(b, o.batchSize(b)));
  const seeds = [w, v].map((parameter, group) => ({
    parameter,
    direction: o.input(b, `u${group}`, parameter.shape),
    group,
  }));
  const { packed, terms } = summarize(b, loss, seeds);
  const rows = terms.map(({ kind, rows, columns }) => `${kind} [${rows}]${columns.length ? ` × [${columns}]` : ""}`);
  const text = `${printGraph(checkedGraph({ packed }))}\n\n${rows.join("\n")}\n`;
  await expect(text).toMatchFileSnapshot("./small-model.txt");
});
