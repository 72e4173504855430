import type { CompileOptions, Engine } from "../../src/engine/index.ts";
import { GraphBuilder } from "../../src/graph/index.ts";
import { Random } from "../../src/util/random.ts";
import { assertClose, type Tolerance } from "./close.ts";
import { drawInputs, makeInputs } from "./inputs.ts";
import type { Case } from "./primitive-cases.ts";
import { checkedGraph, compiled, evaluate, numbers } from "./run.ts";

/** Asserts that an engine gives a case the oracle's values, at batch sizes 1, 3 and 7 of one session. */
export async function checkValue(
  engine: Engine,
  item: Pick<Case, "name" | "inputs" | "build">,
  tolerance: Tolerance,
  options: CompileOptions = {},
): Promise<void> {
  const b = new GraphBuilder();
  const z = item.build(b, makeInputs(b, item.inputs));
  const program = await compiled(engine, checkedGraph({ z }), options);
  for (const batch of [1, 3, 7]) {
    const feeds = drawInputs(item.inputs, new Random(batch), batch);
    const [found, expected] = [(await program.run(feeds)).z!, (await evaluate({ z }, feeds)).z!];
    if (found.shape.join() !== expected.shape.join())
      throw new Error(`batch ${batch}: expected shape [${expected.shape}], found [${found.shape}]`);
    if (found.data instanceof Int32Array !== (z.dtype !== "float"))
      throw new Error(`batch ${batch}: ${z.dtype} entries came back as ${found.data.constructor.name}`);
    assertClose(numbers(found), numbers(expected), tolerance, `${item.name}, batch ${batch}`);
  }
  await program.dispose();
}
