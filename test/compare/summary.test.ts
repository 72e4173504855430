import { expect, test } from "vitest";
import { timesOf } from "../../compare/clock.ts";
import { entryOf } from "../../compare/entries.ts";
import { lossFigure, sensitivityFigure } from "../../compare/figures.ts";
import { Results } from "../../compare/plan.ts";
import { arrivalAt, sensitivityOf, tableOf, trialOf } from "../../compare/summary.ts";
import { CHOICE, resultOf } from "./results.ts";

const adam = entryOf("adam").grid.map((value, i) => resultOf("adam", value, 0, [1.8, 1.7, 1.5, 1.4, 1.9][i]!));
const results = new Results([...adam, resultOf("adam", 1e-3, 1, 1.7), resultOf("lbfgs", 1000, 0, 1.2)]);

test("what the first step of each kind takes beyond the usual is compilation", () => {
  const step = (seconds: number, summary = false) => ({ seconds, summary });
  const { until, compilation } = timesOf([step(9, true), step(5), step(1), step(1.5), step(3, true), step(1)]);
  expect(compilation).toBeCloseTo(6 + 4);
  expect(until).toEqual([3, 4, 5, 6.5, 9.5, 10.5]);
  expect(timesOf([step(5, true)])).toEqual({ until: [5], compilation: 0 });
});

test("a table holds each entry's usual and best setting, and when it came to Adam's loss", () => {
  const lines = tableOf(CHOICE, "lenet", results);
  expect(lines.slice(2)).toEqual([
    "| Adam | lr 0.001 (usual) | 1.6000 ± 0.1414 | – | 40.00 % ± 0.00 % | 10.0 | 0.5 | 2 |",
    "| Adam | lr 0.003 (best) | 1.4000 | 0.7 epochs, 6.7 s | 40.00 % | 10.0 | 0.5 | 1 |",
    "| L-BFGS | batch-size 1000 (usual) | 1.2000 | 0.5 epochs, 5.0 s | 40.00 % | 10.0 | 0.5 | 1 |",
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
