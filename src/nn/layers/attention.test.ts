import { describe, expect, test } from "vitest";
import { chunks, expectClose, wave } from "../../../test/support/arrays.ts";
import { ReferenceEngine } from "../../engine/index.ts";
import { ndarray } from "../../util/ndarray.ts";
import * as nn from "../index.ts";

const engine = new ReferenceEngine();

describe("attention, by hand", () => {
  const [width, places, heads] = [4, 3, 2];
  /** One head's weights of the places that a place sees. */
  const weightsOf = (query: readonly number[], keys: readonly (readonly number[])[]) => {
    const scores = keys.map((key) => Math.exp(key.reduce((sum, k, i) => sum + k * query[i]!, 0) / Math.sqrt(2)));
    const total = scores.reduce((sum, score) => sum + score, 0);
    return scores.map((score) => score / total);
  };

  test.each([false, true])("of a sequence to itself; causal: %s", async (causal) => {
    const layer = new nn.MultiHeadAttention(width, heads, { causal });
    const identity = Float64Array.from({ length: 16 }, (_, i) => Number(i % 5 === 0));
    layer.loadStateDict({
      in_proj_weight: ndarray(Float64Array.of(...identity, ...identity, ...identity.map((w) => 2 * w)), [12, 4]),
      in_proj_bias: ndarray(new Float64Array(12), [12]),
      "out_proj.weight": ndarray(identity, [4, 4]),
      "out_proj.bias": ndarray(Float64Array.of(1, 1, 1, 1), [4]),
    });
    const x = wave(2, places, width);
    const expected = chunks(x.data, places * width).flatMap((sample) => {
      const rows = chunks(sample, width);
      return rows.flatMap((row, at) =>
        [0, 2].flatMap((head) => {
          const seen = rows.slice(0, causal ? at + 1 : places).map((each) => each.slice(head, head + 2));
          const weights = weightsOf(row.slice(head, head + 2), seen);
          return [0, 1].map((i) => 1 + weights.reduce((sum, weight, k) => sum + 2 * weight * seen[k]![i]!, 0));
        }),
      );
    });
    expectClose((await layer.predict(x, { engine })).data, expected);
  });

  test("of two sequences gives as many places as the first has, and equals the other form for the same", async () => {
    const layer = new nn.MultiHeadAttention(width, heads);
    const x = wave(2, places, width);
    const cross = new nn.Lambda((t) => layer.forward(t, t.mul(1).add(0), t.add(0)));
    const other = new nn.Lambda((t) => layer.forward(t, t.slice(1, 0, 2)));
    Object.assign(cross, { layer });
    Object.assign(other, { layer });
    expectClose(
      (await cross.predict(x, { engine })).data,
      Array.from((await layer.predict(x, { engine })).data, Number),
    );
    expect((await other.predict(x, { engine })).shape).toEqual([2, places, width]);
  });

  test("what does not fit is refused", async () => {
    expect(() => new nn.MultiHeadAttention(4, 3)).toThrow(/3 heads do not divide a width of 4/);
    const layer = new nn.MultiHeadAttention(width, heads);
    await expect(layer.predict(wave(2, 3, 5), { engine })).rejects.toThrow(/expected \[batch, places, 4\]/);
  });
});
