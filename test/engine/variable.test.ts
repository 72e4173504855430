import { setTimeout as sleep } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { ReferenceEngine, Variable } from "../../src/engine/index.ts";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

test("what an engine holds for a variable is freed with the variable", async () => {
  const engine = new ReferenceEngine();
  const kept = new Variable({ shape: [2], data: Float32Array.of(1, 2) });
  const abandon = () => new Variable({ shape: [1], data: Float32Array.of(3) }).on(engine);
  await kept.on(engine);
  await abandon();
  expect(engine.tensors.live).toBe(2);
  // When it is seen that nobody has it, Node decides.
  for (let i = 0; engine.tensors.live > 1 && i < 100; i++) {
    collectGarbage();
    await sleep(10);
  }
  expect(engine.tensors.live).toBe(1);
  expect(await engine.read(await kept.on(engine))).toMatchObject({ data: Float64Array.of(1, 2) });
});
