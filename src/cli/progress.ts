import cliProgress from "cli-progress";
import { formatClock, formatCount, formatLoss } from "../report/index.ts";
import type { Terminal } from "./terminal.ts";

/** What the progress of an epoch shows beside the bar. */
interface Shown {
  readonly loss: number;
  /** Samples per second. */
  readonly speed: number;
  /** Seconds that the epoch still needs. */
  readonly left: number;
}

/** Where an epoch's progress goes: a bar on a screen, a line now and then into a file. */
export interface Progress {
  update(done: number, shown: Shown): void;
  /** Writes lines above the bar. */
  above(write: () => void): void;
  stop(): void;
}

/** @param title what the progress is of, such as "epoch 1/3". */
export function startProgress(terminal: Terminal, title: string, total: number, done: number): Progress {
  return terminal.interactive ? new Bar(terminal, title, total, done) : new Lines(terminal, title, total, done);
}

const NARROWEST_BAR = 8;
const WIDEST_BAR = 40;

class Bar implements Progress {
  readonly #bar: cliProgress.SingleBar;
  readonly #total: number;
  #done: number;
  #shown: Shown | undefined;

  constructor(terminal: Terminal, title: string, total: number, done: number) {
    this.#total = total;
    this.#done = done;
    this.#bar = new cliProgress.SingleBar({
      stream: terminal.stdout,
      clearOnComplete: true,
      hideCursor: true,
      fps: 10,
      format: (_options, { progress, maxWidth }) => {
        const start = terminal.paint("bold", title);
        const texts = [`${String(Math.floor(100 * progress)).padStart(3)} %`, ...describe(this.#shown, progress)];
        // Without room for all, the last texts give way to the bar.
        const space = (): number => maxWidth - title.length - texts.reduce((sum, text) => sum + text.length + 2, 0) - 4;
        while (space() < NARROWEST_BAR && texts.length > 1) texts.pop();
        const length = Math.max(1, Math.min(WIDEST_BAR, space()));
        const full = Math.round(progress * length);
        const bar = terminal.paint("cyan", "━".repeat(full)) + terminal.paint("dim", "─".repeat(length - full));
        return `${start}  ${bar}  ${texts.join("  ")}`;
      },
    });
    this.#bar.start(total, done);
  }

  update(done: number, shown: Shown): void {
    this.#done = done;
    this.#shown = shown;
    this.#bar.update(done);
  }

  above(write: () => void): void {
    this.#bar.stop();
    write();
    this.#bar.start(this.#total, this.#done);
  }

  stop(): void {
    this.#bar.stop();
  }
}

class Lines implements Progress {
  readonly #terminal: Terminal;
  readonly #title: string;
  readonly #total: number;
  #tenths: number;

  constructor(terminal: Terminal, title: string, total: number, done: number) {
    this.#terminal = terminal;
    this.#title = title;
    this.#total = total;
    this.#tenths = Math.floor((10 * done) / total);
  }

  update(done: number, shown: Shown): void {
    const tenths = Math.floor((10 * done) / this.#total);
    if (tenths <= this.#tenths) return;
    this.#tenths = tenths;
    const texts = [this.#title, `${String(10 * tenths).padStart(3)} %`, ...describe(shown, done / this.#total)];
    this.#terminal.print(texts.join("  "));
  }

  above(write: () => void): void {
    write();
  }

  stop(): void {}
}

function describe(shown: Shown | undefined, progress: number): string[] {
  if (!shown) return ["compiling …"];
  const left = progress < 1 ? `${formatClock(shown.left)} left` : "evaluating …";
  return [`loss ${formatLoss(shown.loss)}`, left, `${formatCount(shown.speed)} samples/s`];
}
