import { parseArgs } from "node:util";
import { GrnewtError, OptionError } from "../util/errors.ts";

/** One option of a command: what its help says and how its text is read. */
export interface OptionSpec<T> {
  /** What stands for the value in the help, such as N; none for a flag. */
  readonly value?: string;
  readonly help: string;
  /** What the help names as the default. */
  readonly otherwise?: string;
  /** Reads the text. `also` says what else the option takes. @throws OptionError */
  readonly read: (text: string, name: string, also?: string) => T;
}

/** The options of a command by name, without the dashes. */
export type OptionTable = Readonly<Record<string, OptionSpec<unknown>>>;

/** Options with their defaults, undefined where there is none. */
export type Defaults<T> = { readonly [Name in keyof T]?: T[Name] | undefined };

/** What was given on the command line: the options that were, and everything else. */
export interface Given<Table extends OptionTable> {
  readonly options: { readonly [Name in keyof Table]?: ReturnType<Table[Name]["read"]> };
  readonly positionals: readonly string[];
}

/** A whole number from `least` to `most`. */
export function whole(least: number, most: number = Number.MAX_SAFE_INTEGER): OptionSpec<number>["read"] {
  return (text, name, also = "") => {
    const value = Number(text);
    if (/^-?\d+$/.test(text) && value >= least && value <= most) return value;
    const range = most === Number.MAX_SAFE_INTEGER ? `${least} or more` : `from ${least} to ${most}`;
    throw new OptionError(`--${name} must be ${also}a whole number, ${range}; found "${text}"`);
  };
}

/** Does what an option's value asks for. @throws OptionError naming the option, where this package refuses that */
export function forOption<T>(name: string, value: string, task: () => T): T {
  try {
    return task();
  } catch (error) {
    if (!(error instanceof GrnewtError)) throw error;
    // The names of functions and classes, which messages of the library begin with, say nothing here.
    throw new OptionError(`--${name} ${value}: ${error.message.replace(/^\w+: /, "")}`, { cause: error });
  }
}

/** A number for which `holds`, which `range` says in words. */
export function real(range: string, holds: (value: number) => boolean): OptionSpec<number>["read"] {
  return (text, name, also = "") => {
    const value = Number(text);
    if (/\d/.test(text) && Number.isFinite(value) && holds(value)) return value;
    throw new OptionError(`--${name} must be ${also}a number ${range}; found "${text}"`);
  };
}

/** One of some words. */
export function oneOf<Word extends string>(words: readonly Word[]): OptionSpec<Word>["read"] {
  return (text, name) => {
    const word = words.find((each) => each === text);
    if (word !== undefined) return word;
    throw new OptionError(`--${name} must be ${listed(words)}; found "${text}"`);
  };
}

/** Any text but none. */
export function text(value: string, name: string): string {
  if (value !== "") return value;
  throw new OptionError(`--${name} must not be empty`);
}

/** A flag. */
export function flag(): boolean {
  return true;
}

/**
 * Reads a command line.
 * @throws OptionError for an option that is unknown, given twice, lacks its value, or has one that it cannot have.
 */
export function parseOptions<Table extends OptionTable>(table: Table, args: readonly string[]): Given<Table> {
  const types = Object.entries(table).map(
    ([name, { value }]) => [name, { type: value === undefined ? "boolean" : "string" }] as const,
  );
  const { tokens, positionals } = parseArgs({
    args: [...args],
    options: { ...Object.fromEntries(types), ...("help" in table && { help: { type: "boolean", short: "h" } }) },
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const options: Record<string, unknown> = {};
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const { name, rawName, value } = token;
    const spec = Object.hasOwn(table, name) ? table[name] : undefined;
    if (!spec) throw new OptionError(`unknown option ${rawName}${suggestion(name, Object.keys(table))}`);
    if (name in options) throw new OptionError(`--${name} is given twice`);
    if (spec.value === undefined && value !== undefined) throw new OptionError(`--${name} takes no value`);
    if (spec.value !== undefined && value === undefined)
      throw new OptionError(`--${name} needs a value: ${spec.value}`);
    options[name] = spec.read(value ?? "", name);
  }
  return { options: options as Given<Table>["options"], positionals };
}

/** "a", "a or b", "a, b or c". */
export function listed(words: readonly string[], conjunction: string = "or"): string {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} ${conjunction} ${words.at(-1)}`;
}

/** The part of a help text that describes groups of options, each below its title, aligned and no wider than `width`. */
export function describeOptions(groups: Readonly<Record<string, OptionTable>>, width: number): string {
  const column =
    2 +
    Math.max(
      ...Object.values(groups)
        .flatMap((table) => Object.entries(table).map(nameAndValue))
        .map(({ length }) => length),
    );
  const described = (option: readonly [string, OptionSpec<unknown>]): string => {
    const { help, otherwise } = option[1];
    const right = `${help}${otherwise === undefined ? "" : ` (default ${otherwise})`}`;
    return nameAndValue(option).padEnd(column) + wrapped(right, width - column).join(`\n${" ".repeat(column)}`);
  };
  return Object.entries(groups)
    .map(([title, table]) => [`${title}:`, ...Object.entries(table).map(described)].join("\n"))
    .join("\n\n");
}

function nameAndValue([name, { value }]: readonly [string, OptionSpec<unknown>]): string {
  return `  ${name === "help" ? "-h, " : ""}--${name}${value === undefined ? "" : ` ${value}`}`;
}

/** A text in lines no wider than `width`. */
export function wrapped(line: string, width: number): string[] {
  const lines = [""];
  for (const word of line.split(" ")) {
    const last = lines.at(-1)!;
    if (last === "") lines[lines.length - 1] = word;
    else if (last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

function suggestion(name: string, known: readonly string[]): string {
  const near = known
    .map((each) => ({ each, distance: editDistance(name, each) }))
    .sort((a, b) => a.distance - b.distance);
  return near[0] && near[0].distance <= Math.min(2, name.length / 2) ? `; did you mean --${near[0].each}?` : "";
}

/** Letters to add, drop or change to make one word of the other (Levenshtein). */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, i) => i);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++)
      next.push(Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[to.length]!;
}
