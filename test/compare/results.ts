import type { EntryName } from "../../compare/entries.ts";
import { type Choice, runOf } from "../../compare/plan.ts";
import type { Result } from "../../compare/runs.ts";

/** A comparison of Adam and L-BFGS on LeNet. */
export const CHOICE: Choice = { subjects: ["lenet"], entries: ["adam", "lbfgs"], seeds: 2, threads: 1 };

/** A result of theirs whose training loss falls from 2 to some value in 100 steps. */
export function resultOf(entry: EntryName, value: number, seed: number, loss: number): Result {
  return {
    ...runOf(CHOICE, "lenet", entry, value, seed),
    points: [
      { step: 0, epoch: 0, trainLoss: 2, testLoss: 2, testAccuracy: 0.1 },
      { step: 100, epoch: 1, trainLoss: loss, testLoss: loss, testAccuracy: 0.4 },
    ],
    wall: 12,
    machine: {},
  };
}
