import { describe, expect, test } from "vitest";
import { ReferenceEngine } from "../../engine/index.ts";
import { OptionError, ShapeError } from "../../util/errors.ts";
import { ndarray } from "../../util/ndarray.ts";
import * as nn from "../index.ts";

const engine = new ReferenceEngine();
const counting = (...shape: number[]) => {
  const size = shape.reduce((n, d) => n * d, 1);
  return ndarray(
    Float64Array.from({ length: size }, (_, i) => Math.sin(i + 1)),
    shape,
  );
};
const standardized = (values: readonly number[], eps: number) => {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
  return values.map((x) => (x - mean) / Math.sqrt(variance + eps));
};
const chunks = (data: ArrayLike<number>, size: number) =>
  Array.from({ length: data.length / size }, (_, i) => Array.from(data).slice(i * size, (i + 1) * size));
const close = (found: ArrayLike<number | bigint>, expected: readonly number[]) => {
  expect(found).toHaveLength(expected.length);
  for (const [i, value] of expected.entries()) expect(Number(found[i])).toBeCloseTo(value, 12);
};

describe("normalisations, by hand", () => {
  test("LayerNorm, with weight and bias", async () => {
    const layer = new nn.LayerNorm(4);
    const [weight, bias] = [counting(4), ndarray(Float64Array.of(1, 2, 3, 4), [4])];
    layer.loadStateDict({ weight, bias });
    const x = counting(2, 3, 4);
    const expected = chunks(x.data, 4).flatMap((row) =>
      standardized(row, 1e-5).map((z, i) => z * Number(weight.data[i]) + i + 1),
    );
    close((await layer.predict(x, { engine })).data, expected);
  });

  test("LayerNorm of two axes, bare", async () => {
    const layer = new nn.LayerNorm([3, 4], { elementwiseAffine: false, eps: 0.1 });
    expect(layer.parameters()).toEqual([]);
    const x = counting(2, 3, 4);
    const expected = chunks(x.data, 12).flatMap((row) => standardized(row, 0.1));
    close((await layer.predict(x, { engine })).data, expected);
  });

  test("RMSNorm", async () => {
    const x = counting(3, 4);
    const expected = chunks(x.data, 4).flatMap((row) =>
      row.map((value) => value / Math.sqrt(row.reduce((sum, each) => sum + each ** 2, 0) / 4 + 2 ** -23)),
    );
    close((await new nn.RMSNorm(4).predict(x, { engine })).data, expected);
  });

  test("GroupNorm", async () => {
    const layer = new nn.GroupNorm(2, 4);
    layer.loadStateDict({ weight: ndarray(Float64Array.of(1, 2, 3, 4), [4]), bias: counting(4) });
    const x = counting(2, 4, 3);
    const bias = counting(4).data;
    const expected = chunks(x.data, 6).flatMap((row, group) =>
      standardized(row, 1e-5).map((z, i) => {
        const channel = (group % 2) * 2 + Math.floor(i / 3);
        return z * (channel + 1) + Number(bias[channel]);
      }),
    );
    close((await layer.predict(x, { engine })).data, expected);
  });

  test("what does not fit is refused", async () => {
    expect(() => new nn.GroupNorm(3, 4)).toThrow(/4 channels cannot be divided into 3 groups/);
    expect(() => new nn.LayerNorm(0)).toThrow(OptionError);
    expect(() => new nn.RMSNorm(3, { eps: -1 })).toThrow(/eps must be at least 0/);
    await expect(new nn.LayerNorm(3).predict(counting(2, 4), { engine })).rejects.toThrow(ShapeError);
    await expect(new nn.GroupNorm(2, 4).predict(counting(2, 3, 3), { engine })).rejects.toThrow(/expected \[N, 4, …\]/);
  });
});

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
    const x = counting(2, places, width);
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
    close((await layer.predict(x, { engine })).data, expected);
  });

  test("of two sequences gives as many places as the first has, and equals the other form for the same", async () => {
    const layer = new nn.MultiHeadAttention(width, heads);
    const x = counting(2, places, width);
    const cross = new nn.Lambda((t) => layer.forward(t, t.mul(1).add(0), t.add(0)));
    const other = new nn.Lambda((t) => layer.forward(t, t.slice(1, 0, 2)));
    Object.assign(cross, { layer });
    Object.assign(other, { layer });
    close((await cross.predict(x, { engine })).data, Array.from((await layer.predict(x, { engine })).data, Number));
    expect((await other.predict(x, { engine })).shape).toEqual([2, places, width]);
  });

  test("what does not fit is refused", async () => {
    expect(() => new nn.MultiHeadAttention(4, 3)).toThrow(/3 heads do not divide a width of 4/);
    const layer = new nn.MultiHeadAttention(width, heads);
    await expect(layer.predict(counting(2, 3, 5), { engine })).rejects.toThrow(/expected \[batch, places, 4\]/);
  });
});
