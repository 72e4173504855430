import { parseHTML } from "linkedom";
import { describe, expect, test } from "vitest";
import type { TrainEvent } from "../train/index.ts";
import { renderLosses, renderRates, renderReport } from "./index.ts";

const LAYERS = [0, 1, 2];
const GROUPS = LAYERS.flatMap((layer) =>
  ["weight", "bias"].map((kind) => ({ name: `layers.${layer}.${kind}`, members: [`layers.${layer}.${kind}`] })),
);

interface Shape {
  readonly epochs?: number;
  readonly steps?: number;
  readonly groups?: typeof GROUPS;
  readonly rate?: (step: number, group: number) => number | null;
  readonly loss?: (step: number) => number | null;
}

/** The metrics of a made-up run. */
function run({
  epochs = 2,
  steps = 40,
  groups = GROUPS,
  rate = (_, group) => 10 ** -group,
  loss = (step) => 2 / (1 + step),
}: Shape) {
  const events: TrainEvent[] = [
    {
      type: "start",
      config: { method: "NewtonSummary", dataset: "MNIST", model: "a <small> perceptron" },
      groups,
      epochs,
      stepsPerEpoch: steps,
      samples: 400,
      batchSize: 10,
      epoch: 0,
      step: 0,
      seconds: 0,
      date: "2026-01-02T03:04:05.000Z",
    },
  ];
  for (let step = 0; step < epochs * steps; step++) {
    const epoch = Math.floor(step / steps);
    const learningRates = groups.map((_, group) => rate(step, group));
    events.push({ type: "step", epoch, step, loss: loss(step), learningRates, samples: 10, time: step / 10 });
    if ((step + 1) % steps !== 0) continue;
    const evaluated = { trainLoss: 0.2, trainAccuracy: 0.97, testLoss: 0.3, testAccuracy: 0.9512 };
    events.push({
      type: "epoch",
      epoch,
      step: step + 1,
      batchLoss: 0.25,
      ...evaluated,
      learningRates,
      seconds: 4,
      evaluationSeconds: 1,
    });
  }
  const end: TrainEvent = {
    type: "end",
    how: "done",
    epochs,
    steps: epochs * steps,
    seconds: 8,
    date: "2026-01-02T03:05:00.000Z",
  };
  return [...events, end];
}

function parsed(html: string) {
  const { document } = parseHTML(html);
  const svgs = [...document.querySelectorAll("svg")];
  return {
    document,
    svgs,
    labels: svgs.map((svg) => [...svg.querySelectorAll("text")].map((text) => text.textContent)),
  };
}

