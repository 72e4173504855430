import { expect, test } from "vitest";
import { ReferenceEngine } from "../engine/index.ts";
import { evaluate, losses } from "../nn/index.ts";
import { NewtonSummary } from "../optim/index.ts";
import { ShapeError } from "../util/errors.ts";
import { type NDArray, ndarray } from "../util/ndarray.ts";
import { transformer } from "./transformer.ts";

const small = { vocabulary: 5, context: 6, width: 4, heads: 2, layers: 2 };
const tokens = (samples: number, places: number): NDArray =>
  ndarray(
    Int32Array.from({ length: samples * places }, (_, i) => (i * i + 1) % 5),
    [samples, places],
  );

test("gives log-probabilities of the next token at each place, from the tokens so far alone", async () => {
  const model = transformer(small);
  const engine = new ReferenceEngine();
  const [x, other] = [tokens(1, 4), ndarray(Int32Array.of(1, 2, 0, 3), [1, 4])];
  const [found, changed] = [await model.predict(x, { engine }), await model.predict(other, { engine })];
  expect(found.shape).toEqual([1, 5, 4]);
  const at = ({ data }: NDArray, place: number) => [0, 1, 2, 3, 4].map((token) => Number(data[token * 4 + place]));
  expect(at(found, 0).reduce((sum, score) => sum + Math.exp(score), 0)).toBeCloseTo(1, 12);
  // All tokens but the last are the same.
  for (const place of [0, 1, 2]) expect(at(found, place)).toEqual(at(changed, place));
  expect(at(found, 3)).not.toEqual(at(changed, 2));
});

test("has one matrix for tokens and scores, or two", () => {
  const names = (tied: boolean) =>
    transformer({ ...small, tied })
      .namedParameters()
      .map(([name]) => name);
  expect(names(false).filter((name) => !names(true).includes(name))).toEqual(["head.weight"]);
  expect(names(true).slice(0, 6)).toEqual([
    "tokens.weight",
    "positions.weight",
    "blocks.0.ln1.weight",
    "blocks.0.ln1.bias",
    "blocks.0.attn.in_proj_weight",
    "blocks.0.attn.in_proj_bias",
  ]);
});

test("a sequence longer than the table of positions, and other bad input, is refused", async () => {
  const engine = new ReferenceEngine();
  const run = transformer(small).predict(tokens(2, 7), { engine });
  await expect(run).rejects.toThrow(ShapeError);
  await expect(run).rejects.toThrow("a sequence of 7 is longer than the table of 6 positions");
  expect(() => transformer({ ...small, heads: 3 })).toThrow(/3 heads do not divide a width of 4/);
  expect(() => transformer({ ...small, depth: 3 } as never)).toThrow(/unknown option "depth"/);
});

test("trains with NewtonSummary", async () => {
  const engine = new ReferenceEngine();
  const model = transformer({ ...small, layers: 1 });
  const batch = {
    x: tokens(3, 6),
    y: ndarray(
      Int32Array.from({ length: 18 }, (_, i) => ((i + 1) ** 2 + 1) % 5),
      [3, 6],
    ),
  };
  const before = (await evaluate(model, losses.nll, [batch], { engine })).loss;
  await using optimizer = await NewtonSummary.create(model, losses.nll, { engine, periodHg: 2, log: () => undefined });
  for (let step = 0; step < 8; step++) await optimizer.step(batch);
  expect((await evaluate(model, losses.nll, [batch], { engine })).loss).toBeLessThan(0.8 * before);
});
