import { setTimeout } from "node:timers/promises";
import { expect, test } from "vitest";
import { PacedEngine } from "../../bench/paced.ts";
import type { Product } from "../../bench/product.ts";
import { type Engine, ReferenceEngine } from "../../src/engine/index.ts";
import { GraphBuilder, graphOf } from "../../src/graph/index.ts";
import { scalar } from "../../src/ops/index.ts";

test.each([1, 2, 3])(
  "a look at the product comes after %s runs that go side by side, and beside none",
  async (together) => {
    let running = 0;
    const beside: number[] = [];
    const own = new ReferenceEngine();
    const engine: Engine = Object.assign(Object.create(own) as Engine, {
      compile: async () => ({
        sideBySide: together,
        run: async () => {
          running++;
          await setTimeout(1);
          running--;
          return {};
        },
        dispose: async () => {},
      }),
    });
    const product = {
      look: async () => {
        beside.push(running);
        await setTimeout(1);
        beside.push(running);
        return 1;
      },
    } as unknown as Product;
    const paced = new PacedEngine(engine, product);
    const session = await paced.compile(graphOf({ z: scalar(new GraphBuilder(), 1) }));
    await session.run({});
    paced.start();
    await Promise.all(Array.from({ length: 7 }, () => session.run({})));
    const { looks, taken } = paced.stop();
    expect(looks).toHaveLength(Math.floor(7 / together));
    expect(taken).toBeGreaterThan(0);
    expect(new Set(beside)).toEqual(new Set([0]));
  },
);