describe("a report", () => {
  test("shows the results, the figures with every group by name, and the tables", () => {
    const { document, svgs, labels } = parsed(renderReport(run({})));
    expect(document.querySelector("h1")!.textContent).toBe("NewtonSummary on MNIST");
    expect(document.querySelector(".status")!.textContent).toBe("finished");
    expect(document.querySelector(".tile.main dd")!.textContent).toBe("95.12 %");
    expect(document.querySelector(".facts")!.textContent).toContain("a <small> perceptron");
    expect(svgs).toHaveLength(4);
    for (const name of ["Loss", "batches", "train", "test"]) expect(labels[0]).toContain(name);
    for (const name of ["Accuracy", "train", "test"]) expect(labels[1]).toContain(name);
    for (const name of ["Learning rates of weights", "layers.0", "layers.1", "layers.2"])
      expect(labels[2]).toContain(name);
    for (const name of ["Learning rates of biases", "layers.0", "layers.1", "layers.2"])
      expect(labels[3]).toContain(name);
    expect(document.querySelectorAll("table")[1]!.querySelectorAll("tbody tr")).toHaveLength(GROUPS.length);
  });

  test("tells where a run of so many steps ended, and of accuracies only where there are some", () => {
    const events = run({ epochs: 1, steps: 40 }).map((event): TrainEvent => {
      if (event.type === "start") return { ...event, stepsPerEpoch: 100, steps: 40, config: { settings: { lr: 0.5 } } };
      if (event.type !== "epoch") return event;
      const { trainAccuracy, testAccuracy, ...losses } = event;
      return losses;
    });
    const { document, svgs } = parsed(renderReport(events));
    const texts = (selector: string): string[] => [...document.querySelectorAll(selector)].map((x) => x.textContent!);
    expect(texts(".tile")).toContain("steps40");
    expect(texts("table:first-of-type thead th").slice(0, 4)).toEqual(["epoch", "train loss", "test loss", "time"]);
    expect(texts("tbody th")[0]).toBe("0.40");
    expect(texts(".settings div")).toContain("lr0.5");
    expect(document.body.textContent).not.toContain("accuracy");
    for (const svg of svgs) expect(svg.outerHTML).not.toMatch(/NaN|undefined|Infinity/);
  });

  test("of very many groups has a colour for each line, names some of them, and folds their table", () => {
    const layers = Array.from({ length: 30 }, (_, i) => `a.rather.long.name.layer${i}`);
    const names = layers.flatMap((layer) => [`${layer}.weight`, `${layer}.bias`]);
    const html = renderReport(run({ groups: names.map((name) => ({ name, members: [name] })) }));
    const { document, labels } = parsed(html);
    const declared = new Set([...html.matchAll(/(--[\w-]+):/g)].map(([, name]) => name));
    for (const [, name] of html.matchAll(/var\((--[\w-]+)\)/g)) expect(declared).toContain(name);
    expect(labels[2]!.filter((label) => label?.includes("…"))).toHaveLength(10);
    for (const label of ["a.rather…me.layer0", "a.rather…e.layer29"]) expect(labels[2]).toContain(label);
    expect(document.querySelector("details summary")!.textContent).toContain("Learning rates");
  });

  test("needs nothing from elsewhere", () => {
    const html = renderReport(run({}));
    expect(html).not.toMatch(/<script|<link|<img|@import|url\((?!#)/);
    expect(html.replaceAll("http://www.w3.org/", "")).not.toMatch(/https?:/);
  });

  test.each<[string, Shape]>([
    ["rates that span decades", { rate: (step, group) => 10 ** (-group - step / 40) }],
    ["rates of zero", { rate: (step, group) => (step + group) % 3 && 10 ** -group }],
    ["nothing but zeros", { rate: () => 0 }],
    ["negative rates", { rate: (step, group) => (step % 2 ? -1 : 1) * 10 ** -group }],
    ["negative rates of one size", { rate: (step) => (step % 2 ? -1 : 1) }],
    ["one constant rate for all", { rate: () => 0.1, groups: [{ name: "all", members: ["a.weight", "a.bias"] }] }],
    [
      "numbers that are missing",
      { rate: (step) => (step % 5 ? 0.1 : null), loss: (step) => (step % 7 ? 1 / step : null) },
    ],
    ["losses that are missing", { loss: () => null }],
    ["a negative loss", { loss: (step) => -step }],
    ["a single step", { epochs: 1, steps: 1 }],
    ["many steps", { epochs: 1, steps: 9000 }],
    [
      "many groups",
      { groups: Array.from({ length: 60 }, (_, i) => ({ name: `g${i}.weight`, members: [`g${i}.weight`] })) },
    ],
  ])("has no NaN in its figures with %s", (_what, shape) => {
    const { svgs } = parsed(renderReport(run(shape)));
    expect(svgs.length).toBeGreaterThan(1);
    for (const svg of svgs) expect(svg.outerHTML).not.toMatch(/NaN|undefined|Infinity/);
  });

  test("has one line for rates that somebody has set", () => {
    const { labels } = parsed(renderReport(run({ rate: () => 0.1 })));
    expect(labels).toHaveLength(3);
    expect(labels[2]).toEqual(expect.arrayContaining(["Learning rates", "all groups"]));
  });

  test("stays small however long the run", () => {
    expect(renderReport(run({ epochs: 1, steps: 9000 })).length).toBeLessThan(600_000);
  });

  test("can be made of a run at any moment", () => {
    const events = run({ epochs: 1, steps: 6 });
    for (let length = 0; length <= events.length; length++) {
      const { document, svgs } = parsed(renderReport(events.slice(0, length)));
      expect(document.querySelector(".status")!.textContent).toBe(length === events.length ? "finished" : "unfinished");
      for (const svg of svgs) expect(svg.outerHTML).not.toMatch(/NaN|undefined|Infinity/);
    }
    expect(renderReport([])).toContain("No step has been taken yet");
  });

  test("tells where a run ended above its start", () => {
    const notices = (events: readonly TrainEvent[]): string[] =>
      [...parsed(renderReport(events)).document.querySelectorAll(".notices li")].map(({ textContent }) => textContent!);
    // Its loss is 0.2 in the end.
    expect(notices(run({ loss: (step) => (step === 0 ? null : 0.1 * step) }))).toEqual([
      "the training loss is 0.2000, above the 0.1000 of the first batch: nothing was learned",
    ]);
    for (const first of [0.2, 0.19]) expect(notices(run({ loss: () => first }))).toEqual([]);
  });

  test("tells of errors and warnings", () => {
    const update = { epoch: 0, step: 0, loss: 1, g: [], H: [], order3: [], rates: [], noEffect: [1] };
    const { document } = parsed(
      renderReport([
        ...run({}).slice(0, -1),
        { type: "update", ...update, found: false, reason: "H is <not> positive definite" },
        { type: "update", ...update, found: true },
        {
          type: "end",
          how: "error",
          message: "the loss is NaN",
          epochs: 0,
          steps: 4,
          seconds: 1,
          date: "2026-01-02T03:05:00.000Z",
        },
      ]),
    );
    expect(document.querySelector(".status")!.textContent).toBe("ended by an error");
    const notices = [...document.querySelectorAll(".notices li")].map((line) => line.textContent);
    expect(notices).toEqual([
      "Error: the loss is NaN",
      "group layers.0.bias has no effect on the loss: its rate is 0 (2 times)",
      "no solution found: H is <not> positive definite",
    ]);
  });
});

test("the figure of the learning rates stands alone, on white", () => {
  const svg = renderRates(run({}))!;
  expect(svg).toMatch(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" viewBox="0 0 1016 /);
  expect(svg).toContain('fill="#ffffff"');
  expect(svg).not.toContain("var(--");
  expect(renderRates(run({}).slice(0, 1))).toBeUndefined();
});

test("losses of runs stand side by side, two plots in a row", () => {
  const comparison = { title: "A model", runs: [run({}), run({ steps: 7 })] };
  const svg = renderLosses([comparison, comparison, comparison])!;
  expect(svg).toMatch(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" viewBox="0 0 1016 636"/);
  expect(svg.match(/aria-label="Training loss of A model"/g)).toHaveLength(3);
  expect(renderLosses([{ title: "cut short", runs: [run({}), run({}).slice(0, 1)] }])).toBeUndefined();
});
