import { setTimeout } from "node:timers/promises";
import type { Engine, EngineTensor, Session } from "../src/engine/index.ts";
import { GraphBuilder, graphOf } from "../src/graph/index.ts";
import { init } from "../src/nn/index.ts";
import { input, matmul } from "../src/ops/index.ts";
import { Random } from "../src/util/random.ts";
import { mean, timed } from "./measure.ts";

const SIDE = 1024;
const LOOKS = 7;
/** In ms: the threads of ONNX Runtime wait actively for more work for a while, in the way of those of another session. */
const PAUSE = 30;

/** FLOPs of the product that everything is held against. */
export const PRODUCT_FLOPS: number = 2 * SIDE ** 3;

/** The yardstick: the engine's product of two matrices of 1024², as a session returns it. */
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
    const session = await engine.compile(graphOf({ z: matmul(b, x!, y!) }));
    const random = new Random(0);
    const matrix = () => engine.upload(init.uniform([SIDE, SIDE], { a: -1, random }));
    return new Product(engine, session, { x: await matrix(), y: await matrix() });
  }

  /** The mean time of some products, in ms, the first one not counted. */
  async look(): Promise<number> {
    await setTimeout(PAUSE);
    const times = await timed(async () => {
      const { z } = await this.#session.run(this.#inputs);
      this.#engine.release(z!);
    }, LOOKS + 1);
    await setTimeout(PAUSE);
    return mean(times.slice(1));
  }
}
