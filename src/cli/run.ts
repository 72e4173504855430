import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { StateDict } from "../nn/index.ts";
import { divergenceOf, formatLoss, formatPercent, formatSeconds, renderReport } from "../report/index.ts";
import type { RunDirectory } from "../train/file-store.ts";
import { type EpochEvent, type RunState, type TrainEvent, train } from "../train/index.ts";
import { StateError } from "../util/errors.ts";
import { Display } from "./display.ts";
import { type Plan, planOf } from "./plan.ts";
import { openSession, type Session } from "./session.ts";
import { StopRequests } from "./signals.ts";
import type { Terminal } from "./terminal.ts";
import type { TrainRequest } from "./train-options.ts";
import { versions } from "./versions.ts";

/** Begins or resumes a run and sees it through. @returns the exit status */
export async function run(request: Exclude<TrainRequest, { kind: "help" }>, terminal: Terminal): Promise<number> {
  const plan = planOf(request, terminal);
  const session = await openSession(plan.settings, plan.given, plan.tuning);
  try {
    plan.check(session);
    const directory = plan.open();
    const unlock = directory.lock();
    try {
      return await follow(session, plan, directory, terminal);
    } finally {
      unlock();
    }
  } finally {
    await session.dispose();
  }
}

async function follow({ options }: Session, plan: Plan, directory: RunDirectory, terminal: Terminal): Promise<number> {
  const display = new Display(terminal);
  const stop = new StopRequests(
    () => display.note("stopping after this step … (Ctrl-C again to quit at once)"),
    () => display.stop(),
  );
  const record = new Record(directory, display);
  try {
    const resume = await plan.state(directory);
    await train({
      ...options,
      ...(resume && { resume }),
      signal: stop.signal,
      on: (event) => record.take(event),
      checkpoint: (state) => record.checkpoint(state),
    });
    await record.writeReport();
    await directory.saveWeights(await weightsOf(options));
  } catch (error) {
    display.stop();
    if (!record.begun) throw notBegun(directory, error);
    // The first error is the one to be told.
    await record.writeReport().catch(() => undefined);
    if (directory.resumable) terminal.print(resumeLine(directory));
    throw error;
  } finally {
    display.stop();
    directory.close();
    stop.release();
  }
  conclude(record, terminal, stop.status !== undefined);
  return stop.status ?? 0;
}

/** Where a run could not be begun or gone on with: what is at fault, if it is what the folder holds. */
function notBegun({ path }: RunDirectory, error: unknown): unknown {
  if (!(error instanceof StateError)) return error;
  return new StateError(`${path}: its checkpoint does not fit the run: ${error.message}`, { cause: error });
}

/** The weights to use, which need not be those that are trained. */
function weightsOf({ model, optimizer }: Session["options"]): Promise<StateDict> {
  const own = (): Promise<StateDict> => model.stateDict();
  return optimizer.withEvaluationWeights?.(own) ?? own();
}

/** Passes what happens on to the terminal and into the run's folder. */
class Record {
  readonly directory: RunDirectory;
  readonly #display: Display;
  /** Whether the model and the optimiser are those of the run. */
  begun = false;
  last: EpochEvent | undefined;
  seconds = 0;

  constructor(directory: RunDirectory, display: Display) {
    this.directory = directory;
    this.#display = display;
  }

  take(event: TrainEvent): void {
    this.directory.append(event.type === "start" ? { ...event, versions: versions() } : event);
    this.#display.show(event);
    if (event.type === "start" || event.type === "resume") this.begun = true;
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
