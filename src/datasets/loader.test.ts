import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DataError, OptionError, StateError } from "../util/errors.ts";
import type { Batch } from "../util/ndarray.ts";
import { Dataset } from "./dataset.ts";
import type { Draw } from "./draw.ts";
import { type BatchSource, Loader, type LoaderOptions, type LoaderState } from "./loader.ts";

const numbered = (length: number): Dataset => {
  const ids = Array.from({ length }, (_, i) => i);
  return Dataset.fromArrays(ids, ids);
};
const ids = (batch: Batch): number[] => Array.from(batch.y.data, Number);

async function epoch(loader: Loader): Promise<number[][]> {
  const batches: number[][] = [];
  for await (const batch of loader) batches.push(ids(batch));
  return batches;
}

async function drawn(loader: Loader, count: number): Promise<number[][]> {
  const batches: number[][] = [];
  for (let i = 0; i < count; i++) batches.push(ids(await loader.draw()));
  return batches;
}

async function firstOf(loader: Loader, count: number): Promise<number[][]> {
  const batches: number[][] = [];
  for await (const batch of loader) if (batches.push(ids(batch)) === count) break;
  return batches;
}

const throughJson = (state: LoaderState): LoaderState => JSON.parse(JSON.stringify(state));

const anyLoader = fc.record({
  length: fc.integer({ min: 1, max: 40 }),
  options: fc.record({ batchSize: fc.integer({ min: 1, max: 12 }), shuffle: fc.boolean(), seed: fc.integer() }),
});

describe("epochs", () => {
  it("keep the order unless shuffled, with a smaller last batch unless dropped", async () => {
    const loader = numbered(5).loader({ batchSize: 2 });
    expect([loader.length, loader.batchSize, loader.dataset.length]).toEqual([3, 2, 5]);
    expect(await epoch(loader)).toEqual([[0, 1], [2, 3], [4]]);
    const whole = numbered(5).loader({ batchSize: 2, dropLast: true });
    expect(whole.length).toBe(2);
    expect(await epoch(whole)).toEqual([
      [0, 1],
      [2, 3],
    ]);
  });

  it("are permutations, in batches of batchSize", async () => {
    const property = fc.asyncProperty(anyLoader, async ({ length, options }) => {
      const loader = numbered(length).loader(options);
      for (let e = 0; e < 3; e++) {
        const batches = await epoch(loader);
        expect(batches.length).toBe(loader.length);
        for (const batch of batches.slice(0, -1)) expect(batch.length).toBe(options.batchSize);
        expect(batches.flat().sort((a, b) => a - b)).toEqual(Array.from({ length }, (_, i) => i));
      }
    });
    await fc.assert(property);
  });

  it("differ from each other and between seeds, and recur for the same seed", async () => {
    const shuffled = (seed: number): Loader => numbered(50).loader({ batchSize: 50, shuffle: true, seed });
    const orders = async (loader: Loader): Promise<string[]> => [
      `${await epoch(loader)}`,
      `${await epoch(loader)}`,
      `${await epoch(loader)}`,
    ];
    const all = [...(await orders(shuffled(0))), ...(await orders(shuffled(1))), ...(await orders(shuffled(2)))];
    expect(new Set(all).size).toBe(9);
    expect(await orders(shuffled(1))).toEqual(all.slice(3, 6));
  });

  it("hold inputs and targets of the same samples", async () => {
    for await (const { x, y } of numbered(9).loader({ batchSize: 4, shuffle: true }))
      expect([...x.data]).toEqual([...y.data]);
  });

  it("put sources that answer later in order", async () => {
    const source = { length: 4, batch: async (positions: Uint32Array) => numbered(4).batch(positions) };
    const loader = new Loader(source, { batchSize: 2 });
    expect(await epoch(loader)).toEqual([
      [0, 1],
      [2, 3],
    ]);
    const [a, b, c] = await Promise.all([loader.draw(), loader.draw(), loader.draw()]);
    expect([a, b, c].map(ids)).toEqual([
      [0, 1],
      [2, 3],
      [0, 1],
    ]);
  });
});

