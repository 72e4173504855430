import { afterAll, describe, expect, test } from "vitest";
import { checkGrads } from "../../test/support/check-grads.ts";
import { checkValue } from "../../test/support/check-value.ts";
import { assertClose } from "../../test/support/close.ts";
import { engines } from "../../test/support/engines.ts";
import { anywhere, apart, type Domain, floats, ints, nonzero, positive } from "../../test/support/inputs.ts";
import { evaluate, numbers, real, whole } from "../../test/support/run.ts";
import { traced } from "../../test/support/traced.ts";
import { gradients } from "../derive/index.ts";
import { ReferenceEngine } from "../engine/index.ts";
import { BATCH, type Builder, GraphBuilder, type Node } from "../graph/index.ts";
import * as ops from "../ops/index.ts";
import { valueAndGrad } from "../summary/index.ts";
import { DataError, OptionError, ShapeError } from "../util/errors.ts";
import type { NDArray } from "../util/ndarray.ts";
import * as nn from "./index.ts";

type Unary = (x: nn.Tensor) => nn.Tensor;

/** Functions of one number, where to try them, and their values at a few points (PyTorch's definitions, by hand). */
const entrywise: Readonly<
  Record<string, readonly [f: Unary, domain: Domain, values: Readonly<Record<number, number>>]>
> = {
  erf: [(x) => x.erf(), anywhere, { "-1": -0.8427007929497149, 0: 0 }],
  gelu: [(x) => nn.gelu(x), anywhere, { "-1": -0.15865525393145707, 0: 0, 1: 0.8413447460685429 }],
  "gelu by tanh": [(x) => nn.gelu(x, "tanh"), anywhere, { "-1": -0.15880800939172324, 1: 0.8411919906082768 }],
  silu: [nn.silu, anywhere, { "-1": -0.2689414213699951, 0: 0, 1: 0.7310585786300049 }],
  selu: [nn.selu, nonzero, { "-1": -1.1113307378125628, 0: 0, 2: 2.101401974710961 }],
  leakyRelu: [(x) => nn.leakyRelu(x, 0.25), nonzero, { "-1": -0.25, 0: 0, 2: 2 }],
  "leakyRelu by default": [(x) => nn.leakyRelu(x), nonzero, { "-1": -0.01, 2: 2 }],
  clamp: [(x) => x.clamp(-1.05, 0.3), nonzero, { "-2": -1.05, 0: 0, 2: 0.3 }],
  "clamp from below": [(x) => x.clamp(0.25), nonzero, { "-2": 0.25, 2: 2 }],
  "clamp from above": [(x) => x.clamp(undefined, 0.25), nonzero, { "-2": -2, 2: 0.25 }],
  "clamp between crossed bounds": [(x) => x.clamp(0.5, -0.5), nonzero, { "-2": -0.5, 0: -0.5, 2: -0.5 }],
  sign: [(x) => x.sign(), nonzero, { "-2": -1, 0: 0, 3: 1 }],
  rsqrt: [(x) => x.rsqrt(), positive, { 1: 1, 4: 0.5 }],
};

/** The value of f and its first three derivatives, one after the other along a new first axis. */
function withDerivatives(f: Unary): (b: Builder, inputs: readonly Node[]) => Node {
  return (b, [x]) => {
    const orders = [traced(f)(b, [x!])];
    for (let order = 1; order <= 3; order++) {
      const [slope] = gradients(b, ops.sum(b, orders.at(-1)!), [x!]);
      orders.push(slope ?? ops.scale(b, x!, 0));
    }
    return ops.concat(
      b,
      orders.map((node) => ops.unsqueeze(b, node, 0)),
      0,
    );
  };
}

describe.each(Object.entries(entrywise))("%s", (name, [f, domain, values]) => {
  test("has the right derivatives", () => checkGrads(traced(f), { inputs: [floats([BATCH, 3], domain)] }));

  test("has the values of its definition", async () => {
    const b = new GraphBuilder();
    const at = Object.keys(values).map(Number);
    const { z } = await evaluate({ z: traced(f)(b, [ops.input(b, "x", [at.length])]) }, { x: real(at) });
    assertClose(numbers(z), Object.values(values), { absolute: 3e-16, relative: 3e-16 }, name);
  });
});

