import type { EntryName } from "../../compare/entries.ts";
import { type Choice, runOf } from "../../compare/plan.ts";
import type { Result } from "../../compare/runs.ts";

/** A comparison of Adam and L-BFGS on LeNet. */
export const CHOICE: Choice = { subjects: ["lenet"], entries: ["adam", "lbfgs"], seeds: 2, threads: 1 };

/** A result of theirs whose training loss falls from 2 to some value, at 10 seconds an epoch. */
export function resultOf(entry: EntryName, value: number, seed: number, loss: number): Result {
  return {
    ...runOf(CHOICE, "lenet", entry, value, seed),
    points: [
      { epoch: 0, seconds: 0, trainLoss: 2, testLoss: 2, testAccuracy: 0.1 },
      { epoch: 1, seconds: 10, trainLoss: loss, testLoss: loss, testAccuracy: 0.4 },
    ],
    compilation: 0.5,
    wall: 12,
    machine: {},
  };
}