describe("state", () => {
  const options = { batchSize: 2, shuffle: true, seed: 3 };

  it("counts the batch in hand and moves on after the last", async () => {
    const loader = numbered(5).loader(options);
    expect(loader.state).toEqual({ epoch: 0, position: 0, samples: 5, dropLast: false, ...options });
    const positions: number[] = [];
    for await (const _ of loader) positions.push(loader.state.position);
    expect(positions).toEqual([1, 2, 3]);
    expect(loader.state).toMatchObject({ epoch: 1, position: 0 });
  });

  it("resumes in the middle of an epoch as if never interrupted", async () => {
    const property = fc.asyncProperty(anyLoader, fc.nat(2), fc.nat(), async ({ length, options }, epochs, pick) => {
      const straight = numbered(length).loader(options);
      const stopped = numbered(length).loader(options);
      for (let e = 0; e < epochs; e++) expect(await epoch(stopped)).toEqual(await epoch(straight));
      const before = await firstOf(stopped, 1 + (pick % stopped.length));
      const resumed = numbered(length).loader(options);
      resumed.state = throughJson(stopped.state);
      expect(resumed.state).toEqual(stopped.state);
      expect([...before, ...(await epoch(resumed))]).toEqual(await epoch(straight));
      expect(await epoch(resumed)).toEqual(await epoch(straight));
      expect(resumed.state).toEqual(straight.state);
    });
    await fc.assert(property);
  });

  it("resumes draws", async () => {
    const property = fc.asyncProperty(anyLoader, fc.nat(30), async ({ length, options }, count) => {
      const straight = numbered(length).loader(options);
      const stopped = numbered(length).loader(options);
      expect(await drawn(stopped, count)).toEqual(await drawn(straight, count));
      const resumed = numbered(length).loader(options);
      resumed.state = throughJson(stopped.state);
      expect(await drawn(resumed, 10)).toEqual(await drawn(straight, 10));
    });
    await fc.assert(property);
  });

  it.each<[string, unknown]>([
    ["another data set", numbered(6).loader(options).state],
    ["another batch size", numbered(5).loader({ ...options, batchSize: 3 }).state],
    ["another seed", numbered(5).loader({ ...options, seed: 4 }).state],
    ["another order", numbered(5).loader({ ...options, shuffle: false }).state],
    ["other last batches", numbered(5).loader({ ...options, dropLast: true }).state],
    ["a position beyond the epoch", { ...numbered(5).loader(options).state, position: 4 }],
    ["a fractional epoch", { ...numbered(5).loader(options).state, epoch: 0.5 }],
    ["no epoch", { ...numbered(5).loader(options).state, epoch: undefined }],
    ["nothing", null],
  ])("of %s is refused and changes nothing", async (_, state) => {
    const loader = numbered(5).loader(options);
    await loader.draw();
    const before = loader.state;
    expect(() => {
      loader.state = state as LoaderState;
    }).toThrow(StateError);
    expect(loader.state).toEqual(before);
  });
});

describe("one place", () => {
  it("gives up the rest of an epoch that is broken out of", async () => {
    const loader = numbered(6).loader({ batchSize: 2, shuffle: true });
    const straight = numbered(6).loader({ batchSize: 2, shuffle: true });
    expect(await firstOf(loader, 1)).toEqual((await epoch(straight)).slice(0, 1));
    expect(loader.state).toMatchObject({ epoch: 0, position: 1 });
    expect(await epoch(loader)).toEqual(await epoch(straight));
  });

  it("draws epoch after epoch", async () => {
    const options = { batchSize: 2, shuffle: true };
    const straight = numbered(5).loader(options);
    const epochs = [...(await epoch(straight)), ...(await epoch(straight))];
    const loader = numbered(5).loader(options);
    expect(await drawn(loader, 6)).toEqual(epochs);
    expect(loader.state).toMatchObject({ epoch: 1, position: 3 });
  });

  it.each<[string, (loader: Loader) => unknown]>([
    ["a draw", (loader) => loader.draw()],
    ["another iteration", (loader) => firstOf(loader, 1)],
    [
      "a restored state",
      (loader) => {
        loader.state = numbered(6).loader({ batchSize: 2 }).state;
      },
    ],
  ])("ends an iteration that is overtaken by %s", async (_, overtake) => {
    const loader = numbered(6).loader({ batchSize: 2 });
    const act = async (): Promise<void> => {
      let batches = 0;
      for await (const _ of loader) {
        await overtake(loader);
        if (++batches > loader.length) break;
      }
    };
    await expect(act()).rejects.toThrow(StateError);
  });
});

