import { OptionError } from "./errors.ts";

/**
 * Refuses options that `where` does not have, so that a misspelt one is never ignored.
 * @throws OptionError naming the first unknown option, or where there are no options.
 */
export function refuseUnknown(where: string, options: object, known: readonly string[]): void {
  if (typeof options !== "object" || options === null)
    throw new OptionError(`${where}: expected an object of options (${known.join(", ")}); found ${String(options)}`);
  for (const name of Object.keys(options))
    if (!known.includes(name))
      throw new OptionError(`${where}: unknown option "${name}"; its options are ${known.join(", ")}`);
}

/**
 * Asserts that an option is a whole number, `least` or more.
 * @param also what it takes beside them, for the error.
 * @throws OptionError naming the option and the value found.
 */
export function checkWhole(
  name: string,
  value: unknown,
  least: number = Number.MIN_SAFE_INTEGER,
  also: string = "",
): asserts value is number {
  if (Number.isSafeInteger(value) && (value as number) >= least) return;
  const bound = least === Number.MIN_SAFE_INTEGER ? "" : `, ${least} or more`;
  throw new OptionError(`${name} must be ${also}a whole number${bound}; found ${String(value)}`);
}

/**
 * Asserts that an option is true or false.
 * @throws OptionError naming the option and the value found.
 */
export function checkBoolean(name: string, value: unknown): asserts value is boolean {
  if (typeof value !== "boolean") throw new OptionError(`${name} must be true or false; found ${String(value)}`);
}

/**
 * Asserts that an option is a number of at least 0.
 * @throws OptionError naming the option and the value found.
 */
export function checkNonNegative(name: string, value: unknown): asserts value is number {
  if (!(Number.isFinite(value) && (value as number) >= 0))
    throw new OptionError(`${name} must be a number of at least 0; found ${String(value)}`);
}

/**
 * Asserts that an option is one of some values.
 * @throws OptionError naming the option, the values and the one found.
 */
export function checkOneOf<T>(name: string, value: unknown, known: readonly T[]): asserts value is T {
  if (!known.includes(value as T))
    throw new OptionError(`${name} must be one of ${known.join(", ")}; found ${String(value)}`);
}

/**
 * Asserts that an option is a number above 0.
 * @throws OptionError naming the option and the value found.
 */
export function checkPositive(name: string, value: unknown): asserts value is number {
  if (!(Number.isFinite(value) && (value as number) > 0))
    throw new OptionError(`${name} must be a number above 0; found ${String(value)}`);
}

/**
 * Asserts that an option is a number, and finite.
 * @throws OptionError naming the option and the value found.
 */
export function checkFinite(name: string, value: unknown): asserts value is number {
  if (!Number.isFinite(value)) throw new OptionError(`${name} must be a finite number; found ${String(value)}`);
}

/**
 * Asserts that an option is a number in [0, 1).
 * @throws OptionError naming the option and the value found.
 */
export function checkShare(name: string, value: unknown): asserts value is number {
  if (!(Number.isFinite(value) && (value as number) >= 0 && (value as number) < 1))
    throw new OptionError(`${name} must be at least 0 and below 1; found ${String(value)}`);
}

/** Checks one option. @throws OptionError */
export type OptionCheck = (name: string, value: unknown) => void;

/** A check of lists that have one place for each of these checks. */
export function listOf(...checks: readonly OptionCheck[]): OptionCheck {
  return (name, value) => {
    if (!Array.isArray(value) || value.length !== checks.length)
      throw new OptionError(`${name} must be a list of ${checks.length}; found ${String(value)}`);
    checks.forEach((check, i) => {
      check(`${name}[${i}]`, value[i]);
    });
  };
}

/** All options of something: what each is where it is not given, and its check. */
export type OptionTable<T extends object> = {
  readonly [K in keyof T]-?: readonly [otherwise: Required<T>[K], check: OptionCheck];
};

/**
 * Fills in defaults and checks every option.
 * @throws OptionError naming an option that is unknown or not what it must be.
 */
export function readOptions<T extends object>(where: string, options: T, table: OptionTable<T>): Required<T> {
  const names = Object.keys(table) as (keyof T & string)[];
  refuseUnknown(where, options, names);
  const values = names.map((name) => {
    const [otherwise, check] = table[name];
    const value = options[name] === undefined ? otherwise : options[name];
    check(`${where}: ${name}`, value);
    return [name, value] as const;
  });
  return Object.fromEntries(values) as Required<T>;
}