describe.each(engines)("on $label", ({ make, tolerance }) => {
  const engine = make();
  afterAll(() => engine.dispose());

  test.each(Object.entries(entrywise))("%s and its derivatives are the oracle's", async (name, [f, domain]) => {
    const item = { name, inputs: [floats([BATCH, 3], domain)], build: withDerivatives(f) };
    // A handful of operations for each.
    const [absolute, relative] = [tolerance.absolute ?? 0, tolerance.relative ?? 0].map((x) => 8 * x);
    await checkValue(engine, item, { absolute: absolute!, relative: relative! });
  });

  test.each(Object.entries(entrywise).filter(([name]) => name !== "rsqrt"))("%s is finite far out", async (_, [f]) => {
    const b = new GraphBuilder();
    const far = [-1e12, -1000, -100, -20, 0, 20, 100, 1000, 1e12];
    const z = withDerivatives(f)(b, [ops.input(b, "x", [far.length])]);
    const found = numbers((await evaluate({ z }, { x: real(far) }, engine)).z);
    expect(found.every(Number.isFinite)).toBe(true);
    // The second and third derivatives vanish there.
    const curvatures = found.slice(2 * far.length).filter((_, i) => Math.abs(far[i % far.length]!) >= 100);
    expect(Math.max(...curvatures.map(Math.abs))).toBeLessThan(1e-30);
  });
});

/** The value of a sum of f's entries, weighted 1, 2, …, and its gradient in x. */
async function slopes(f: Unary, x: NDArray): Promise<number[]> {
  const b = new GraphBuilder();
  const node = ops.input(b, "x", x.shape);
  const z = ops.flatten(b, traced(f)(b, [node]), 0);
  const weights = ops.constant(
    b,
    Array.from({ length: z.shape[0] as number }, (_, i) => i + 1),
    z.shape as number[],
  );
  const [gradient] = gradients(b, ops.sum(b, ops.mul(b, z, weights)), [node]);
  // −0 as 0.
  return numbers((await evaluate({ gradient: gradient! }, { x })).gradient).map((slope) => slope + 0);
}

async function runOn(f: Unary, x: NDArray): Promise<{ shape: readonly number[]; data: number[] }> {
  const b = new GraphBuilder();
  const { z } = await evaluate({ z: traced(f)(b, [ops.input(b, "x", x.shape)]) }, { x });
  return { shape: z!.shape, data: numbers(z) };
}

describe("kinks have PyTorch's derivatives", () => {
  test.each<[string, Unary, number[], number[]]>([
    ["clamp, 1 at the bounds", (x) => x.clamp(-1, 2), [-2, -1, 0, 2, 3], [0, 2, 3, 4, 0]],
    ["leakyRelu, the slope at 0", (x) => nn.leakyRelu(x, 0.5), [0, 1], [0.5, 2]],
    ["min, to the first", (x) => x.min(0), [3, 1, 1], [0, 1, 0]],
    ["amax, shared", (x) => x.amax(), [3, 1, 3], [0.5, 0, 0.5]],
    ["amin, shared", (x) => x.reshape(3, 1).amin([0]), [3, 1, 1], [0, 0.5, 0.5]],
  ])("%s", async (_, f, x, expected) => expect(await slopes(f, real(x))).toEqual(expected));
});

test("all derivatives of elu at 0 are those from the left, e^0, and at infinity those of a line", async () => {
  const b = new GraphBuilder();
  const x = ops.input(b, "x", [3]);
  const outputs: Record<string, Node> = {};
  let z = ops.elu(b, x);
  for (const name of ["slope", "curvature", "third"]) {
    z = gradients(b, ops.sum(b, z), [x])[0]!;
    outputs[name] = z;
  }
  const found = await evaluate(outputs, { x: real([0, Number.POSITIVE_INFINITY, -1]) });
  expect(numbers(found.slope)).toEqual([1, 1, Math.exp(-1)]);
  expect(numbers(found.curvature)).toEqual([1, 0, Math.exp(-1)]);
  expect(numbers(found.third)).toEqual([1, 0, Math.exp(-1)]);
});