describe("prefetch", () => {
  /** Numbered samples that answer when told, and who was asked for what. */
  function slow(length: number): {
    readonly source: BatchSource;
    readonly asked: { readonly ids: number[]; readonly draw: Draw; readonly answer: () => void }[];
  } {
    const asked: { ids: number[]; draw: Draw; answer: () => void }[] = [];
    const batch = (positions: Uint32Array, draw: Draw): Promise<Batch> =>
      new Promise((resolve, reject) => {
        draw.signal?.addEventListener("abort", () => reject(new Error("aborted")));
        asked.push({ ids: [...positions], draw, answer: () => resolve(numbered(length).batch(positions)) });
      });
    return { source: { length, batch, ahead: 1 }, asked };
  }
  const askedIds = (asked: readonly { readonly ids: number[] }[]): number[][] => asked.map(({ ids }) => ids);

  it("asks for the next batches while one is in hand, to the end of the epoch and no further", async () => {
    const { source, asked } = slow(5);
    const loader = new Loader(source, { batchSize: 1, prefetch: 2 });
    const batches = loader[Symbol.asyncIterator]();
    for (let i = 0; i < 5; i++) {
      const next = batches.next();
      asked[i]!.answer();
      expect(ids((await next).value!)).toEqual([i]);
      expect(askedIds(asked)).toEqual([0, 1, 2, 3, 4].slice(0, i + 3).map((id) => [id]));
      expect(loader.state).toMatchObject({ epoch: 0, position: i + 1 });
    }
    expect((await batches.next()).done).toBe(true);
    expect(askedIds(asked)).toHaveLength(5);
  });

  it("is what the source says by default, none for data in memory", async () => {
    const { source, asked } = slow(5);
    const loader = new Loader(source, { batchSize: 2 });
    const first = loader.draw();
    asked[0]!.answer();
    await first;
    expect(askedIds(asked)).toEqual([
      [0, 1],
      [2, 3],
    ]);
    expect(numbered(3).ahead).toBe(0);
  });

  it.each<[string, (batches: AsyncGenerator<Batch>, loader: Loader) => unknown]>([
    ["the iteration is broken out of", (batches) => batches.return(undefined)],
    ["another one begins", (_, loader) => void loader[Symbol.asyncIterator]().next()],
    [
      "a state is restored",
      (_, loader) => {
        loader.state = throughJson(loader.state);
      },
    ],
  ])("is given up where %s", async (_, leave) => {
    const { source, asked } = slow(6);
    const loader = new Loader(source, { batchSize: 2 });
    const batches = loader[Symbol.asyncIterator]() as AsyncGenerator<Batch>;
    const first = batches.next();
    asked[0]!.answer();
    await first;
    expect(asked[1]!.draw.signal!.aborted).toBe(false);
    await leave(batches, loader);
    expect(asked[1]!.draw.signal!.aborted).toBe(true);
    expect(asked[0]!.draw.signal).toBeUndefined();
  });

  it("changes no batch and no state", async () => {
    const property = fc.asyncProperty(
      anyLoader,
      fc.integer({ min: 1, max: 4 }),
      async ({ length, options }, prefetch) => {
        const plain = numbered(length).loader(options);
        const ahead = numbered(length).loader({ ...options, prefetch });
        expect(await epoch(ahead)).toEqual(await epoch(plain));
        expect(await firstOf(ahead, 2)).toEqual(await firstOf(plain, 2));
        expect(ahead.state).toEqual(plain.state);
        expect(await drawn(ahead, 7)).toEqual(await drawn(plain, 7));
        const resumed = numbered(length).loader({ ...options, prefetch });
        resumed.state = throughJson(ahead.state);
        expect(await drawn(resumed, 5)).toEqual(await drawn(ahead, 5));
      },
    );
    await fc.assert(property, { numRuns: 50 });
  });

  it("tells of a failure where its batch is due, and not before", async () => {
    const source = {
      length: 3,
      batch: async (positions: Uint32Array) => {
        if (positions[0] === 1) throw new DataError("broken");
        return numbered(3).batch(positions);
      },
    };
    const batches = new Loader(source, { batchSize: 1, prefetch: 2 })[Symbol.asyncIterator]();
    expect(ids((await batches.next()).value!)).toEqual([0]);
    await new Promise((resolve) => setTimeout(resolve, 5));
    await expect(batches.next()).rejects.toThrow("broken");
  });

  it("asks with the loader's seed and epoch", async () => {
    const { source, asked } = slow(2);
    const loader = new Loader(source, { batchSize: 1, seed: 7 });
    for (let i = 0; i < 3; i++) {
      const batch = loader.draw();
      for (const { answer } of asked) answer();
      await batch;
    }
    expect(asked.map(({ draw: { seed, epoch } }) => [seed, epoch])).toEqual([
      [7, 0],
      [7, 0],
      [7, 1],
      [7, 1],
    ]);
  });
});

describe("options", () => {
  it.each<[object, string]>([
    [{ batchSize: 2, suffle: true }, 'unknown option "suffle"'],
    [{}, "batchSize must be a whole number, 1 or more; found undefined"],
    [{ batchSize: 0 }, "batchSize must be a whole number, 1 or more; found 0"],
    [{ batchSize: 1.5 }, "batchSize must be a whole number"],
    [{ batchSize: 2, shuffle: 1 }, "shuffle must be true or false; found 1"],
    [{ batchSize: 2, dropLast: "no" }, "dropLast must be true or false; found no"],
    [{ batchSize: 2, prefetch: -1 }, "prefetch must be a whole number, 0 or more; found -1"],
    [{ batchSize: 2, seed: 0.5 }, "seed must be a whole number; found 0.5"],
  ])("%o is refused", (options, message) => {
    const act = (): Loader => numbered(5).loader(options as LoaderOptions);
    expect(act).toThrow(OptionError);
    expect(act).toThrow(message);
  });

  it("that leave no batch are refused", () => {
    const act = (): Loader => numbered(5).loader({ batchSize: 6, dropLast: true });
    expect(act).toThrow(DataError);
    expect(act).toThrow("empty loader: 5 samples make no whole batch of batchSize 6");
    const none = { length: 0, batch: (positions: Uint32Array) => numbered(1).batch(positions) };
    expect(() => new Loader(none, { batchSize: 1 })).toThrow("empty loader");
  });
});
