import { styleText } from "node:util";

type Style = "bold" | "dim" | "green" | "yellow" | "red" | "cyan";

/** Where a command writes to: standard output for what was asked for, standard error for what went wrong. */
export class Terminal {
  readonly stdout: NodeJS.WriteStream;
  readonly #stderr: NodeJS.WriteStream;

  constructor(stdout: NodeJS.WriteStream = process.stdout, stderr: NodeJS.WriteStream = process.stderr) {
    this.stdout = stdout;
    this.#stderr = stderr;
  }

  /** Whether lines can be drawn over: standard output is a screen, not a file or a dumb terminal. */
  get interactive(): boolean {
    return this.stdout.isTTY === true && process.env.TERM !== "dumb";
  }

  /** Columns to write in. */
  get width(): number {
    return this.stdout.columns ?? 100;
  }

  print(line: string = ""): void {
    this.stdout.write(`${line}\n`);
  }

  complain(line: string): void {
    this.#stderr.write(`${line}\n`);
  }

  /** Colours a text that goes to standard output, where it shows colours and NO_COLOR is not set. */
  readonly paint = (style: Style, text: string): string => (coloured(this.stdout) ? styled(style, text) : text);

  /** Colours a text that goes to standard error. */
  paintError(style: Style, text: string): string {
    return coloured(this.#stderr) ? styled(style, text) : text;
  }
}

/** The width that help texts are set in. */
export function helpWidth(terminal: Terminal): number {
  return Math.max(60, Math.min(terminal.width, 110));
}

function coloured(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY === true && !process.env.NO_COLOR && stream.hasColors();
}

function styled(style: Style, text: string): string {
  return styleText(style, text, { validateStream: false });
}