describe("along axes", () => {
  const x = real([1, 5, 3, 4, 2, 6], [2, 3]);

  test.each<[string, Unary, readonly number[], number[]]>([
    ["min", (t) => t.min(1), [2], [1, 2]],
    ["min, kept", (t) => t.min(0, true), [1, 3], [1, 2, 3]],
    ["amax of all", (t) => t.amax(), [], [6]],
    ["amax of both", (t) => t.amax([0, 1], true), [1, 1], [6]],
    ["amin", (t) => t.amin([-1]), [2], [1, 2]],
    ["cumsum", (t) => t.cumsum(-1), [2, 3], [1, 6, 9, 4, 6, 12]],
    ["cumsum, outer", (t) => t.cumsum(0), [2, 3], [1, 5, 3, 5, 7, 9]],
    ["sum", (t) => t.sum(1), [2], [9, 12]],
    ["mean, kept", (t) => t.mean(-2, true), [1, 3], [2.5, 3.5, 4.5]],
    ["amax by a number", (t) => t.amax(0), [3], [4, 5, 6]],
    ["split", (t) => nn.cat(t.split(2, 1).reverse(), 1), [2, 3], [3, 1, 5, 6, 4, 2]],
    ["split by lengths", (t) => t.split([1, 2], -1)[1]!, [2, 2], [5, 3, 2, 6]],
    ["split of the first axis", (t) => t.split(1)[1]!, [1, 3], [4, 2, 6]],
    ["chunk", (t) => nn.cat(t.chunk(2, 1).reverse(), 1), [2, 3], [3, 1, 5, 6, 4, 2]],
    ["ge", (t) => t.ge(3).float(), [2, 3], [0, 1, 1, 1, 0, 1]],
    ["lt", (t) => t.lt(3).float(), [2, 3], [1, 0, 0, 0, 1, 0]],
    ["le", (t) => t.le(3).float(), [2, 3], [1, 0, 1, 0, 1, 0]],
  ])("%s", async (_, f, shape, data) => expect(await runOn(f, x)).toEqual({ shape, data }));

  test("amax of NaN is NaN, and infinities are entries like others", async () => {
    const odd = real([Number.NaN, 1, Number.NEGATIVE_INFINITY, 2, 3, Number.POSITIVE_INFINITY], [3, 2]);
    expect((await runOn((t) => t.amax([1]), odd)).data).toEqual([Number.NaN, 2, Number.POSITIVE_INFINITY]);
  });

  test("logsumexp of infinities is infinite", async () => {
    const [least, most] = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
    const odd = real([least, least, least, 0, most, least, Number.NaN, most], [4, 2]);
    const { data } = await runOn((t) => nn.logsumexp(t, 1), odd);
    expect(data).toEqual([least, 0, most, Number.NaN]);
  });

  test("have the right derivatives, over the batch too", async () => {
    const inputs = [floats([BATCH, 4], apart)];
    for (const f of [(t) => t.amax(), (t) => t.amin([1]), (t) => t.min(1), (t) => t.cumsum(0)] as Unary[])
      await checkGrads(traced(f), { inputs });
  });

  test.each<[string, Unary, RegExp]>([
    ["lengths that do not add up", (t) => t.split([1, 1], 1)[0]!, /split: lengths \[1,1\] .* length 3/],
    ["parts of nothing", (t) => t.split(0, 1)[0]!, /split: lengths/],
    ["an axis that is not there", (t) => t.chunk(2, 2)[0]!, /chunk: axis 2 of \[2, 3\]/],
    ["a mean over an axis twice", (t) => t.mean([1, -1]), /mean: axes \[1,-1\] name one of them twice/],
    ["a sum over an axis twice", (t) => t.sum([0, 0], true), /sum: axes \[0,0\] name one of them twice/],
    ["a mean over an axis that is not there", (t) => t.mean([2]), /mean: axis 2 is out of range/],
    ["half an entry", (t) => t.slice(1, 0.5, 2), /slice 0.5 to 2 of axis 1: expected whole numbers/],
    ["two open lengths", (t) => t.reshape(-1, -1), /reshape: \[2, 3\] does not fit \[-1, -1\]/],
    ["negative lengths", (t) => t.reshape(-2, -3), /reshape: \[2, 3\] does not fit/],
    ["nothing to put together", () => nn.cat([]), /cat: expected at least one tensor, found none/],
  ])("refused: %s", async (_, f, message) => {
    await expect(runOn(f, x)).rejects.toThrow(message);
    await expect(runOn(f, x)).rejects.toThrow(ShapeError);
  });
});

describe.each(engines)("a computed index out of range, on $label", ({ make }) => {
  const engine = make();
  afterAll(() => engine.dispose());

  test.each([-1, 3])("makes the run fail: %i", async (shift) => {
    const table = { shape: [3, 1], data: Float64Array.of(0, 1, 2) };
    const x = whole([0], [1, 1]);
    const rows = nn.fromFunction({ table }, (p, t) => nn.embedding(t!.add(shift), p.table));
    await expect(rows.predict(x, { engine })).rejects.toThrow(/out of/i);
    const entries = nn.fromFunction({ table }, (p, t) => p.table.gather(0, t!.add(shift)));
    await expect(entries.predict(x, { engine })).rejects.toThrow(/out of/i);
  });
});

test("an operand that is none is named", async () => {
  await expect(runOn((x) => x.add([1, 2] as never), real([1, 2]))).rejects.toThrow(
    "what is neither a tensor nor a number: expected { shape, data }",
  );
  await expect(runOn((x) => x.pow(x as never), real([1, 2]))).rejects.toThrow("pow: expected a number, found object");
});

