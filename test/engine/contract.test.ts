import { afterAll, describe, expect, test } from "vitest";
import type { Engine } from "../../src/engine/index.ts";
import { OrtNodeEngine } from "../../src/engine/ort-node.ts";
import { afterParts, BATCH, checkGraph, GraphBuilder, graphOf, type Node } from "../../src/graph/index.ts";
import * as o from "../../src/ops/index.ts";
import { DisposedError, GraphError, ShapeError } from "../../src/util/errors.ts";
import { checkValue } from "../support/check-value.ts";
import { assertClose } from "../support/close.ts";
import { type EngineUnderTest, engines } from "../support/engines.ts";
import { fusedCases } from "../support/fused-cases.ts";
import { allCases } from "../support/primitive-cases.ts";
import { type Arrays, checkedGraph, compiled, evaluate, numbers, real, whole } from "../support/run.ts";

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

describe.each(engines)("$label", ({ make, tolerance, skip }: EngineUnderTest) => {
  const engine = make();
  afterAll(() => engine.dispose());

  /** A test of the contract; an engine's reason to skip it becomes its title. */
  const contract = (title: string, check: () => Promise<void>): void => {
    const reason = skip[title];
    if (reason === undefined) test(title, check);
    else test.skip(`${title}: ${reason}`, check);
  };

  /** The engine's own values of some outputs. */
  const run = (outputs: Readonly<Record<string, Node>>, feeds: Arrays = {}) => evaluate(outputs, feeds, engine);

  describe("values agree with the oracle, at batch sizes 1, 3 and 7 of one session", () => {
    for (const [primitive, item] of allCases)
      contract(`${primitive}: ${item.name}`, () => checkValue(engine, item, tolerance));
  });

  describe("what is lowered together", () => {
    for (const item of fusedCases) contract(item.name, () => checkValue(engine, item, tolerance));
  });

  contract("a factor beside a matrix product keeps the engine's precision", async () => {
    const b = new GraphBuilder();
    const x = o.input(b, "x", [2, 2]);
    const outputs = {
      left: o.matmul(b, o.scale(b, x, -0.7), x),
      right: o.matmul(b, x, o.scale(b, x, 0.3)),
      after: o.scale(b, o.matmul(b, x, o.transposeLast(b, x)), 1.1),
    };
    const feeds = { x: real([1, 2, 3, 4], [2, 2]) };
    const [found, expected] = [await run(outputs, feeds), await evaluate(outputs, feeds)];
    for (const name of Object.keys(outputs))
      assertClose(numbers(found[name]), numbers(expected[name]), tolerance, name);
  });

  contract("sums over the parts of a batch are given to what comes after", async () => {
    const part = new GraphBuilder();
    const x = o.input(part, "x", [BATCH, 2]);
    const turned = o.input(part, "turned", [2, { factor: 2, power: 1 }]);
    const chosen = o.indexSelect(part, o.input(part, "table", [3]), o.input(part, "y", [BATCH], "int"), 0);
    const size = { name: "size", node: o.input(part, "size", []) };
    const ahead = {
      graph: graphOf({
        matrix: o.matmul(part, turned, o.reshape(part, o.concat(part, [x, x], 1), [{ factor: 2, power: 1 }, 2])),
        // Each part adds its square, so that the sum tells how the batch was cut.
        square: o.mul(part, o.sum(part, chosen), o.sum(part, chosen)),
      }),
      size,
    };
    const b = new GraphBuilder();
    const [matrix, square] = [o.input(b, "matrix", [2, 2]), o.input(b, "square", [])];
    const table = o.input(b, "table", [3]);
    const outputs = new Map([
      ["doubled", o.scale(b, matrix, 2)],
      ["square", square],
      ["left", o.sub(b, table, o.broadcast(b, square, [3]))],
    ]);
    const graph = afterParts(graphOf(outputs), ahead);
    checkGraph(graph);
    const feeds = {
      x: real([1, 2, 3, 4, 5, 6, 7, 8], [4, 2]),
      turned: real([1, -1, 2, 0, 1, 1, -2, 3, 0, 1, 0, 0, 4, 1, 1, 2], [2, 8]),
      y: whole([0, 2, 1, 2]),
      table: real([1, 10, 100]),
    };
    const program = await compiled(engine, graph);
    for (const [samples, expected] of [
      [4, 211 ** 2],
      [2, 101 ** 2 + 110 ** 2],
      [1, 1 + 100 ** 2 + 10 ** 2 + 100 ** 2],
    ] as const) {
      const found = await program.run({ ...feeds, size: real([samples], []) });
      expect(numbers(found.doubled)).toEqual([46, 56, 94, 112]);
      expect(numbers(found.square)).toEqual([expected]);
      expect(numbers(found.left)).toEqual([1 - expected, 10 - expected, 100 - expected]);
    }
    await program.dispose();
  });

  describe("NaN and infinity", () => {
    const { exp, log, reciprocal, sqrt, tanh, sigmoid, softplus, relu, minZero, elu, erf, gelu, abs, sin, cos, sign } =
      o;
    const unary = {
      exp,
      log,
      reciprocal,
      sqrt,
      tanh,
      sigmoid,
      softplus,
      relu,
      minZero,
      elu,
      erf,
      gelu,
      abs,
      sin,
      cos,
      sign,
    };
    for (const [name, f] of Object.entries(unary))
      contract(`${name} passes NaN on`, async () => {
        const b = new GraphBuilder();
        // Longer than any vector register, and NaN in the vectorised part and the rest.
        const data = Array.from({ length: 19 }, (_, i) => (i === 2 || i === 18 ? nan : 1));
        const { z } = await run({ z: f(b, o.input(b, "x", [19])) }, { x: real(data) });
        expect(numbers(z).map(Number.isNaN)).toEqual(data.map(Number.isNaN));
      });

    for (const [name, f] of Object.entries({ add: o.add, sub: o.sub, mul: o.mul }))
      contract(`${name} passes NaN on from both sides`, async () => {
        const b = new GraphBuilder();
        const z = f(b, o.input(b, "x", [3]), o.input(b, "y", [3]));
        const found = await run({ z }, { x: real([nan, 1, inf]), y: real([1, nan, 1]) });
        expect(numbers(found.z)).toEqual([nan, nan, inf]);
      });

    contract("pow, scale, sum and matmul pass NaN on", async () => {
      const b = new GraphBuilder();
      const x = o.input(b, "x", [2, 2]);
      const outputs = {
        pow: o.pow(b, x, 3),
        scale: o.scale(b, x, 2),
        sum: o.sum(b, x, [1]),
        matmul: o.matmul(b, x, x),
      };
      const found = await run(outputs, { x: real([1, 2, nan, 3], [2, 2]) });
      expect(numbers(found.pow)).toEqual([1, 8, nan, 27]);
      expect(numbers(found.scale)).toEqual([2, 4, nan, 6]);
      expect(numbers(found.sum)).toEqual([3, nan]);
      expect(numbers(found.matmul)).toEqual([nan, 8, nan, nan]);
    });

    contract("x times its own sigmoid, which engines may fuse", async () => {
      const b = new GraphBuilder();
      const x = o.input(b, "x", [3]);
      const found = await run({ y: o.mul(b, x, o.sigmoid(b, x)) }, { x: real([0, 1, -2], [3]) });
      const exact = [0, 1 / (1 + Math.exp(-1)), -2 / (1 + Math.exp(2))];
      numbers(found.y).forEach((value, i) => {
        expect(value).toBeCloseTo(exact[i]!, 6);
      });
    });

    contract("max passes NaN on, and so does the maximum at the chosen index", async () => {
      const b = new GraphBuilder();
      const x = o.input(b, "x", [3, 3]);
      const outputs = { max: o.max(b, x, 1), chosen: o.gather(b, x, o.argmax(b, x, 1), 1) };
      const found = await run(outputs, { x: real([1, nan, 3, nan, 2, 1, 1, 2, nan], [3, 3]) });
      expect(numbers(found.max)).toEqual([nan, nan, nan]);
      expect(numbers(found.chosen)).toEqual([nan, nan, nan]);
    });

    contract("what a maximum that looks for no NaN shifts is summed to NaN where an entry is", async () => {
      const b = new GraphBuilder();
      const x = o.input(b, "x", [3, 3]);
      const max = o.max(b, x, 1, { ofNaN: "any" });
      const found = await run(
        { max: o.slice(b, max, 0, 2, 3), sum: o.sum(b, o.exp(b, o.sub(b, x, o.broadcast(b, max, [3, 3]))), [1]) },
        { x: real([nan, 1, 2, 3, nan, 1, 5, 5, -inf], [3, 3]) },
      );
      expect(numbers(found.max)).toEqual([5]);
      expect(numbers(found.sum)).toEqual([nan, nan, 2]);
    });

    contract("sums of all of many entries, and of some that are not finite", async () => {
      const b = new GraphBuilder();
      const shape = [3, 300, 300];
      const outputs = { sum: o.sum(b, o.input(b, "x", shape)), whole: o.sum(b, o.input(b, "n", [600, 500], "int")) };
      const n = { shape: [600, 500], data: Int32Array.from({ length: 300000 }, (_, i) => i % 7) };
      const data = Array.from({ length: 270000 }, (_, i) => (i % 11) - 5);
      const expected = (values: ArrayLike<number>): number => Array.from(values).reduce((sum, x) => sum + x, 0);
      const found = await run(outputs, { x: real(data, shape), n });
      expect([numbers(found.sum), numbers(found.whole)]).toEqual([[expected(data)], [expected(n.data)]]);
      const infinite = await run(outputs, { x: real(data.with(70000, inf), shape), n });
      const undefinedSum = await run(outputs, { x: real(data.with(7, nan), shape), n });
      expect([numbers(infinite.sum), numbers(undefinedSum.sum)]).toEqual([[inf], [nan]]);
    });

    contract("maxPool passes NaN on, and so does the entry that it chooses; infinities it compares", async () => {
      const b = new GraphBuilder();
      const x = o.input(b, "x", [1, 1, 12]);
      const attrs = { kernel: [3], stride: [3], before: [0], after: [0], dilation: [1] };
      const index = o.reshape(b, o.maxPoolIndex(b, x, attrs), [1, 1, 4]);
      const outputs = { max: o.maxPool(b, x, attrs), chosen: o.gather(b, x, index, 2) };
      const found = await run(outputs, {
        x: real([1, nan, 3, nan, nan, nan, -inf, 1, -inf, -inf, -inf, -inf], [1, 1, 12]),
      });
      expect(numbers(found.max)).toEqual([nan, nan, 1, -inf]);
      expect(numbers(found.chosen)).toEqual([nan, nan, 1, -inf]);
    });

    contract("what maxPool's entries get back goes to them alone, also NaN and infinity", async () => {
      const b = new GraphBuilder();
      const [x, z] = [o.input(b, "x", [1, 1, 6]), o.input(b, "z", [1, 1, 3])];
      const index = o.maxPoolIndex(b, x, { kernel: [2], stride: [2], before: [0], after: [0], dilation: [1] });
      const outputs = { image: o.scatterAdd(b, z, o.reshape(b, index, [1, 1, 3]), 2, 6) };
      const found = await run(outputs, { x: real([1, 3, 2, 0, 9, 8], [1, 1, 6]), z: real([nan, inf, -2], [1, 1, 3]) });
      expect(numbers(found.image)).toEqual([0, nan, inf, 0, -2, 0]);
    });

    contract("the entries that maxPool chooses, read from another shape of the image, are no maxima", async () => {
      const b = new GraphBuilder();
      const x = o.input(b, "x", [1, 2, 4]);
      const index = o.maxPoolIndex(b, x, { kernel: [2], stride: [2], before: [0], after: [0], dilation: [1] });
      const outputs = { read: o.gather(b, o.reshape(b, x, [1, 8]), o.reshape(b, index, [1, 4]), 1) };
      const found = await run(outputs, { x: real([1, 3, 2, 0, 9, 8, 7, 6], [1, 2, 4]) });
      expect(numbers(found.read)).toEqual([3, 2, 1, 2]);
    });

    contract("a convolution passes NaN and infinity on, to what they meet", async () => {
      const b = new GraphBuilder();
      const attrs = { stride: [2], before: [0], after: [0], dilation: [1], groups: 1 };
      const [x, w, y] = [o.input(b, "x", [1, 1, 6]), o.input(b, "w", [1, 1, 2]), o.input(b, "y", [1, 1, 3])];
      const outputs = {
        conv: o.conv(b, x, w, attrs),
        input: o.convInput(b, y, w, { ...attrs, size: [6] }),
        weight: o.convWeight(b, x, y, { ...attrs, kernel: [2] }),
      };
      const found = await run(outputs, {
        x: real([nan, 1, 1, 2, inf, 1], [1, 1, 6]),
        w: real([1, 2], [1, 1, 2]),
        y: real([1, nan, -inf], [1, 1, 3]),
      });
      expect(numbers(found.conv)).toEqual([nan, 5, inf]);
      expect(numbers(found.input)).toEqual([1, 2, nan, nan, -inf, -inf]);
      expect(numbers(found.weight)).toEqual([nan, nan]);
    });

    contract("max and argmax keep NaN and infinities apart, along any axis", async () => {
      const b = new GraphBuilder();
      const rows: readonly (readonly [row: readonly number[], max: number, at: number])[] = [
        [[1, inf, nan, nan, 2], nan, 2],
        [[nan, inf, 0, 0, 0], nan, 0],
        [[1, 2, 3, inf, nan], nan, 4],
        [[-inf, inf, 1, 2, inf], inf, 1],
        [[-inf, -inf, -inf, -1, -inf], -1, 3],
        [[-inf, -inf, -inf, -inf, -inf], -inf, 0],
        [[-3e38, 3e38, -3e38, -3e38, 3e38], Math.fround(3e38), 1],
      ];
      const x = o.input(b, "x", [rows.length, 5]);
      const turned = o.transposeLast(b, x);
      const outputs = {
        max: o.max(b, x, 1),
        at: o.argmax(b, x, 1),
        maxOuter: o.max(b, turned, 0),
        atOuter: o.argmax(b, turned, 0),
      };
      const data = rows.flatMap(([row]) => row.map(Math.fround));
      const found = await run(outputs, { x: real(data, [rows.length, 5]) });
      for (const each of [found.max, found.maxOuter]) expect(numbers(each)).toEqual(rows.map(([, max]) => max));
      for (const each of [found.at, found.atOuter]) expect(numbers(each)).toEqual(rows.map(([, , at]) => at));
    });

    contract("erf is right from end to end", async () => {
      const b = new GraphBuilder();
      // Values of the C library, which are right to the last place or so.
      const values: readonly (readonly [number, number])[] = [
        [0, 0],
        [2 ** -30, 1.050884991041862e-9],
        [0.5, 0.5204998778130465],
        [-1, -0.8427007929497149],
        [2, 0.9953222650189527],
        [3.5, 0.9999992569016276],
        [6, 1],
        [-6.5, -1],
        [1e30, 1],
        [-inf, -1],
      ];
      const { z } = await run({ z: o.erf(b, o.input(b, "x", [values.length])) }, { x: real(values.map(([x]) => x)) });
      assertClose(
        numbers(z),
        values.map(([, erf]) => erf),
        { absolute: 0, relative: Math.max(tolerance.relative ?? 0, 1e-15) },
        "erf",
      );
      expect(numbers(z)[1]! / 1.050884991041862e-9).toBeCloseTo(1, 6);
    });

    contract("derivatives of gelu are finite far out", async () => {
      const b = new GraphBuilder();
      const z = o.gelu(b, o.input(b, "x", [2]));
      const { op } = z;
      if (op.kind !== "elementwise") throw new Error("gelu goes entry by entry");
      const slopes = {
        first: op.derivative(b, z, 1)!,
        second: op.derivative(b, z, 2)!,
        third: op.derivative(b, z, 3)!,
      };
      const { first, second, third } = await run(slopes, { x: real([1e30, -1e30]) });
      assertClose([first, second, third].flatMap(numbers), [1, 0, 0, 0, 0, 0], { absolute: 0, relative: 0 }, "slopes");
    });

    contract("softmax passes NaN and infinity on, and gives hidden entries 0", async () => {
      const b = new GraphBuilder();
      const z = o.softmax(b, o.input(b, "x", [4, 3]), 1);
      const found = await run({ z }, { x: real([nan, 1, 2, 1, 2, nan, 1, inf, 2, -inf, 1, 1], [4, 3]) });
      expect(numbers(found.z)).toEqual([...Array(9).fill(nan), 0, 0.5, 0.5]);
    });

    contract("log-softmax passes NaN on, wherever it is", async () => {
      const b = new GraphBuilder();
      const x = o.input(b, "x", [3, 3]);
      const shifted = o.sub(b, x, o.stopGradient(b, o.max(b, x, 1)));
      const z = o.sub(b, shifted, o.log(b, o.sumKeep(b, o.exp(b, shifted), [1])));
      const found = await run({ z }, { x: real([nan, 1, 2, 1, nan, 2, 1, 2, nan], [3, 3]) });
      expect(numbers(found.z).every(Number.isNaN)).toBe(true);
    });

    contract("comparisons with NaN are false", async () => {
      const b = new GraphBuilder();
      const [x, y] = [o.input(b, "x", [3]), o.input(b, "y", [3])];
      const found = await run(
        {
          greater: o.greater(b, x, y),
          atLeast: o.greaterEqual(b, x, y),
          equal: o.equal(b, x, y),
          where: o.where(b, o.greater(b, x, y), x, y),
        },
        { x: real([nan, 1, nan]), y: real([1, nan, nan]) },
      );
      expect(numbers(found.greater)).toEqual([0, 0, 0]);
      expect(numbers(found.atLeast)).toEqual([0, 0, 0]);
      expect(numbers(found.equal)).toEqual([0, 0, 0]);
      expect(numbers(found.where)).toEqual([1, nan, nan]);
    });

    contract("infinities arise and cancel as in IEEE 754", async () => {
      const b = new GraphBuilder();
      const x = o.input(b, "x", [3]);
      const huge = o.exp(b, o.scale(b, x, 1000));
      const outputs = {
        exp: huge,
        log: o.log(b, o.scale(b, x, 0)),
        reciprocal: o.reciprocal(b, o.abs(b, o.scale(b, x, 0))),
        difference: o.sub(b, huge, huge),
        tanh: o.tanh(b, o.mul(b, huge, x)),
        softplus: o.softplus(b, o.scale(b, x, -1000)),
        sqrt: o.sqrt(b, o.scale(b, x, -1)),
      };
      const found = await run(outputs, { x: real([1, 2, 3]) });
      const same = (value: number): number[] => [value, value, value];
      expect(numbers(found.exp)).toEqual(same(inf));
      expect(numbers(found.log)).toEqual(same(-inf));
      expect(numbers(found.reciprocal)).toEqual(same(inf));
      expect(numbers(found.difference)).toEqual(same(nan));
      expect(numbers(found.tanh)).toEqual(same(1));
      expect(numbers(found.softplus)).toEqual(same(0));
      expect(numbers(found.sqrt)).toEqual(same(nan));
    });

    contract("constants that are not finite stay apart", async () => {
      const b = new GraphBuilder();
      const outputs = { a: o.constant(b, [nan], [1]), b: o.constant(b, [inf], [1]), c: o.constant(b, [-inf], [1]) };
      const found = await run(outputs);
      expect([found.a, found.b, found.c].flatMap(numbers)).toEqual([nan, inf, -inf]);
    });

    contract("constants 0 and −0 stay apart", async () => {
      const b = new GraphBuilder();
      const [zero, minus] = [o.constant(b, [0], [1]), o.constant(b, [-0], [1])];
      const found = await run({ a: o.reciprocal(b, zero), b: o.reciprocal(b, minus) });
      expect([found.a, found.b].flatMap(numbers)).toEqual([inf, -inf]);
    });
  });

  describe("inputs", () => {
    const b = new GraphBuilder();
    const [x, w] = [o.input(b, "x", [BATCH, 3]), o.input(b, "weight", [3])];
    const index = o.input(b, "index", [BATCH, 1], "int");
    const graph = checkedGraph({ z: o.add(b, o.mul(b, x, w), o.cast(b, index, "float")) });
    const good = { x: real([1, 2, 3, 4, 5, 6], [2, 3]), weight: real([1, 2, 3]), index: whole([0, 1], [2, 1]) };
    const wrong: [string, Arrays, RegExp][] = [
      ["missing", { x: good.x, index: good.index }, /weight.*missing.*float\[3\]/],
      ["of another rank", { ...good, weight: real([1, 2, 3], [1, 3]) }, /weight.*expected.*\[3\].*found.*\[1, 3\]/],
      ["of another length", { ...good, weight: real([1, 2]) }, /weight.*expected.*\[3\].*found.*\[2\]/],
      ["of another batch", { ...good, index: whole([0, 1, 0], [3, 1]) }, /index.*batch.*found.*\[3, 1\]/],
      ["of whole numbers", { ...good, weight: whole([1, 2, 3]) }, /weight.*expected float.*found int/],
      ["of real numbers", { ...good, index: real([0, 1], [2, 1]) }, /index.*expected int.*found float/],
    ];
    for (const [title, feeds, message] of wrong)
      contract(`an input ${title} is named, and the session goes on`, async () => {
        const program = await compiled(engine, graph);
        await expect(program.run(feeds)).rejects.toThrow(ShapeError);
        await expect(program.run(feeds)).rejects.toThrow(message);
        expect(numbers((await program.run(good)).z)).toEqual([1, 4, 9, 5, 11, 19]);
        await program.dispose();
      });

    contract("a batch axis of 2 B refuses an odd length", async () => {
      const pairs = o.input(b, "pairs", [{ factor: 2, power: 1 }]);
      await expect(run({ z: o.tanh(b, pairs) }, { pairs: real([1, 2, 3]) })).rejects.toThrow(/pairs.*2\*batch/);
    });

    contract("an input with B² comes before the one that tells B", async () => {
      const square = o.input(b, "square", [{ factor: 1, power: 2 }]);
      const other = o.input(b, "other", [BATCH]);
      const z = o.add(b, o.reshape(b, square, [BATCH, BATCH]), other);
      const found = await run({ z }, { square: real([1, 2, 3, 4]), other: real([10, 20]) });
      expect(numbers(found.z)).toEqual([11, 22, 13, 24]);
    });

    contract("a graph that grows with the batch needs an input that has it", async () => {
      const z = o.broadcast(b, o.input(b, "one", []), [BATCH]);
      await expect(run({ z }, { one: real([1], []) })).rejects.toThrow(GraphError);
    });

    contract("any name will do", async () => {
      const own = new GraphBuilder();
      const names = ["Add_0", "constant_0", "Tanh_1", "out:z", "a b/c", "β"];
      const inputs = names.map((name) => o.input(own, name, [1]));
      const total = inputs.reduce((left, right) => o.add(own, left, right));
      const z = o.tanh(own, o.scale(own, total, 0.125));
      const found = await run({ z }, Object.fromEntries(names.map((name, i) => [name, real([i])])));
      assertClose(numbers(found.z), [Math.tanh(15 / 8)], { relative: 1e-6 }, "z");
    });

    contract("bools go back in as they came out", async () => {
      const own = new GraphBuilder();
      const v = o.input(own, "v", [2]);
      const first = await engine.compile(checkedGraph({ mask: o.greater(own, v, o.scalar(own, 0)) }));
      const given = o.where(own, o.input(own, "mask", [2], "bool"), v, o.scale(own, v, -2));
      const second = await engine.compile(checkedGraph({ z: given }));
      const inputs = { v: await engine.upload(real([1, -3])) };
      const { mask } = await first.run(inputs);
      const { z } = await second.run({ ...inputs, mask: mask! });
      expect(numbers(await engine.read(mask!))).toEqual([1, 0]);
      expect(numbers(await engine.read(z!))).toEqual([1, 6]);
      await Promise.all([first.dispose(), second.dispose()]);
    });

    contract("whole numbers come from any integer array", async () => {
      const own = new GraphBuilder();
      const z = o.input(own, "i", [3], "int");
      for (const data of [Int32Array.of(1, -2, 3), Uint8Array.of(1, 254, 3), BigInt64Array.of(1n, -2n, 3n)]) {
        const found = await run({ z }, { i: { shape: [3], data } });
        expect(found.z!.data).toEqual(Int32Array.from(data as ArrayLike<number | bigint>, Number));
      }
    });
  });

  describe("outputs", () => {
    contract(
      "an input, a constant, one node twice, a repeated node, and values that depend on one another",
      async () => {
        const b = new GraphBuilder();
        const x = o.input(b, "x", [2]);
        const y = o.tanh(b, o.scale(b, x, 0));
        const repeated = o.broadcast(b, y, [2, 2]);
        const found = await run(
          {
            x,
            again: x,
            held: o.stopGradient(b, x),
            constant: o.constant(b, [4, 5], [2]),
            y,
            twin: y,
            held2: o.stopGradient(b, y),
            repeated,
            next: o.exp(b, y),
            sum: o.add(b, y, o.constant(b, [1, 2, 3, 4], [2, 2])),
          },
          { x: real([1, 2]) },
        );
        expect(numbers(found.x)).toEqual([1, 2]);
        expect(numbers(found.again)).toEqual([1, 2]);
        expect(numbers(found.held)).toEqual([1, 2]);
        expect(numbers(found.constant)).toEqual([4, 5]);
        for (const name of ["y", "twin", "held2"]) expect(numbers(found[name])).toEqual([0, 0]);
        expect(numbers(found.repeated)).toEqual([0, 0, 0, 0]);
        expect(numbers(found.next)).toEqual([1, 1]);
        expect(numbers(found.sum)).toEqual([1, 2, 3, 4]);
      },
    );

    contract("an output has its own memory", async () => {
      const b = new GraphBuilder();
      const x = o.input(b, "x", [2]);
      const session = await engine.compile(
        checkedGraph({ x, held: o.stopGradient(b, x), flat: o.reshape(b, x, [2, 1]) }),
      );
      const given = await engine.upload(real([1, 2]));
      const outputs = await session.run({ x: given }, [given]);
      await expect(engine.read(given)).rejects.toThrow(DisposedError);
      for (const name of ["x", "held", "flat"]) {
        expect(numbers(await engine.read(outputs[name]!))).toEqual([1, 2]);
        engine.release(outputs[name]!);
      }
      await session.dispose();
    });

    contract("reading copies", async () => {
      const tensor = await engine.upload(real([1, 2]));
      const first = await engine.read(tensor);
      first.data.fill(9 as never);
      expect(numbers(await engine.read(tensor))).toEqual([1, 2]);
    });
  });

  describe("lifetimes", () => {
    const b = new GraphBuilder();
    const x = o.input(b, "x", [2]);
    const graph = checkedGraph({ z: o.mul(b, x, x) });

    contract("a released tensor cannot be read or run, and releasing twice does no harm", async () => {
      const session = await engine.compile(graph);
      const tensor = await engine.upload(real([1, 2]));
      engine.release(tensor);
      engine.release(tensor);
      await expect(engine.read(tensor)).rejects.toThrow(DisposedError);
      await expect(session.run({ x: tensor })).rejects.toThrow(DisposedError);
      await session.dispose();
    });

    contract("a tensor that is not donated stays", async () => {
      const session = await engine.compile(graph);
      const tensor = await engine.upload(real([3, 2]));
      for (let step = 0; step < 3; step++) {
        const { z } = await session.run({ x: tensor });
        expect(numbers(await engine.read(z!))).toEqual([9, 4]);
      }
      await session.dispose();
    });

    contract("runs at the same time do not mix", async () => {
      const program = await compiled(engine, graph);
      const runs = Array.from({ length: 8 }, (_, i) => program.run({ x: real([i, -i]) }));
      const found = (await Promise.all(runs)).map(({ z }) => numbers(z));
      expect(found).toEqual(Array.from({ length: 8 }, (_, i) => [i * i, i * i]));
      await program.dispose();
    });

    contract("a run can be given what another one gives that has only begun, and free it", async () => {
      const b = new GraphBuilder();
      const x = o.input(b, "x", [3]);
      const session = await engine.compile(checkedGraph({ y: o.mul(b, x, o.add(b, x, x)) }));
      const given = await engine.upload(real([1, 2, 3]));
      const { live } = engine.tensors;
      const first = await session.begin({ x: given });
      const second = await session.begin({ x: first.outputs.y! }, [first.outputs.y!]);
      const third = await session.begin({ x: second.outputs.y! });
      engine.release(second.outputs.y!);
      await Promise.all([first.done, second.done, third.done]);
      // 2 (2 (2 x²)²)²
      expect(numbers(await engine.read(third.outputs.y!))).toEqual([1, 2, 3].map((value) => 128 * value ** 8));
      expect(engine.tensors.live).toBe(live + 1);
      engine.release(given, third.outputs.y!);
      await session.dispose();
    });

    contract("a disposed session cannot run; others can", async () => {
      const [one, two] = [await compiled(engine, graph), await compiled(engine, graph)];
      await one.dispose();
      await one.dispose();
      await expect(one.run({ x: real([1, 2]) })).rejects.toThrow(DisposedError);
      expect(numbers((await two.run({ x: real([1, 2]) })).z)).toEqual([1, 4]);
      await two.dispose();
    });

    contract("disposing in the middle of a run lets it end, or says why not", async () => {
      const program = await compiled(engine, graph);
      const running = program.run({ x: real([1, 2]) }).then(
        ({ z }) => numbers(z),
        (error: unknown) => error,
      );
      await program.dispose();
      const outcome = await running;
      if (outcome instanceof Error) expect(outcome).toBeInstanceOf(DisposedError);
      else expect(outcome).toEqual([1, 4]);
    });

    contract("sessions are counted", async () => {
      const own: Engine = make();
      expect(own.sessions).toEqual({ compiled: 0, live: 0 });
      const [one, two] = [await own.compile(graph), await own.compile(graph)];
      expect(own.sessions).toEqual({ compiled: 2, live: 2 });
      const given = await own.upload(real([1, 2]));
      await one.run({ x: given });
      await one.run({ x: given });
      expect(own.sessions).toEqual({ compiled: 2, live: 2 });
      await one.dispose();
      await one.dispose();
      expect(own.sessions).toEqual({ compiled: 2, live: 1 });
      await own.dispose();
      expect(own.sessions).toEqual({ compiled: 2, live: 0 });
      await expect(two.run({ x: given })).rejects.toThrow(DisposedError);
      await two.dispose();
      expect(own.sessions).toEqual({ compiled: 2, live: 0 });
    });

    contract("tensors are counted", async () => {
      const own: Engine = make();
      const session = await own.compile(graph);
      const [kept, given] = [await own.upload(real([1, 2])), await own.upload(real([3, 4]))];
      expect(own.tensors).toEqual({ live: 2 });
      const { z } = await session.run({ x: given }, [given]);
      expect(own.tensors).toEqual({ live: 2 });
      own.release(given, z!);
      own.release(z!);
      expect(own.tensors).toEqual({ live: 1 });
      await own.dispose();
      expect(own.tensors).toEqual({ live: 0 });
      own.release(kept);
      expect(own.tensors).toEqual({ live: 0 });
    });

    contract("a disposed engine does nothing any more, and says so", async () => {
      const own: Engine = make();
      const tensor = await own.upload(real([1, 2]));
      await own.dispose();
      await own.dispose();
      await expect(own.read(tensor)).rejects.toThrow(DisposedError);
      await expect(own.upload(real([1, 2]))).rejects.toThrow(DisposedError);
      await expect(own.compile(graph)).rejects.toThrow(DisposedError);
    });

    contract("disposing in the middle of compiling lets it end, or says why not", async () => {
      const own: Engine = make();
      const compiling = own.compile(graph).catch((error: unknown) => error);
      await own.dispose();
      const outcome = await compiling;
      if (outcome instanceof Error) expect(outcome).toBeInstanceOf(DisposedError);
      expect(own.sessions.live).toBe(0);
    });

    contract("tensors belong to one engine", async () => {
      const own: Engine = make();
      const tensor = await own.upload(real([1, 2]));
      await expect(engine.read(tensor)).rejects.toThrow(/another engine/);
      expect(() => engine.release(tensor)).toThrow(/another engine/);
      await own.dispose();
    });

    contract("an array that does not fill its shape is no tensor", async () => {
      await expect(engine.upload(real([1, 2], [3]))).rejects.toThrow(ShapeError);
    });
  });
});

test.each(["float32", "float64"] as const)("rows are added up whole on several threads, %s", async (precision) => {
  const engine = new OrtNodeEngine({ precision, threads: 4 });
  const b = new GraphBuilder();
  const [count, width] = [4096, 256];
  const [x, index] = [o.input(b, "x", [count, width]), o.input(b, "index", [count], "int")];
  const outputs = { short: o.indexAdd(b, x, index, 0, 3), long: o.indexAdd(b, x, index, 0, 300) };
  const feeds = {
    x: real(new Array(count * width).fill(1), [count, width]),
    index: whole(Array.from({ length: count }, (_, i) => (i % 4 === 0 ? 2 : 1))),
  };
  const program = await compiled(engine, checkedGraph(outputs));
  // A race shows only now and then.
  for (let trial = 0; trial < 30; trial++)
    for (const each of Object.values(await program.run(feeds))) {
      const rows = [0, 1, 2].map((row) => new Set((each.data as Float64Array).slice(width * row, width * (row + 1))));
      expect(rows).toEqual([new Set([0]), new Set([3072]), new Set([1024])]);
    }
  await engine.dispose();
});
