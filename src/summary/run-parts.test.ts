import { setTimeout } from "node:timers/promises";
import { expect, test } from "vitest";
import { ReferenceEngine, type Session } from "../engine/index.ts";
import { BATCH, GraphBuilder, graphOf } from "../graph/index.ts";
import { input, sum } from "../ops/index.ts";
import type { Batch } from "../util/ndarray.ts";
import { Random } from "../util/random.ts";
import { type PartInputs, type PartPlan, runParts, sideBySide } from "./run-parts.ts";

const b = new GraphBuilder();
const x = input(b, "x", [BATCH, 1]);
const total = sum(b, x);
const graph = graphOf({ total });
const free: PartPlan = {
  split: { splits: true, loss: total, totals: [], coupled: undefined },
  checks: [],
  masks: [],
};
const samples = Array.from({ length: 12 }, (_, i) => i);
const batch: Batch = {
  x: { shape: [12, 1], data: Float64Array.from(samples) },
  y: { shape: [12], data: new Int32Array(12) },
};

/** An oracle three of whose runs go on at once and end in any order; from some run on they fail. */
class Abreast extends ReferenceEngine {
  most = 0;
  #begun = 0;
  #underWay = 0;

  async session(failsFrom = Number.POSITIVE_INFINITY): Promise<Session> {
    const session = await this.compile(graph);
    const begin: Session["begin"] = async (inputs, donated) => {
      const number = this.#begun++;
      this.most = Math.max(this.most, ++this.#underWay);
      await setTimeout(number % 2 === 0 ? 9 : 1);
      this.#underWay--;
      if (number >= failsFrom) throw new Error(`run ${number}`);
      return await session.begin(inputs, donated);
    };
    return { ...session, sideBySide: 3, begin };
  }
}

function ran(
  engine: Abreast,
  session: Session,
  take: (total: number) => void,
  more: Pick<PartInputs, "signal" | "check"> = {},
) {
  const inputs = { engine, program: { session, plan: free }, totals: undefined, tensors: {}, batch };
  const parts = new Array<number>(12).fill(1);
  return runParts({ ...inputs, parts, random: new Random(0), ...more }, [session], async (outputs) => {
    take(Number((await engine.read(outputs.total!)).data[0]));
    engine.release(...Object.values(outputs));
  });
}

test("what runs side by side is begun ahead, and taken in the order of the parts", async () => {
  const engine = new Abreast();
  const found: number[] = [];
  await ran(engine, await engine.session(), (value) => found.push(value));
  expect(found).toEqual(samples);
  expect(engine.most).toBe(6);
  expect(engine.tensors.live).toBe(0);
});

test("where a run fails, or the caller gives up, all others end first and nothing is left", async () => {
  const failing = new Abreast();
  const found: number[] = [];
  await expect(ran(failing, await failing.session(4), (value) => found.push(value))).rejects.toThrow("run 4");
  expect(found).toEqual([0, 1, 2, 3]);
  expect(failing.tensors.live).toBe(0);
  const stopped = new Abreast();
  const control = new AbortController();
  const run = ran(stopped, await stopped.session(), () => control.abort(), { signal: control.signal });
  await expect(run).rejects.toThrow(/abort/);
  expect(stopped.tensors.live).toBe(0);
});

test("what runs are given is checked once, while the first of them go on", async () => {
  const engine = new Abreast();
  const events: string[] = [];
  const check = (): void => {
    events.push(`checked beside ${engine.most}`);
  };
  await ran(engine, await engine.session(), (value) => events.push(`took ${value}`), { check });
  expect(events).toEqual(["checked beside 6", ...samples.map((value) => `took ${value}`)]);
  const refuse = (): void => {
    throw new Error("refused");
  };
  await expect(ran(engine, await engine.session(), () => {}, { check: refuse })).rejects.toThrow("refused");
  expect(engine.tensors.live).toBe(0);
});

test("parts run side by side where they are free, and parameters and directions are not much to copy", () => {
  const reads = (entries: number) => {
    const b = new GraphBuilder();
    return graphOf({ a: sum(b, input(b, "x", [BATCH, 2 ** 26])), b: sum(b, input(b, "w", [entries])) });
  };
  expect(sideBySide(reads(2 ** 25), free)).toBe(true);
  expect(sideBySide(reads(2 ** 25 + 1), free)).toBe(false);
  expect(sideBySide(reads(1), { ...free, split: { splits: false, reason: "it does not" } })).toBe(false);
  expect(sideBySide(reads(1), { ...free, split: { splits: true, loss: total, totals: [], coupled: "a norm" } })).toBe(
    false,
  );
});
