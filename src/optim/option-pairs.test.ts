import { describe, expect, test } from "vitest";
import { labelled } from "../../test/support/models.ts";
import { OptionError } from "../util/errors.ts";
import { AdamUpdater, MuonUpdater, type NewtonSummaryOptions, ScheduleFreeAdamWUpdater, SGDUpdater } from "./index.ts";
import { newtonSettings } from "./newton-options.ts";

const draw = async () => labelled(3);

/** A value of each option that is not its default, after what it needs. */
const OPTIONS = {
  clipGradNorm: { clipGradNorm: 1 },
  onNonFinite: { onNonFinite: "skip" },
  seed: { seed: 3 },
  onStep: { onStep: () => {} },
  log: { log: () => {} },
  hgLoader: { hgLoader: { draw } },
  hgBatches: { hgBatches: 2, hgLoader: { draw } },
  hgData: { hgData: [] },
  gradientData: { gradientData: [] },
  updater: { updater: new AdamUpdater() },
  momentum: { momentum: 0.5 },
  momentumDamp: { momentumDamp: 0.25 },
  damping: { damping: 0.1 },
  periodHg: { periodHg: 2 },
  periodOrder3: { periodOrder3: 2 },
  maintainTrueLrs: { maintainTrueLrs: true, momLrs: 0.75 },
  momLrs: { momLrs: 0.25 },
  medianLrs: { medianLrs: 3 },
  movavgBiasCorrection: { movavgBiasCorrection: true, movavg: 0.25 },
  movavg: { movavg: 0.5 },
  uniformAvg: { uniformAvg: { period: 2 } },
  polyAvg: { polyAvg: 1 },
  ridge: { ridge: 1 },
  noregul: { noregul: true },
  nesterov: { nesterov: { dampingInt: 2 } },
  diagonal: { diagonal: true },
  clipRates: { clipRates: { by: "median" } },
  removeNegative: { removeNegative: false },
  normalizeDirs: { normalizeDirs: true },
  notFound: { notFound: "compatible" },
  summaryMode: { summaryMode: "eval" },
  microbatch: { microbatch: 2 },
} as const satisfies Partial<Record<keyof NewtonSummaryOptions, NewtonSummaryOptions>>;

type Name = keyof typeof OPTIONS;
const NAMES = Object.keys(OPTIONS) as Name[];

const REFUSED: readonly (readonly [Name, Name])[] = [
  ["hgLoader", "hgData"],
  ["hgBatches", "hgData"],
  ["updater", "momentum"],
  ["updater", "momentumDamp"],
  ["momLrs", "medianLrs"],
  ["movavg", "uniformAvg"],
  ["movavgBiasCorrection", "uniformAvg"],
  ["movavg", "polyAvg"],
  ["uniformAvg", "polyAvg"],
  ["movavgBiasCorrection", "polyAvg"],
  ["ridge", "noregul"],
  ["ridge", "nesterov"],
  ["noregul", "nesterov"],
  ["removeNegative", "maintainTrueLrs"],
  ["medianLrs", "maintainTrueLrs"],
];

/** Options that say where data come from or are no settings of the algorithm: used elsewhere. */
const ELSEWHERE: readonly Name[] = [
  "clipGradNorm",
  "onNonFinite",
  "seed",
  "onStep",
  "log",
  "hgLoader",
  "hgBatches",
  "hgData",
  "gradientData",
];

const settingsOf = (...names: Name[]) =>
  newtonSettings(Object.assign({}, ...names.map((name) => OPTIONS[name])), false);

describe("every two options", () => {
  const pairs = NAMES.flatMap((x, i) => NAMES.slice(i + 1).map((y) => [x, y] as const));
  const isRefused = (x: Name, y: Name): boolean => REFUSED.some((pair) => pair.includes(x) && pair.includes(y));

  test("are refused with both names, if they contradict each other", () => {
    for (const [x, y] of pairs.filter((pair) => isRefused(...pair))) {
      const make = () => settingsOf(x, y);
      expect(make, `${x}, ${y}`).toThrow(OptionError);
      for (const name of [x, y]) expect(make, `${x}, ${y}`).toThrow(new RegExp(`\\b${name}\\b`));
    }
  });

  test("both have their effect otherwise", () => {
    for (const [x, y] of pairs.filter((pair) => !isRefused(...pair))) {
      const both = settingsOf(x, y);
      if (!ELSEWHERE.includes(x)) expect(both, `${x} beside ${y}`).not.toEqual(settingsOf(y));
      if (!ELSEWHERE.includes(y)) expect(both, `${y} beside ${x}`).not.toEqual(settingsOf(x));
    }
  });
});

test.each<[NewtonSummaryOptions, RegExp]>([
  [{ hgBatches: 2 }, /hgBatches would be ignored without hgLoader/],
  [{ movavgBiasCorrection: true }, /movavgBiasCorrection would be ignored without movavg/],
  [{ momentum: 0, momentumDamp: 0.5 }, /momentumDamp would be ignored with momentum 0/],
  [{ nesterov: { use: true }, ridge: 0 }, /ridge would be ignored beside nesterov/],
  [{ nesterov: { dampingInt: 1 }, ridge: 0 }, /nesterov.dampingInt would be ignored beside ridge/],
  [{ nesterov: { momOrder3: 0.5 }, noregul: true }, /nesterov.momOrder3 would be ignored beside noregul/],
  [{ nesterov: { use: false, dampingInt: 1 } }, /nesterov.dampingInt would be ignored with nesterov.use false/],
  [{ updater: new ScheduleFreeAdamWUpdater() }, /updater ScheduleFreeAdamW is for Optimizer/],
  [{ updater: new SGDUpdater({ maximize: true }) }, /updater SGD: maximize would be undone by NewtonSummary/],
  [{ updater: new MuonUpdater({ others: new AdamUpdater({ maximize: true }) }) }, /updater Muon: maximize/],
  [{ maintainTrueLrs: true }, /maintainTrueLrs would be ignored beside medianLrs, 9 by default/],
  [{ maintainTrueLrs: true, momLrs: 0, medianLrs: 1 }, /maintainTrueLrs would be ignored with momLrs 0/],
  [{ maintainTrueLrs: true, momLrs: 0, damping: 0.1 }, /maintainTrueLrs would be ignored with momLrs 0/],
])("%o is refused", (options, message) => {
  expect(() => newtonSettings(options, false)).toThrow(message);
  expect(() => newtonSettings(options, false)).toThrow(OptionError);
});

test.each<NewtonSummaryOptions>([
  { movavg: 0, uniformAvg: { period: 2 } },
  { noregul: true, ridge: 0 },
  { nesterov: { use: false }, ridge: 1 },
  { nesterov: { use: false }, noregul: true },
  { removeNegative: false, maintainTrueLrs: false },
  { damping: 0.1, maintainTrueLrs: true },
  { momentum: 0, momentumDamp: 0 },
  { gradientData: [], hgData: [] },
])("%o is no contradiction", (options) => {
  newtonSettings(options, false);
});
