import { formatCount, formatLoss, formatPercent, formatSeconds } from "../report/index.ts";
import {
  type EpochEvent,
  type MetricNumber,
  type ResumeEvent,
  type RunFacts,
  type StartEvent,
  type StepEvent,
  type TrainEvent,
  warningsOf,
} from "../train/index.ts";
import { type Progress, startProgress } from "./progress.ts";
import { rateTable } from "./rate-table.ts";
import type { RunConfig } from "./session.ts";
import { type Cell, heading, TextTable } from "./table.ts";
import type { Terminal } from "./terminal.ts";

/** How much of the loss that the bar shows comes from the steps before. */
const SMOOTHING = 0.95;

/** Shows a run on the terminal as it happens. */
export class Display {
  readonly #terminal: Terminal;
  readonly #warned = new Set<string>();
  #facts: RunFacts | undefined;
  #progress: Progress | undefined;
  #epoch:
    | { number: number; done: number; time: number; samples: number; loss: number; weight: number; total: number }
    | undefined;
  #time = 0;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  /** Shows an event. */
  show(event: TrainEvent): void {
    this.#warn(event);
    if (event.type === "start" || event.type === "resume") this.#begin(event);
    else if (event.type === "step") this.#step(event);
    else if (event.type === "epoch") this.#endEpoch(event);
    else if (event.type === "end") this.stop();
  }

  /** Writes a line above the bar. */
  note(line: string): void {
    const write = (): void => this.#terminal.complain(line);
    if (this.#progress) this.#progress.above(write);
    else write();
  }

  /** Takes the bar away. */
  stop(): void {
    this.#progress?.stop();
    this.#progress = undefined;
  }

  #warn(event: TrainEvent): void {
    for (const warning of warningsOf(event, this.#facts?.groups ?? [])) {
      if (this.#warned.has(warning)) continue;
      this.#warned.add(warning);
      this.note(`${this.#terminal.paintError("yellow", "warning:")} ${warning}`);
    }
  }

  #begin(event: StartEvent | ResumeEvent): void {
    this.#facts = event;
    this.#time = event.seconds;
    const { samples, batchSize, epoch, step, steps = Number.POSITIVE_INFINITY, stepsPerEpoch } = event;
    const config = event.config as unknown as RunConfig;
    const { paint } = this.#terminal;
    const parts = [
      config.model,
      `${formatCount(samples)} samples`,
      `batches of ${batchSize}`,
      `seed ${config.settings.seed}`,
      ...(config.evaluated === undefined ? [] : [`evaluated on ${config.evaluated}`]),
    ];
    this.#terminal.print(paint("bold", `${config.method} on ${config.dataset}`));
    this.#terminal.print(paint("dim", parts.join(" · ")));
    if (event.type === "resume") this.#terminal.print(paint("dim", `goes on after step ${formatCount(step)}`));
    this.#terminal.print();
    const done = step - epoch * stepsPerEpoch;
    if (done < stepsPerEpoch && step < steps) this.#open(epoch, done);
  }

  #open(epoch: number, done: number): void {
    const { epochs, stepsPerEpoch, steps = Number.POSITIVE_INFINITY } = this.#facts!;
    const total = Math.min(stepsPerEpoch, steps - epoch * stepsPerEpoch);
    this.#epoch = { number: epoch, done, time: 0, samples: 0, loss: 0, weight: 0, total };
    this.#progress = startProgress(this.#terminal, `epoch ${epoch + 1}/${epochs}`, total, done);
  }

  #step({ epoch, step, loss, time, samples }: StepEvent): void {
    const { stepsPerEpoch } = this.#facts!;
    if (this.#epoch?.number !== epoch) this.#open(epoch, step - epoch * stepsPerEpoch);
    const at = this.#epoch!;
    at.done++;
    at.time += time - this.#time;
    at.samples += samples;
    this.#time = time;
    if (loss !== null) {
      at.loss = SMOOTHING * at.loss + (1 - SMOOTHING) * loss;
      at.weight = SMOOTHING * at.weight + (1 - SMOOTHING);
    }
    const speed = at.samples / at.time;
    const left = ((at.total - at.done) * this.#facts!.batchSize) / speed;
    this.#progress?.update(at.done, { loss: at.loss / at.weight, speed, left });
  }

  #endEpoch(event: EpochEvent): void {
    this.stop();
    const { epochs, groups, stepsPerEpoch } = this.#facts!;
    const terminal = this.#terminal;
    const cut = event.step % stepsPerEpoch === 0 ? "" : `, after step ${formatCount(event.step)}`;
    terminal.print(
      `${terminal.paint("bold", `epoch ${event.epoch + 1}/${epochs}${cut}`)}  ${terminal.paint("dim", formatSeconds(event.seconds))}`,
    );
    terminal.print();
    const results = resultTable(event, terminal);
    const rates = rateTable(event.learningRates, groups, terminal);
    for (const line of results.beside(rates, terminal.width - 2)) terminal.print(line === "" ? "" : `  ${line}`);
    terminal.print();
  }
}

/** Loss and, where targets are labels, accuracy on each set. */
function resultTable(event: EpochEvent, terminal: Terminal): TextTable {
  const { trainLoss, trainAccuracy, testLoss, testAccuracy } = event;
  const green = (text: string): string => terminal.paint("green", text);
  const rows: [string, MetricNumber | undefined, number | undefined, Pick<Cell, "paint">][] = [
    ["train", trainLoss, trainAccuracy, {}],
    ["test", testLoss, testAccuracy, { paint: green }],
  ];
  const labelled = rows.some(([, , accuracy]) => accuracy !== undefined);
  const head = ["", "loss", ...(labelled ? ["accuracy"] : [])].map((text) => heading(text, terminal));
  const shown = rows.filter(([, loss]) => loss !== undefined);
  return new TextTable([
    head,
    ...shown.map(([text, loss, accuracy, paint]) => [
      { text },
      { text: formatLoss(loss), ...(!labelled && paint) },
      ...(labelled ? [{ text: formatPercent(accuracy), ...paint }] : []),
    ]),
  ]);
}
