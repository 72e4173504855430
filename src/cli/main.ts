#!/usr/bin/env node
import { GrnewtError, OptionError } from "../util/errors.ts";
import { Terminal } from "./terminal.ts";
import { trainCommand } from "./train-command.ts";
import { VERSION } from "./versions.ts";

const HELP = `usage: grnewt <command> [options]

Trains neural networks without a hand-picked learning rate.

commands:
  train       train a model on a data set and report on it
  report DIR  render the report of an earlier run again

options:
  -h, --help  show this text, or with a command its own
  --version   show the version
`;

async function main(args: readonly string[], terminal: Terminal): Promise<number> {
  const [command, ...rest] = args;
  if (command === "train") return await trainCommand(rest, terminal);
  if (command === "report") {
    const { reportCommand } = await import("./report-command.ts");
    return await reportCommand(rest, terminal);
  }
  if (command === "--version") terminal.print(VERSION);
  else if (command === "--help" || command === "-h") terminal.print(HELP.trimEnd());
  else
    throw new OptionError(
      `expected a command, train or report; found ${command === undefined ? "none" : `"${command}"`}`,
    );
  return 0;
}

/** Tells of an error: only the message of one that grnewt throws on purpose, the stack of any other. */
function complain(error: unknown, terminal: Terminal): number {
  const known = error instanceof GrnewtError;
  const text =
    error instanceof Error && !known ? (error.stack ?? error.message) : String((error as Error).message ?? error);
  terminal.complain(`${terminal.paintError("red", "grnewt:")} ${text}`);
  return error instanceof OptionError ? 2 : 1;
}

/** Who reads the output is gone, as `head` is after some lines: asks this process to stop, once, as SIGTERM does. */
function stopOnClosedOutput(): void {
  let asked = false;
  for (const stream of [process.stdout, process.stderr])
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
      if (!asked) process.kill(process.pid, "SIGTERM");
      asked = true;
    });
}

stopOnClosedOutput();
const terminal = new Terminal();
try {
  process.exitCode = await main(process.argv.slice(2), terminal);
} catch (error) {
  process.exitCode = complain(error, terminal);
}
