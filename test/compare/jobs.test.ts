import { expect, test } from "vitest";
import { makeAll } from "../../compare/jobs.ts";
import { keyOf, type Run } from "../../compare/runs.ts";

const run = (name: string): Run => ({ subject: "lenet", entry: "adam", value: 1, seed: 0, args: [name] });

test("runs are made as many at once as there are jobs, with those that others bring, none twice", async () => {
  const left = new Map(["a", "b", "c"].map((name) => [name, run(name)]));
  let underWay = 0;
  const seen: string[] = [];
  let othersDone!: () => void;
  const lastOfOthers = new Promise<void>((resolve) => {
    othersDone = resolve;
  });
  await makeAll(
    2,
    () => [...left.values()],
    async (each) => {
      seen.push(`${keyOf(each)} ${++underWay}`);
      if (keyOf(each) === "a") await lastOfOthers;
      else await new Promise((resolve) => setTimeout(resolve, 1));
      underWay--;
      left.delete(keyOf(each));
      if (keyOf(each) === "c") othersDone();
      if (keyOf(each) === "a") for (const name of ["d", "e"]) left.set(name, run(name));
    },
  );
  expect(seen).toEqual(["a 1", "b 2", "c 2", "d 1", "e 2"]);
});

test("a run that fails stops all", async () => {
  const made: string[] = [];
  const failing = makeAll(
    1,
    () => [run("a"), run("b")],
    async (each) => {
      made.push(keyOf(each));
      throw new Error("no such data");
    },
  );
  await expect(failing).rejects.toThrow("no such data");
  expect(made).toEqual(["a"]);
});
