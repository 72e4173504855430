import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { buildCase, runCase } from "../../bench/processes.ts";
import type { Outcome } from "../../compare/runs.ts";

const COMPARE = fileURLToPath(new URL("../../compare", import.meta.url));

test("a run in a process of its own tells how its model stood, and where it diverged", async () => {
  const program = await buildCase(COMPARE);
  const args = "--limit 60 --layers 5 --batch-size 10 --epochs 1 --threads 1 --optimizer sgd --lr".split(" ");
  const [learnt, diverged] = await Promise.all(
    ["0.1", "3e38"].map((lr) => runCase<Outcome>(program, { args: [...args, lr] })),
  );
  expect(learnt!.points.map(({ epoch }) => epoch)).toEqual([0, 2, 4, 6].map((step) => expect.closeTo(step / 6)));
  expect(learnt!.points.at(-1)!.trainLoss).toBeLessThan(learnt!.points[0]!.trainLoss);
  expect(learnt!.points.map(({ seconds }) => seconds)).toEqual(
    learnt!.points.map(({ seconds }) => seconds).toSorted((a, b) => a - b),
  );
  expect(learnt!.diverged).toBeUndefined();
  expect(diverged!.diverged).toMatch(/^step \d: /);
});
