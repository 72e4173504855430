import { afterAll, describe, expect, test } from "vitest";
import { type Engine, type EngineTensor, ReferenceEngine, type Session } from "../../src/engine/index.ts";
import { OrtNodeEngine } from "../../src/engine/ort-node.ts";
import { BATCH, GraphBuilder, graphOf } from "../../src/graph/index.ts";
import * as o from "../../src/ops/index.ts";
import { DisposedError, GrnewtError } from "../../src/util/errors.ts";
import { numbers, real } from "../support/run.ts";

const b = new GraphBuilder();
/** Large enough that its outputs are written in place. */
const WIDTH = 2 ** 15;
const [x, w] = [o.input(b, "x", [BATCH, WIDTH]), o.input(b, "w", [WIDTH])];
/** x w for some samples, and the sum of that. */
const product = o.mul(b, x, o.broadcast(b, w, x.shape));
const graph = graphOf({ product, total: o.sum(b, product) });

const y = o.input(b, "y", [BATCH, WIDTH]);
const difference = graphOf({ z: o.sub(b, x, y) });

const engines: Readonly<Record<string, () => Engine>> = {
  reference: () => new ReferenceEngine(),
  "one thread": () => new OrtNodeEngine({ threads: 1 }),
  "two threads": () => new OrtNodeEngine({ threads: 2 }),
  "five threads": () => new OrtNodeEngine({ threads: 5 }),
  "three threads in float64": () => new OrtNodeEngine({ threads: 3, precision: "float64" }),
  "low memory": () => new OrtNodeEngine({ threads: 2, lowMemory: true }),
};

describe.each(Object.keys(engines))("%s", (name) => {
  const engine = engines[name]!();
  afterAll(() => engine.dispose());

  const upload = (value: number, samples?: number): Promise<EngineTensor> =>
    engine.upload(real(new Array((samples ?? 1) * WIDTH).fill(value), samples ? [samples, WIDTH] : [WIDTH]));
  const compile = (): Promise<Session> => engine.compile(graph, { sideBySide: true });
  const first = async (tensor: EngineTensor): Promise<number> => numbers(await engine.read(tensor))[0]!;

  test("so many runs go on at once as there are threads, four at most", async () => {
    const lanes = { "two threads": 2, "five threads": 4, "three threads in float64": 3 }[name] ?? 1;
    const session = await compile();
    expect([engine.lanes, session.sideBySide]).toEqual([lanes, lanes]);
    await session.dispose();
  });

  test("runs give what they would one after the other, and leave what was not donated", async () => {
    const session = await compile();
    const before = engine.tensors.live;
    for (const scale of [1, 2]) {
      const kept = await upload(scale);
      const runs = Array.from({ length: 9 }, async (_, i) => {
        const own = await upload(i, 1 + (i % 3));
        return await session.run({ x: own, w: kept }, [own]);
      });
      const found = await Promise.all(runs);
      expect(found.map(({ total }) => total!.shape)).toEqual(found.map(() => []));
      for (const [i, { product: made, total }] of found.entries()) {
        expect(await first(made!)).toBe(i * scale);
        expect(await first(total!)).toBe(i * scale * WIDTH * (1 + (i % 3)));
        engine.release(made!, total!);
      }
      expect(await first(kept)).toBe(scale);
      engine.release(kept);
    }
    expect(engine.tensors.live).toBe(before);
    await session.dispose();
  });

  test("what runs side by side have made is there for all other runs", async () => {
    const [session, rest] = [await compile(), await engine.compile(difference)];
    const kept = await upload(3);
    const before = engine.tensors.live;
    const make = async (value: number) => {
      const own = await upload(value, 2);
      const { product: made, total } = await session.run({ x: own, w: kept }, [own]);
      engine.release(total!);
      return made!;
    };
    const [one, two, three] = (await Promise.all([1, 5, 7].map(make))) as [EngineTensor, EngineTensor, EngineTensor];
    const { z } = await rest.run({ x: two, y: one }, [two]);
    expect(await first(z!)).toBe(12);
    await expect(engine.read(two)).rejects.toThrow(DisposedError);
    expect(await first(one)).toBe(3);
    const again = await Promise.all([session.run({ x: z!, w: kept }), session.run({ x: three, w: kept }, [three])]);
    expect(await Promise.all(again.map(({ total }) => first(total!)))).toEqual([72 * WIDTH, 126 * WIDTH]);
    engine.release(one, z!, ...again.flatMap((outputs) => Object.values(outputs)));
    expect(engine.tensors.live).toBe(before);
    engine.release(kept);
    for (const each of [session, rest]) await each.dispose();
  });

  test("what is released or disposed meanwhile is told, and the next runs are right", async () => {
    const session = await compile();
    const [kept, own] = [await upload(2), await upload(3, 1)];
    const running = session.run({ x: own, w: kept });
    engine.release(kept);
    const outcome = await running.then(
      ({ product: made }) => first(made!),
      (error: unknown) => error,
    );
    if (outcome !== 6) expect(outcome).toBeInstanceOf(DisposedError);
    await expect(session.run({ x: own, w: kept })).rejects.toThrow(DisposedError);
    const other = await upload(4);
    const { product: made } = await session.run({ x: own, w: other }, [own]);
    expect(await first(made!)).toBe(12);
    await session.dispose();
    await session.dispose();
    await expect(session.run({ x: made!, w: other })).rejects.toThrow(DisposedError);
    engine.release(made!, other);
  });
});

test("one tensor of another thread serves for two inputs, and is told where it is on its way elsewhere", async () => {
  const engine = new OrtNodeEngine({ threads: 2 });
  const [session, rest] = [await engine.compile(graph, { sideBySide: true }), await engine.compile(difference)];
  const kept = await engine.upload(real(new Array(WIDTH).fill(1), [WIDTH]));
  const make = async () => {
    const own = await engine.upload(real(new Array(WIDTH).fill(1), [1, WIDTH]));
    return (await session.run({ x: own, w: kept }, [own])).product!;
  };
  for (const each of await Promise.all([make(), make()])) {
    const first = rest.run({ x: each, y: each }, [each]);
    const second = rest.run({ x: each, y: each });
    const [found, late] = await Promise.allSettled([first, second]);
    expect(found.status).toBe("fulfilled");
    if (late.status === "rejected") expect(late.reason).toBeInstanceOf(GrnewtError);
  }
  await engine.dispose();
});

test("disposing twice at once ends both", async () => {
  const engine = new OrtNodeEngine({ threads: 2 });
  await engine.compile(graph, { sideBySide: true });
  await Promise.all([engine.dispose(), engine.dispose()]);
});

test("an engine can be disposed in the middle of runs", async () => {
  const engine = new OrtNodeEngine({ threads: 3 });
  const session = await engine.compile(graph, { sideBySide: true });
  const kept = await engine.upload(real(new Array(WIDTH).fill(1), [WIDTH]));
  const rest = await engine.compile(difference);
  const runs = Array.from({ length: 6 }, async () => {
    const own = await engine.upload(real(new Array(WIDTH).fill(1), [1, WIDTH]));
    const { product: made } = await session.run({ x: own, w: kept }, [own]);
    return await rest.run({ x: made!, y: made! }, [made!]);
  });
  const settled = Promise.allSettled(runs);
  await new Promise((resolve) => setTimeout(resolve, 1));
  await engine.dispose();
  for (const each of await settled) if (each.status === "rejected") expect(each.reason).toBeInstanceOf(DisposedError);
  expect([engine.sessions.live, engine.tensors.live]).toEqual([0, 0]);
});
