import type { NewtonSummaryOptions } from "../../src/index.ts";
import { type Item, MissingFeature } from "./json.ts";
import { readUpdater } from "./updater-options.ts";

type Options = { -readonly [K in keyof NewtonSummaryOptions]: NewtonSummaryOptions[K] };

/** What each of the reference's options becomes here. */
const readers: Readonly<Record<string, (item: Item) => Options>> = {
  damping: (item) => ({ damping: item.number() }),
  period_hg: (item) => ({ periodHg: item.number() }),
  mom_lrs: (item) => ({ momLrs: item.number() }),
  movavg: (item) => ({ movavg: item.number() }),
  ridge: (item) => ({ ridge: item.number() }),
  noregul: (item) => ({ noregul: item.flag() }),
  diagonal: (item) => ({ diagonal: item.flag() }),
  remove_negative: (item) => ({ removeNegative: item.flag() }),
  maintain_true_lrs: (item) => ({ maintainTrueLrs: item.flag() }),
  dct_uniform_avg: (item) => ({ uniformAvg: uniformAvgOptions(item) }),
  dct_nesterov: (item) => ({ nesterov: item.value === null ? { use: false } : nesterovOptions(item) }),
};

function uniformAvgOptions(item: Item): NonNullable<NewtonSummaryOptions["uniformAvg"]> {
  const odd = item.keys().find((key) => !["period", "warmup"].includes(key));
  if (odd !== undefined) throw new MissingFeature(`option dct_uniform_avg.${odd}`);
  return { period: item.get("period").number(), warmup: item.get("warmup").number() };
}

function nesterovOptions(item: Item): NonNullable<NewtonSummaryOptions["nesterov"]> {
  const odd = item.keys().find((key) => !["use", "damping_int", "mom_order3_"].includes(key));
  if (odd !== undefined) throw new MissingFeature(`option dct_nesterov.${odd}`);
  if (!item.get("use").flag()) return { use: false };
  const [dampingInt, momOrder3] = [item.find("damping_int")?.number(), item.find("mom_order3_")?.number()];
  return {
    ...(dampingInt === undefined ? {} : { dampingInt }),
    ...(momOrder3 === undefined ? {} : { momOrder3 }),
  };
}

/** What each of the reference's optimisers takes where nothing is said. */
const defaults: Readonly<Record<string, Options>> = {
  NewtonSummary: {},
  UniformAvgPatched: { maintainTrueLrs: true },
};

/**
 * The options of a trajectory, `notFound` as in the reference.
 * @throws MissingFeature for an option or an optimiser that is not known
 */
export function readNewtonOptions(run: Item): Options {
  const optimizer = run.get("optimizer").text();
  // Its own averages lose samples (README, 2); the patched ones are those that it documents.
  if (optimizer === "NewtonSummaryUniformAvg") throw new MissingFeature("the reference's faulty uniform averages");
  if (!Object.hasOwn(defaults, optimizer)) throw new MissingFeature(`optimiser ${optimizer}`);
  const updater = run.get("updater");
  if ((updater.find("lr")?.number() ?? 1) !== 1) throw new MissingFeature("an updater's own lr");
  const options: Options = {
    notFound: "compatible",
    ...defaults[optimizer],
    updater: readUpdater(updater.get("name").text(), updater),
  };
  for (const [key, item] of run.get("options").entries()) {
    if (!Object.hasOwn(readers, key)) throw new MissingFeature(`option ${key}`);
    Object.assign(options, readers[key]!(item));
  }
  // There it has no effect, so here the pairs are refused.
  if (options.removeNegative === false || options.momLrs === 0) delete options.maintainTrueLrs;
  return options;
}