test("gelu knows its approximations", async () => {
  await expect(runOn((x) => nn.gelu(x, "erf" as never), real([1]))).rejects.toThrow(OptionError);
});

describe("embedding", () => {
  const table = { shape: [4, 2], data: Float64Array.of(0, 1, 2, 3, 4, 5, 6, 7) };
  const model = (): nn.Module => nn.fromFunction({ table }, (p, x) => nn.embedding(x!, p.table));
  const engine = new ReferenceEngine();

  test("looks rows up, and gives each the sum of what comes back", async () => {
    const x = whole([3, 0, 3, 3], [2, 2]);
    expect((await model().predict(x, { engine })).data).toEqual(Float64Array.of(6, 7, 0, 1, 6, 7, 6, 7));
    const loss: nn.Loss = (z, y) => z.mul(y).sum();
    const y = real([1, 2, 3, 4, 5, 6, 7, 8], [2, 2, 2]);
    const { gradient } = await valueAndGrad(model(), loss, { x, y }, { engine });
    expect([...gradient.table!.data]).toEqual([3, 4, 0, 0, 0, 0, 13, 16]);
  });

  test("has the right derivatives", () =>
    checkGrads(
      traced((index, weight) => nn.embedding(index, weight).tanh()),
      {
        inputs: [
          ints([BATCH, 3], (random, count) => Array.from({ length: count }, () => random.below(5))),
          floats([5, 2]),
        ],
      },
    ));

  test.each([[[0, 4, 1, 1]], [[0, -1, 1, 1]], [[0, 1, 7, 1]]])("refuses the index in %j", async (indices) => {
    const batch = { x: whole(indices, [2, 2]), y: real([0, 0], [2]) };
    const run = valueAndGrad(model(), (z) => z.sum(), batch, { engine });
    const odd = indices.findIndex((i) => i < 0 || i > 3);
    const message = `batch x: index ${indices[odd]} of sample ${Math.floor(odd / 2)} is out of range, expected 0 to 3`;
    await expect(run).rejects.toThrow(message);
    await expect(run).rejects.toThrow(DataError);
    await expect(model().predict(batch.x, { engine })).rejects.toThrow(message);
  });

  test("an index is found through what only moves it", async () => {
    const moved = nn.fromFunction({ table }, (p, x) => nn.embedding(x!.t().reshape(-1, 1), p.table));
    const batch = { x: whole([0, 4], [1, 2]), y: real([0]) };
    await expect(valueAndGrad(moved, (z) => z.sum(), batch, { engine })).rejects.toThrow(/index 4 of sample 0/);
  });

  test("one that is fixed is checked while the model is traced", async () => {
    const fixed = nn.fromFunction({ table }, (p) => nn.embedding(nn.constant(whole([0, -1])), p.table));
    await expect(valueAndGrad(fixed, (z) => z.sum(), undefined, { engine })).rejects.toThrow(
      "index -1 is out of range, expected 0 to 3",
    );
  });

  test("a padding index has a row without derivative", async () => {
    const x = whole([3, 0, 3, 1], [2, 2]);
    const run = async (paddingIdx: number) => {
      const padded = nn.fromFunction({ table }, (p, t) => nn.embedding(t!, p.table, paddingIdx).square());
      const { loss, gradient } = await valueAndGrad(padded, (z) => z.sum(), { x, y: real([0, 0]) }, { engine });
      return [loss, ...gradient.table!.data];
    };
    expect(await run(3)).toEqual([36 + 49 + 1 + 36 + 49 + 4 + 9, 0, 2, 4, 6, 0, 0, 0, 0]);
    expect(await run(-1)).toEqual(await run(3));
  });

  test("a layer's padding row starts as zeros", async () => {
    const { weight } = await new nn.Embedding(3, 2, { paddingIdx: -2 }).stateDict();
    expect([...weight!.data].map((value) => value === 0)).toEqual([false, false, true, true, false, false]);
    expect(() => new nn.Embedding(3, 2, { paddingIdx: 3 })).toThrow(
      "Embedding: paddingIdx must be below 3, the number of rows; found 3",
    );
    expect(() => new nn.Embedding(3, 2, { paddingIdx: -4 })).toThrow(OptionError);
    expect(() => new nn.Embedding(3, 2, { padding: 0 } as never)).toThrow(/unknown option "padding"/);
  });

  test("refuses real indices and tables that are none", async () => {
    const batch = { x: real([0, 1]), y: real([0, 1]) };
    await expect(valueAndGrad(model(), (z) => z.sum(), batch, { engine })).rejects.toThrow(
      /embedding: expected whole-number indices .* found float\[batch\] and \[4, 2\]/,
    );
  });
});
