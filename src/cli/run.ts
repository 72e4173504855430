import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { StateDict } from "../nn/index.ts";
import { divergenceOf, formatLoss, formatPercent, formatSeconds, renderReport } from "../report/index.ts";
import { obstacle, RunDirectory, readMetrics } from "../train/file-store.ts";
import { doneAlready, type EpochEvent, type RunState, type TrainEvent, train } from "../train/index.ts";
import { OptionError, StateError } from "../util/errors.ts";
import { Display } from "./display.ts";
import { openSession, type RunConfig, type Session } from "./session.ts";
import { StopRequests } from "./signals.ts";
import type { Terminal } from "./terminal.ts";
import type { TrainRequest, TrainSettings } from "./train-options.ts";
import { versions } from "./versions.ts";

/** Begins or resumes a run and sees it through. @returns the exit status */
export async function run(request: RunRequest, terminal: Terminal): Promise<number> {
  const plan = request.kind === "resume" ? resumed(request) : fresh(request);
  const session = await openSession(plan.settings, plan.given);
  try {
    return await follow(session, plan, terminal);
  } finally {
    await session.dispose();
  }
}

type RunRequest = Exclude<TrainRequest, { kind: "help" }>;

/** A run that is about to begin or to go on. */
interface Plan {
  readonly settings: TrainSettings;
  readonly given: ReadonlySet<string>;
  /** Makes or opens the folder: only once all else is known to be right. */
  readonly open: () => Promise<{ readonly directory: RunDirectory; readonly resume?: RunState }>;
}

function fresh({ settings, given, out }: Extract<TrainRequest, { kind: "new" }>): Plan {
  const path = out ?? freeName(join("runs", `${timestamp(new Date())}-${settings.optimizer}`));
  const why = obstacle(path);
  if (why !== undefined) throw new OptionError(`--out ${path} ${why}`);
  return { settings, given, open: async () => ({ directory: RunDirectory.create(path) }) };
}

function resumed({ directory: path, extent }: Extract<TrainRequest, { kind: "resume" }>): Plan {
  const start = readMetrics(path).find((event) => event.type === "start");
  if (!start) throw new OptionError(`--resume ${path}: that run had not begun`);
  const directory = RunDirectory.open(path);
  const saved = (start.config as Partial<RunConfig>).settings;
  if (!saved) throw new StateError(`--resume ${path}: another version began that run`);
  const { epochs, steps, ...others } = saved;
  const settings = { ...others, ...(Object.keys(extent).length > 0 ? extent : { epochs, steps }) } as TrainSettings;
  const done = doneAlready(directory.checkpoint().progress, { epochs: Number.POSITIVE_INFINITY, ...settings });
  if (done) throw new OptionError(`--resume ${path}: its ${done} are done; give more --epochs or --steps to go on`);
  return { settings, given: new Set(), open: async () => ({ directory, resume: await directory.rewind() }) };
}

async function follow({ options }: Session, plan: Plan, terminal: Terminal): Promise<number> {
  const display = new Display(terminal);
  const stop = new StopRequests(
    () => display.note("stopping after this step … (Ctrl-C again to quit at once)"),
    () => display.stop(),
  );
  try {
    const { directory, resume } = await plan.open();
    const record = new Record(directory, display);
    try {
      await train({
        ...options,
        ...(resume && { resume }),
        signal: stop.signal,
        on: (event) => record.take(event),
        checkpoint: (state) => record.checkpoint(state),
      });
    } catch (error) {
      display.stop();
      if (directory.resumable) terminal.print(resumeLine(directory));
      throw error;
    } finally {
      display.stop();
      await record.writeReport();
      directory.close();
    }
    const { model, optimizer } = options;
    const weights = (): Promise<StateDict> => model.stateDict();
    await directory.saveWeights(await (optimizer.withEvaluationWeights?.(weights) ?? weights()));
    conclude(record, terminal, stop.status !== undefined);
    return stop.status ?? 0;
  } finally {
    stop.release();
  }
}

/** Passes what happens on to the terminal and into the run's folder. */
class Record {
  readonly directory: RunDirectory;
  readonly #display: Display;
  last: EpochEvent | undefined;
  seconds = 0;

  constructor(directory: RunDirectory, display: Display) {
    this.directory = directory;
    this.#display = display;
  }

  take(event: TrainEvent): void {
    this.directory.append(event.type === "start" ? { ...event, versions: versions() } : event);
    this.#display.show(event);
    if (event.type === "epoch") this.last = event;
    if (event.type === "end") this.seconds = event.seconds;
  }

  async checkpoint(state: RunState): Promise<void> {
    await this.directory.saveCheckpoint(state);
    await this.writeReport();
  }

  async writeReport(): Promise<void> {
    await this.directory.write("report.html", renderReport(this.directory.metrics()));
  }
}

function conclude({ directory, last, seconds }: Record, terminal: Terminal, stopped: boolean): void {
  const divergence = divergenceOf(directory.metrics());
  if (divergence !== undefined) terminal.complain(`${terminal.paintError("yellow", "warning:")} ${divergence}`);
  const how = stopped
    ? terminal.paint("yellow", "stopped")
    : terminal.paint(divergence === undefined ? "green" : "yellow", "done");
  terminal.print(`${how} after ${formatSeconds(seconds)} of training${resultOf(last)}`);
  terminal.print(`  run     ${directory.path}`);
  terminal.print(`  report  ${pathToFileURL(resolve(directory.path, "report.html"))}`);
  if (stopped) terminal.print(resumeLine(directory));
}

function resumeLine({ path }: RunDirectory): string {
  const command = process.env.npm_lifecycle_event === "start" ? "npm start --" : "grnewt train";
  return `  resume  ${command} --resume ${path}`;
}

/** The last test's result, its accuracy if it has one. */
function resultOf(last: EpochEvent | undefined): string {
  if (last?.testAccuracy !== undefined) return `: test accuracy ${formatPercent(last.testAccuracy)}`;
  return last?.testLoss === undefined ? "" : `: test loss ${formatLoss(last.testLoss)}`;
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
