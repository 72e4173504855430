import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { renderReport } from "../report/index.ts";
import { RunDirectory } from "../train/file-store.ts";
import { OptionError } from "../util/errors.ts";
import { describeOptions, flag, type OptionTable, parseOptions } from "./options.ts";
import { helpWidth, type Terminal } from "./terminal.ts";

const REPORT_OPTIONS = { help: { help: "show this text", read: flag } } satisfies OptionTable;

/** The help text of `grnewt report`. */
export function reportHelp(width: number): string {
  return `usage: grnewt report DIR

Renders report.html of the run in DIR again, from its metrics. The run may still be under way.

${describeOptions({ options: REPORT_OPTIONS }, width)}
`;
}

/** `grnewt report`. @returns the exit status */
export async function reportCommand(args: readonly string[], terminal: Terminal): Promise<number> {
  const { options, positionals } = parseOptions(REPORT_OPTIONS, args);
  if (options.help) {
    terminal.print(reportHelp(helpWidth(terminal)).trimEnd());
    return 0;
  }
  const [path, ...more] = positionals;
  if (path === undefined || more.length > 0)
    throw new OptionError(`report needs the folder of one run; found ${positionals.length}`);
  const directory = RunDirectory.open(path);
  await directory.write("report.html", renderReport(directory.metrics()));
  terminal.print(String(pathToFileURL(resolve(path, "report.html"))));
  return 0;
}
