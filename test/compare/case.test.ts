import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { buildCase, runCase } from "../../bench/processes.ts";
import type { Timing } from "../../compare/clock.ts";
import type { Outcome } from "../../compare/runs.ts";

const COMPARE = fileURLToPath(new URL("../../compare", import.meta.url));

const ARGS = "--limit 60 --layers 5 --batch-size 10 --epochs 1 --threads 1".split(" ");

test("a run in a process of its own tells how its model stood, and where it diverged", async () => {
  const program = await buildCase(COMPARE);
  const [learnt, diverged] = await Promise.all(
    ["0.1", "3e38"].map((lr) => runCase<Outcome>(program, { args: [...ARGS, "--optimizer", "sgd", "--lr", lr] })),
  );
  expect(learnt!.points.map(({ step }) => step)).toEqual([0, 2, 4, 6]);
  expect(learnt!.points.map(({ epoch }) => epoch)).toEqual([0, 2, 4, 6].map((step) => expect.closeTo(step / 6)));
  expect(learnt!.points.at(-1)!.trainLoss).toBeLessThan(learnt!.points[0]!.trainLoss);
  expect(learnt!.diverged).toBeUndefined();
  expect(diverged!.diverged).toMatch(/^step \d: /);
});

test("with a cycle it tells how long a step takes, in more epochs where one is too short", async () => {
  const program = await buildCase(COMPARE);
  const args = [...ARGS, "--optimizer", "newton", "--period", "4", "--summary-batch-size", "60"];
  const timing = await runCase<Timing>(program, { args, cycle: 4 });
  expect(timing.secondsPerStep).toBeGreaterThan(0);
  expect(timing.secondsPerStep).toBeLessThan(timing.compilation);
});
