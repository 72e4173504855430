import { StateError } from "./errors.ts";

/** Says what a part of a saved state must be. @throws StateError naming the place and what was found there */
export type Check = (place: string, value: unknown) => void;

/** A value for which something holds. */
export function must(be: string, holds: (value: unknown) => boolean): Check {
  return (place, value) => {
    if (!holds(value)) throw new StateError(`state: ${place} must be ${be}; found ${shown(value)}`);
  };
}

/** A whole number in a range. */
export function whole(least: number, most: number = Number.POSITIVE_INFINITY): Check {
  const range = most === Number.POSITIVE_INFINITY ? `, ${least} or more` : ` from ${least} to ${most}`;
  return must(
    least === most ? `${least}` : `a whole number${range}`,
    (value) => Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most,
  );
}

type Range = "finite" | "nonNegative" | "positive";

const RANGES: Readonly<Record<Range, readonly [name: string, holds: (value: number) => boolean]>> = {
  finite: ["finite", Number.isFinite],
  nonNegative: ["finite and at least 0", (value) => Number.isFinite(value) && value >= 0],
  positive: ["finite and above 0", (value) => Number.isFinite(value) && value > 0],
};

export function real(range: Range = "finite"): Check {
  const [name, holds] = RANGES[range];
  return must(`a number, ${name}`, (value) => typeof value === "number" && holds(value));
}

/** A Float64Array of so many numbers. */
export function vector(length: number, range: Range = "finite"): Check {
  const [name, holds] = RANGES[range];
  return must(
    `a Float64Array of ${length}, all ${name}`,
    (value) => value instanceof Float64Array && value.length === length && value.every(holds),
  );
}

export function listOf(check: Check, least: number = 0, most: number = Number.POSITIVE_INFINITY): Check {
  const length = whole(least, most);
  return (place, value) => {
    if (!Array.isArray(value)) throw new StateError(`state: ${place} must be a list; found ${shown(value)}`);
    length(`the length of ${place}`, value.length);
    for (const [i, each] of value.entries()) check(`${place}[${i}]`, each);
  };
}

/** An object with these fields and no others. */
export function record(fields: Readonly<Record<string, Check>>): Check {
  return (place, value) => {
    if (typeof value !== "object" || value === null)
      throw new StateError(`state: ${place || "it"} must be an object; found ${shown(value)}`);
    const path = (name: string): string => (place ? `${place}.${name}` : name);
    for (const [name, found] of Object.entries(value))
      if (found !== undefined && !Object.hasOwn(fields, name))
        throw new StateError(`state: ${path(name)} is unknown: nothing of that name is kept at that point`);
    for (const [name, check] of Object.entries(fields)) check(path(name), (value as Record<string, unknown>)[name]);
  };
}

/** An object with any names, whose values are all of one kind. */
export function dictionary(check: Check): Check {
  return (place, value) =>
    record(Object.fromEntries(Object.keys(Object(value)).map((name) => [name, check])))(place, value);
}

/** The same, or nothing. */
export function optional(check: Check): Check {
  return (place, value) => {
    if (value !== undefined) check(place, value);
  };
}

/** Anything: what it must be is said elsewhere. */
export const anything: Check = () => {};

function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (ArrayBuffer.isView(value) && "length" in value)
    return `a ${value.constructor.name} of ${value.length}: ${Array.from(value as Float64Array).slice(0, 8)}`;
  return typeof value === "object" && value !== null ? "an object" : String(value);
}
