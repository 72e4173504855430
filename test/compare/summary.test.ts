import { expect, test } from "vitest";
import { cyclesToTake, medianTiming, timingOf } from "../../compare/clock.ts";
import { entryOf } from "../../compare/entries.ts";
import { lossFigure, sensitivityFigure } from "../../compare/figures.ts";
import { Results } from "../../compare/plan.ts";
import { arrivalAt, sensitivityOf, tableOf, trialOf } from "../../compare/summary.ts";
import { CHOICE, resultOf } from "./results.ts";

const adam = entryOf("adam").grid.map((value, i) => resultOf("adam", value, 0, [1.8, 1.7, 1.5, 1.4, 1.9][i]!));
const done = [...adam, resultOf("adam", 1e-3, 1, 1.7), resultOf("lbfgs", 1000, 0, 1.2)];
const timings = [adam[2]!, adam[3]!].map(({ args, value }) => ({
  args,
  rounds: [{ secondsPerStep: value * 100, compilation: 0.5 }],
}));
const results = new Results(done, timings);

test("what the first cycle takes beyond the others is compilation, and rounds count with their medians", () => {
  const timing = timingOf([9, 2, 4], 10);
  expect(timing).toEqual({ secondsPerStep: expect.closeTo(0.3), compilation: 6 });
  expect(timingOf([1, 2, 3], 1)).toEqual({ secondsPerStep: 2.5, compilation: 0 });
  const rounds = [timing, { secondsPerStep: 0.4, compilation: 5 }, { secondsPerStep: 0.1, compilation: 1 }];
  expect(medianTiming(rounds)).toEqual({ secondsPerStep: timing.secondsPerStep, compilation: 5 });
});

test("4000 samples are timed after the first cycle, or two cycles where that is more", () => {
  expect(cyclesToTake(1, 100)).toBe(41);
  expect(cyclesToTake(3, 100)).toBe(15);
  expect(cyclesToTake(100, 100)).toBe(3);
  expect(cyclesToTake(1, 3000)).toBe(3);
});

test("a table holds each entry's usual and best setting, and when it came to Adam's loss", () => {
  const lines = tableOf(CHOICE, "lenet", results);
  expect(lines.slice(2)).toEqual([
    "| Adam | lr 0.001 (usual) | 1.6000 ± 0.1414 | 1.0 epochs, 10.0 s | 40.00 % ± 0.00 % | 10.0 | 0.5 | 2 |",
    "| Adam | lr 0.003 (best) | 1.4000 | 0.7 epochs, 20.0 s | 40.00 % | 30.0 | 0.5 | 1 |",
    "| L-BFGS | batch-size 1000 (usual) | 1.2000 | 0.5 epochs | 40.00 % | – | – | 1 |",
  ]);
  expect(arrivalAt(3, adam[0]!.points)).toMatchObject({ epoch: 0 });
  const failed = new Results([{ ...resultOf("adam", 1e-3, 0, 1), diverged: "step 1: the loss is NaN" }]);
  expect(tableOf(CHOICE, "lenet", failed)[2]).toContain("| diverged (1 of 1) | – |");
});

test("figures name every line, also one that diverges", () => {
  const trials = CHOICE.entries.map((entry) => trialOf(CHOICE, "lenet", entry, "usual", results)!);
  const figure = lossFigure({ title: "LeNet", usual: trials, best: [] });
  for (const text of ["LeNet: training loss, usual settings", ">Adam<", ">L-BFGS<", ">seconds<"])
    expect(figure).toContain(text);
  expect(figure).not.toContain("NaN");
  const worst = [...adam.slice(0, -1), { ...adam.at(-1)!, diverged: "step 1: the loss is NaN" }];
  const all = [sensitivityOf(CHOICE, "lenet", "adam", new Results(worst))!];
  expect(all[0]!.points.map(({ factor }) => factor)).toEqual([0.1, 0.3, 1, 3, 10].map((each) => expect.closeTo(each)));
  const sensitivity = sensitivityFigure([{ title: "LeNet", start: 2, all }]);
  expect(sensitivity).toContain("LeNet: final training loss");
  expect(sensitivity).not.toMatch(/NaN|Infinity/);
  expect(sensitivityOf(CHOICE, "lenet", "lbfgs", results)).toBeUndefined();
});
