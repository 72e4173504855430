import { expect, test } from "vitest";
import { pick, race, type Way, watch } from "./race.ts";

/** Ways that take these times, turn by turn, by a clock of their own; what was run is noted. */
function scripted(times: Readonly<Record<string, readonly number[]>>) {
  const ran: string[] = [];
  let clock = 0;
  const turns = new Map<string, number>();
  const ways = Object.keys(times).map((name): Way => ({ name, run: async () => {} }));
  const time = async ({ name }: Way): Promise<number> => {
    const turn = turns.get(name) ?? 0;
    turns.set(name, turn + 1);
    ran.push(name);
    const taken = times[name]!.at(turn) ?? times[name]!.at(-1)!;
    clock += taken;
    return taken;
  };
  return { ways, ran, watch: { now: () => clock, time } };
}

test("ways take turns, and each has its least time", async () => {
  const { ways, ran, watch } = scripted({ a: [12, 10, 11, 10], b: [13, 9, 10, 10] });
  expect(await race(ways, watch, 1000)).toEqual([10, 9]);
  expect(ran).toEqual(["a", "b", "a", "b", "a", "b", "a", "b"]);
});

test("what is far behind has no more turns, but the rule's way has two", async () => {
  const { ways, ran, watch } = scripted({ rule: [50, 10], b: [10, 12], c: [30, 1] });
  expect(await race(ways, watch, 1000)).toEqual([10, 10, 30]);
  expect(ran.join(" ")).toBe("rule b c rule b rule b rule b");
});

test("times are those of all the work", async () => {
  const { ways, watch } = scripted({ a: [10], b: [30] });
  expect(await race([ways[0]!, { ...ways[1]!, work: 6 }], watch, 1000)).toEqual([10, 5]);
});

test("without time for two turns nothing is known, with time for more the times so far are", async () => {
  const first = scripted({ a: [10], b: [10] });
  expect(await race(first.ways, first.watch, 35)).toEqual([10, 10]);
  const second = scripted({ a: [10], b: [10] });
  expect(await race(second.ways, second.watch, 30)).toBeUndefined();
  expect(second.ran).toEqual(["a", "b", "a"]);
});

test("only what is clearly faster than the rule's way is taken instead", () => {
  expect(pick([100, 96, 97])).toEqual({ index: 0, gain: 1 });
  expect(pick([100, 96, 94])).toEqual({ index: 2, gain: 0.94 });
  expect(pick([100, 94], 0.9)).toEqual({ index: 0, gain: 1 });
  expect(pick(undefined)).toEqual({ index: 0, gain: 1 });
  expect(pick([100, Number.POSITIVE_INFINITY])).toEqual({ index: 0, gain: 1 });
});

test("the watch runs short ways several times", async () => {
  let runs = 0;
  const run = async (): Promise<void> => {
    runs++;
  };
  expect(await watch.time({ name: "nothing", run })).toBeLessThan(10);
  expect(runs).toBeGreaterThan(1);
});
