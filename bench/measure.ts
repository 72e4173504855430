import type { Engine, EngineTensor, Session } from "../src/engine/index.ts";
import { GraphBuilder, graphOf } from "../src/graph/index.ts";
import { init } from "../src/nn/index.ts";
import { input, matmul, slice } from "../src/ops/index.ts";
import { Random } from "../src/util/random.ts";
import type { Block } from "./request.ts";

const SIDE = 1024;
const LOOKS = 7;

/** FLOPs of the product that everything is held against. */
export const PRODUCT_FLOPS: number = 2 * SIDE ** 3;

/**
 * The yardstick: the engine's product of two matrices of 1024². Only one row of the result leaves the engine, so that
 * no copy of it is timed.
 */
export class Product {
  readonly #session: Session;
  readonly #inputs: Readonly<Record<string, EngineTensor>>;
  readonly #engine: Engine;

  private constructor(engine: Engine, session: Session, inputs: Readonly<Record<string, EngineTensor>>) {
    this.#engine = engine;
    this.#session = session;
    this.#inputs = inputs;
  }

  static async create(engine: Engine): Promise<Product> {
    const b = new GraphBuilder();
    const [x, y] = ["x", "y"].map((name) => input(b, name, [SIDE, SIDE]));
    const session = await engine.compile(graphOf({ row: slice(b, matmul(b, x!, y!), 0, 0, 1) }));
    const random = new Random(0);
    const matrix = () => engine.upload(init.uniform([SIDE, SIDE], 1, random));
    return new Product(engine, session, { x: await matrix(), y: await matrix() });
  }

  /** The median time of some products, in ms, the first one not counted. */
  async look(): Promise<number> {
    const times = await timed(async () => {
      const { row } = await this.#session.run(this.#inputs);
      this.#engine.release(row!);
    }, LOOKS + 1);
    return median(times.slice(1));
  }
}

/** Times some blocks of runs, the product before and after each. */
export async function measure(
  run: () => Promise<void>,
  product: Product,
  repeats: number,
  blocks: number,
): Promise<Block[]> {
  const measured: Block[] = [];
  for (let i = 0; i < blocks; i++) {
    const before = await product.look();
    const times = await timed(run, repeats);
    measured.push({ times, product: [before, await product.look()] });
  }
  return measured;
}

async function timed(run: () => Promise<void>, repeats: number): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < repeats; i++) {
    const begun = performance.now();
    await run();
    times.push(performance.now() - begun);
  }
  return times;
}

/** The middle one, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
}
