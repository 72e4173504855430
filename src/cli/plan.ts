import { existsSync } from "node:fs";
import { join } from "node:path";
import { checkTuning } from "../engine/index.ts";
import { obstacle, RunDirectory, readMetrics } from "../train/file-store.ts";
import { doneAlready, type RunState } from "../train/index.ts";
import { OptionError, StateError } from "../util/errors.ts";
import { forOption } from "./options.ts";
import type { RunConfig, Session } from "./session.ts";
import type { Terminal } from "./terminal.ts";
import type { TrainRequest, TrainSettings } from "./train-options.ts";
import { type TuningChoice, tuningChoice } from "./tuning.ts";

/** A run that is about to begin or to go on. */
export interface Plan {
  readonly settings: TrainSettings;
  /** The names of the options that the user chose. */
  readonly given: ReadonlySet<string>;
  readonly tuning: TuningChoice;
  /** @throws StateError where the run would go on with other data */
  readonly check: (session: Session) => void;
  /** Makes or finds the folder: only once all else is known to be right. */
  readonly open: () => RunDirectory;
  /** Where the run goes on; undefined where it begins. To be asked while nobody else writes into the folder. */
  readonly state: (directory: RunDirectory) => Promise<RunState | undefined>;
}

/** @throws OptionError, DataError, StateError where there can be no such run */
export function planOf(request: Exclude<TrainRequest, { kind: "help" }>, terminal: Terminal): Plan {
  return request.kind === "resume" ? resumed(request) : fresh(request, terminal);
}

function fresh({ settings, given, out }: Extract<TrainRequest, { kind: "new" }>, terminal: Terminal): Plan {
  const path = out ?? freeName(join("runs", `${timestamp(new Date())}-${settings.optimizer}`));
  const why = obstacle(path);
  if (why !== undefined) throw new OptionError(`--out ${path} ${why}`);
  return {
    settings,
    given,
    tuning: tuningChoice(settings.tuning, terminal),
    check: () => {},
    open: () => RunDirectory.create(path),
    state: async () => undefined,
  };
}

function resumed({ directory: path, extent }: Extract<TrainRequest, { kind: "resume" }>): Plan {
  const start = readMetrics(path).find((event) => event.type === "start");
  if (!start) throw new OptionError(`--resume ${path}: that run had not begun`);
  const directory = RunDirectory.open(path);
  const saved = start.config as Partial<RunConfig>;
  if (!saved.settings || !saved.data) throw new StateError(`--resume ${path}: another version began that run`);
  const { tuning } = saved;
  if (tuning) forOption("resume", path, () => checkTuning(tuning));
  const { epochs, steps, ...others } = saved.settings;
  const settings = { ...others, ...(Object.keys(extent).length > 0 ? extent : { epochs, steps }) } as TrainSettings;
  const done = doneAlready(directory.checkpoint().progress, { epochs: Number.POSITIVE_INFINITY, ...settings });
  if (done) throw new OptionError(`--resume ${path}: its ${done} are done; give more --epochs or --steps to go on`);
  const check = ({ options: { trainLoader, config } }: Session): void => {
    const before = dataOf(start.samples, saved);
    const now = dataOf(trainLoader.dataset.length, config as Partial<RunConfig>);
    if (before !== now) throw new StateError(`--resume ${path}: its data were ${before}; now they are ${now}`);
  };
  return {
    settings,
    given: new Set(),
    tuning: async () => tuning,
    check,
    open: () => directory,
    state: () => directory.rewind(),
  };
}

/** What tells the data of a run from others, in words. */
function dataOf(samples: number, { "test samples": testSamples, data }: Partial<RunConfig>): string {
  return `${samples} training and ${testSamples} test samples (fingerprint ${data})`;
}

/** "2026-01-31-235959", in local time. */
function timestamp(date: Date): string {
  const two = (part: number): string => String(part).padStart(2, "0");
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join("-");
  return `${day}-${two(date.getHours())}${two(date.getMinutes())}${two(date.getSeconds())}`;
}

/** The path, or the first with a number behind it at which there is nothing. */
function freeName(path: string): string {
  for (let i = 1; ; i++) {
    const name = i === 1 ? path : `${path}-${i}`;
    if (!existsSync(name)) return name;
  }
}
