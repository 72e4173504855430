import { afterAll, expect, test } from "vitest";
import { ReferenceEngine } from "../../engine/index.ts";
import { OrtNodeEngine } from "../../engine/ort-node.ts";
import { GraphBuilder, graphOf } from "../../graph/index.ts";
import { Tensor, traceApart } from "../../nn/index.ts";
import { input } from "../../ops/index.ts";
import { Random } from "../../util/random.ts";
import { inverses } from "./inverse.ts";

const oracle = new ReferenceEngine();
const double = new OrtNodeEngine({ precision: "float64", threads: 1 });
const single = new OrtNodeEngine({ threads: 1 });
afterAll(() => Promise.all([double.dispose(), single.dispose()]));

/** A symmetric matrix with eigenvalues from `least` to about 1. */
function positive(n: number, least: number, seed: number): Float64Array {
  const random = new Random(seed);
  const rows = Array.from({ length: n }, () => Float64Array.from({ length: n }, () => random.normal()));
  const m = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++)
      m[i * n + j] = rows[i]!.reduce((sum, x, k) => sum + x * rows[j]![k]!, 0) / (4 * n) + (i === j ? least : 0);
  return m;
}

async function invert(engine: typeof oracle | typeof double, sizes: readonly number[], matrices: Float64Array[]) {
  const b = new GraphBuilder();
  const outputs = traceApart(b, () =>
    inverses(sizes.map((n, i) => new Tensor(input(b, `m${i}`, [1, n, n])))).map((each) => each.node),
  );
  const session = await engine.compile(graphOf(Object.fromEntries(outputs.map((node, i) => [`out${i}`, node]))));
  const inputs: Record<string, Awaited<ReturnType<typeof engine.upload>>> = {};
  for (const [i, data] of matrices.entries())
    inputs[`m${i}`] = await engine.upload({ shape: [1, sizes[i]!, sizes[i]!], data });
  const found = await session.run(inputs);
  return await Promise.all(sizes.map(async (_, i) => (await engine.read(found[`out${i}`]!)).data as Float64Array));
}

/** The largest entry of M X − I. */
function residual(m: Float64Array, x: Float64Array, n: number): number {
  let worst = 0;
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) {
      let sum = i === j ? -1 : 0;
      for (let k = 0; k < n; k++) sum += m[i * n + k]! * x[k * n + j]!;
      worst = Math.max(worst, Math.abs(sum));
    }
  return worst;
}

// An inverse is right to about the condition number times the precision: 2⁻⁵³ or 2⁻²⁴, times a few for the sums.
test.each([
  ["oracle", oracle, 1e-3, 1e-11],
  ["float64", double, 1e-6, 1e-8],
  ["float32", single, 1e-3, 3e-3],
] as const)("%s inverts matrices of all sizes", async (_name, engine, least, bound) => {
  const sizes = engine === oracle ? [1, 2, 65, 2] : [1, 2, 64, 65, 128, 200, 65, 1];
  const matrices = sizes.map((n, i) => positive(n, least, i));
  const found = await invert(engine, sizes, matrices);
  for (const [i, n] of sizes.entries()) expect(residual(matrices[i]!, found[i]!, n), `size ${n}`).toBeLessThan(bound);
});

test("an inverse is symmetric to the last place", async () => {
  const [found] = await invert(double, [130], [positive(130, 1e-4, 3)]);
  for (let i = 0; i < 130; i++)
    for (let j = 0; j < i; j++) expect(found![i * 130 + j]).toBeCloseTo(found![j * 130 + i]!, 9);
});
