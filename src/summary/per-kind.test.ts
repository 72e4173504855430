import { expect, test } from "vitest";
import { labelled } from "../../test/support/models.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { Dropout, evaluate, Linear, losses, Module, type Tensor } from "../nn/index.ts";
import type { Batch, Batches } from "../util/ndarray.ts";
import { computeHgFullbatch, type Direction, diffNFullbatch, fullbatchGradient, valueAndGrad } from "./index.ts";

const engine = new ReferenceEngine();

/** Counts its traces, of which each runs `forward` twice. It takes batches of any width. */
class Counting extends Module {
  readonly layer = new Linear(2, 3);
  readonly dropout = new Dropout(0.5);
  #forwards = 0;

  override forward(x: Tensor): Tensor {
    this.#forwards++;
    const mean = x.mean([1], true);
    return this.layer.forward(this.dropout.forward(mean.mul({ shape: [2], data: Float64Array.of(1, 2) })));
  }

  async tracesIn(call: () => Promise<unknown>): Promise<number> {
    const before = this.#forwards;
    await call();
    return (this.#forwards - before) / 2;
  }
}

type Call = (model: Counting, batches: Batches, direction: Direction) => Promise<unknown>;
const loss = losses.crossEntropy;
const calls: [string, Call][] = [
  ["evaluate", (model, batches) => evaluate(model, loss, batches, { engine })],
  ["fullbatchGradient", (model, batches) => fullbatchGradient(model, loss, batches, { engine })],
  [
    "computeHgFullbatch",
    (model, batches, direction) => computeHgFullbatch(model, loss, batches, { engine, direction }),
  ],
  [
    "diffNFullbatch",
    (model, batches, direction) => diffNFullbatch(model, loss, batches, { engine, direction, order: 2 }),
  ],
];

function narrow({ x, y }: Batch): Batch {
  return { x: { shape: [y.data.length, 1], data: x.data.slice(0, y.data.length) }, y };
}

const row = Array.from({ length: 10 }, (_, i) => labelled(4, i));

test.each(calls)("%s traces a model once for each kind of batch", async (_what, call) => {
  const model = new Counting();
  const { gradient } = await valueAndGrad(model, loss, row[0], { engine });
  const traces = (batches: Batches): Promise<number> => model.tracesIn(() => call(model, batches, gradient));
  expect(await traces(row)).toBe(1);
  // Nothing is kept from call to call.
  expect(await traces(row)).toBe(1);
  expect(await traces([row[0]!, narrow(row[1]!), row[2]!, narrow(row[3]!)])).toBe(2);
  expect(await traces([...row, labelled(3)])).toBe(2);
});

test.each(calls)("%s traces it anew where modes change between batches", async (_what, call) => {
  const model = new Counting();
  const { gradient } = await valueAndGrad(model, loss, row[0], { engine });
  async function* changing() {
    yield row[0]!;
    model.eval();
    yield row[1]!;
    yield row[2]!;
    model.train();
    yield row[3]!;
  }
  expect(await model.tracesIn(() => call(model, changing(), gradient))).toBe(2);
});

test("a batch is evaluated in the mode that it finds", async () => {
  const model = new Counting();
  const [first, second] = [row[0]!, row[1]!];
  async function* changing() {
    yield first;
    model.eval();
    yield second;
  }
  const both = await evaluate(model, loss, changing(), { engine });
  const trained = await evaluate(model, loss, [first], { engine, mode: "train" });
  const used = await evaluate(model, loss, [second], { engine, mode: "eval" });
  expect(both.loss).toBeCloseTo((trained.loss + used.loss) / 2, 12);
});

test("graphs that differ in constants alone share no program", async () => {
  const model = new Counting().eval();
  const scaled = (factor: number) =>
    evaluate(model, (output, target) => loss(output, target).mul(factor), row, { engine });
  const [once, thrice] = [await scaled(1), await scaled(3)];
  expect(thrice.loss).toBeCloseTo(3 * once.loss, 12);
});
