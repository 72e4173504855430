import { expect, test, vi } from "vitest";
import { OrtNodeEngine } from "../../src/engine/ort-node.ts";
import { BATCH, GraphBuilder } from "../../src/graph/index.ts";
import * as o from "../../src/ops/index.ts";
import { checkedGraph, compiled, numbers, real } from "../support/run.ts";

// What ONNX Runtime makes of its operators on blocks where the processor has none: it refuses the model.
vi.mock(import("../../src/engine/ort-node/blocks.ts"), async (original) => ({
  ...(await original()),
  blockModel: () => Uint8Array.of(1, 2, 3),
}));

test("without operators on channels in blocks all products go as they lie, for any number of samples", async () => {
  const engine = new OrtNodeEngine({ threads: 1 });
  expect(await engine.blockSize()).toBeUndefined();
  const b = new GraphBuilder();
  const x = o.input(b, "x", [BATCH, 512]);
  const program = await compiled(engine, checkedGraph({ z: o.matmul(b, o.transposeLast(b, x), x) }), { samples: 512 });
  expect(numbers((await program.run({ x: real(new Array(1024).fill(0.5), [2, 512]) })).z)[0]).toBe(0.5);
  expect(engine.sessions.compiled).toBe(1);
  await engine.dispose();
});
