import { OptionError } from "../util/errors.ts";

/**
 * The damping of each group.
 * @param also what the option takes beside numbers, for the error.
 * @throws OptionError
 */
export function dampingByGroup(damping: number | ArrayLike<number>, groups: number, also: string = ""): Float64Array {
  const values = numbersOf(damping, groups);
  if (values.length === groups && values.every((value) => Number.isFinite(value) && (value as number) > 0))
    return Float64Array.from(values as number[]);
  const taken = `${also}a number above 0, or a list of one for each of ${groups} groups`;
  throw new OptionError(`damping must be ${taken}; found ${String(damping)}`);
}

function numbersOf(damping: unknown, groups: number): unknown[] {
  if (typeof damping === "number") return new Array(groups).fill(damping);
  return Array.isArray(damping) || ArrayBuffer.isView(damping) ? Array.from(damping as ArrayLike<number>) : [];
}

/**
 * A product with a factor above 0 that is neither infinite nor 0, unless the value is: schedules of any length end at the
 * largest or the least number.
 */
export function multiplied(value: number, factor: number): number {
  return value === 0 ? 0 : Math.min(Number.MAX_VALUE, Math.max(Number.MIN_VALUE, value * factor));
}

/** What its user sets at any time, and what steps and restored states turn: what is set while these are under way stands. */
export class Turned<T> {
  #value: T;
  #sets = 0;

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  set(value: T): void {
    this.#value = value;
    this.#sets++;
  }

  /** Begins a turn. @returns what ends it with a new value, unless one was set since */
  begin(): (value: T) => void {
    const sets = this.#sets;
    return (value) => {
      if (this.#sets === sets) this.#value = value;
    };
  }
}
