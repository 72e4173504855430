import { describe, expect, test } from "vitest";
import { chunks, expectClose, wave } from "../../../test/support/arrays.ts";
import { ReferenceEngine } from "../../engine/index.ts";
import { OptionError, ShapeError } from "../../util/errors.ts";
import { ndarray } from "../../util/ndarray.ts";
import * as nn from "../index.ts";

const engine = new ReferenceEngine();
const standardized = (values: readonly number[], eps: number) => {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
  return values.map((x) => (x - mean) / Math.sqrt(variance + eps));
};

describe("normalisations, by hand", () => {
  test("LayerNorm, with weight and bias", async () => {
    const layer = new nn.LayerNorm(4);
    const [weight, bias] = [wave(4), ndarray(Float64Array.of(1, 2, 3, 4), [4])];
    layer.loadStateDict({ weight, bias });
    const x = wave(2, 3, 4);
    const expected = chunks(x.data, 4).flatMap((row) =>
      standardized(row, 1e-5).map((z, i) => z * Number(weight.data[i]) + i + 1),
    );
    expectClose((await layer.predict(x, { engine })).data, expected);
  });

  test("LayerNorm of two axes, bare", async () => {
    const layer = new nn.LayerNorm([3, 4], { elementwiseAffine: false, eps: 0.1 });
    expect(layer.parameters()).toEqual([]);
    const x = wave(2, 3, 4);
    const expected = chunks(x.data, 12).flatMap((row) => standardized(row, 0.1));
    expectClose((await layer.predict(x, { engine })).data, expected);
  });

  test("RMSNorm", async () => {
    const x = wave(3, 4);
    const expected = chunks(x.data, 4).flatMap((row) =>
      row.map((value) => value / Math.sqrt(row.reduce((sum, each) => sum + each ** 2, 0) / 4 + 2 ** -23)),
    );
    expectClose((await new nn.RMSNorm(4).predict(x, { engine })).data, expected);
  });

  test("GroupNorm", async () => {
    const layer = new nn.GroupNorm(2, 4);
    layer.loadStateDict({ weight: ndarray(Float64Array.of(1, 2, 3, 4), [4]), bias: wave(4) });
    const x = wave(2, 4, 3);
    const bias = wave(4).data;
    const expected = chunks(x.data, 6).flatMap((row, group) =>
      standardized(row, 1e-5).map((z, i) => {
        const channel = (group % 2) * 2 + Math.floor(i / 3);
        return z * (channel + 1) + Number(bias[channel]);
      }),
    );
    expectClose((await layer.predict(x, { engine })).data, expected);
  });

  test("what does not fit is refused", async () => {
    expect(() => new nn.GroupNorm(3, 4)).toThrow(/4 channels cannot be divided into 3 groups/);
    expect(() => new nn.LayerNorm(0)).toThrow(OptionError);
    expect(() => new nn.RMSNorm(3, { eps: -1 })).toThrow(/eps must be at least 0/);
    await expect(new nn.LayerNorm(3).predict(wave(2, 4), { engine })).rejects.toThrow(ShapeError);
    await expect(new nn.GroupNorm(2, 4).predict(wave(2, 3, 3), { engine })).rejects.toThrow(/expected \[N, 4, …\]/);
  });
});
