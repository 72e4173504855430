import type { OptimizerName } from "../src/cli/optimizers.ts";
import type { TrainSettings } from "../src/cli/train-options.ts";

/** One line of the comparison: an optimiser as the command makes it, and the values of its main setting that are tried. */
export interface Entry {
  readonly title: string;
  readonly optimizer: OptimizerName;
  /** The option that it depends on most. */
  readonly setting: keyof TrainSettings & ("lr" | "damping" | "batch-size" | "period");
  /** Its values, from the least to the largest. The usual one is among them. */
  readonly grid: readonly number[];
  /** The usual value, where that is not the command's default. */
  readonly usual?: number;
  /** Steps after which the work repeats, where that is neither a step nor the setting. */
  readonly cycle?: number;
  /** Other options than the command's defaults. */
  readonly options?: Readonly<Record<string, string>>;
}

/** All that is compared. */
export const ENTRIES = {
  newton: entry("NewtonSummary", "newton", "period", [3, 5, 10, 20, 40]),
  "newton-fixed": {
    ...entry("NewtonSummary, fixed damping", "newton", "damping", [0.03, 0.1, 0.3, 1, 3]),
    usual: 0.3,
    cycle: 10,
  },
  sgd: entry("SGD, momentum", "sgd", "lr", [0.01, 0.03, 0.1, 0.3, 1]),
  adam: entry("Adam", "adam", "lr", [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]),
  adamw: entry("AdamW", "adamw", "lr", [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]),
  rmsprop: entry("RMSprop", "rmsprop", "lr", [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]),
  lion: entry("Lion", "lion", "lr", [1e-5, 3e-5, 1e-4, 3e-4, 1e-3]),
  // A step of Muon takes ten of Adam's in the perceptron, one of L-BFGS as many evaluations as it likes: fewer values.
  muon: entry("Muon", "muon", "lr", [3e-4, 1e-3, 3e-3]),
  "schedule-free": entry("schedule-free AdamW", "schedule-free", "lr", [2.5e-4, 7.5e-4, 2.5e-3, 7.5e-3, 2.5e-2]),
  prodigy: entry("Prodigy", "prodigy", "lr", [0.1, 0.3, 1, 3, 10]),
  lbfgs: { ...entry("L-BFGS", "lbfgs", "batch-size", [300, 1000, 3000]), options: { "max-iter": "5" } },
  kfac: { ...entry("K-FAC", "kfac", "lr", [3e-4, 1e-3, 3e-3, 0.01, 0.03]), cycle: 100 },
} satisfies Record<string, Entry>;

/** The name of an entry. */
export type EntryName = keyof typeof ENTRIES;

/** The entry of that name. */
export function entryOf(name: EntryName): Entry {
  return ENTRIES[name];
}

/** The steps after which an entry's work repeats: a summary and the steps up to the next one, say. */
export function cycleOf(name: EntryName, value: number): number {
  const { setting, cycle = 1 } = entryOf(name);
  return setting === "period" ? value : cycle;
}

function entry(title: string, optimizer: OptimizerName, setting: Entry["setting"], grid: readonly number[]): Entry {
  return { title, optimizer, setting, grid };
}

/** A model with its data. */
export interface Subject {
  readonly title: string;
  /** Options of the command. */
  readonly options: Readonly<Record<string, string>>;
  readonly epochs: number;
}

/** What everything is trained on. */
export const SUBJECTS = {
  perceptron: { title: "Perceptron, MNIST", options: { model: "perceptron" }, epochs: 3 },
  lenet: { title: "LeNet, CIFAR-10", options: { model: "lenet", dataset: "cifar10", limit: "10000" }, epochs: 5 },
} satisfies Record<string, Subject>;

/** The name of a subject. */
export type SubjectName = keyof typeof SUBJECTS;
