import type { NDArray } from "../../src/index.ts";
import { sizeOf } from "../../src/util/ndarray.ts";

/** A golden file that does not have the form that its README describes. */
export class FormatError extends Error {}

/** Something that a golden file needs and grnewt does not have. */
export class MissingFeature extends Error {}

/** A value of a golden file together with its place in it, so that every complaint says where. */
export class Item {
  readonly value: unknown;
  readonly path: string;

  constructor(value: unknown, path: string) {
    this.value = value;
    this.path = path;
  }

  /** The entry of that name. @throws FormatError where there is none */
  get(name: string): Item {
    return this.find(name) ?? this.fail(`has no "${name}"`);
  }

  /** The entry of that name; one that is null counts as absent. */
  find(name: string): Item | undefined {
    const value = this.#record()[name];
    return value === undefined || value === null ? undefined : new Item(value, join(this.path, name));
  }

  keys(): string[] {
    return Object.keys(this.#record());
  }

  entries(): [string, Item][] {
    return Object.entries(this.#record()).map(([name, value]) => [name, new Item(value, join(this.path, name))]);
  }

  list(): Item[] {
    if (!Array.isArray(this.value)) return this.fail("must be a list");
    return this.value.map((value, i) => new Item(value, `${this.path}[${i}]`));
  }

  get isList(): boolean {
    return Array.isArray(this.value);
  }

  text(): string {
    return typeof this.value === "string" ? this.value : this.fail("must be a text");
  }

  number(): number {
    return typeof this.value === "number" ? this.value : this.fail("must be a number");
  }

  flag(): boolean {
    return typeof this.value === "boolean" ? this.value : this.fail("must be true or false");
  }

  texts(): string[] {
    return this.list().map((item) => item.text());
  }

  /** The numbers of a list. */
  numbers(): number[] {
    if (!Array.isArray(this.value) || !this.value.every((entry) => typeof entry === "number"))
      return this.fail("must be a list of numbers");
    return this.value;
  }

  /** The numbers of a list of rows. */
  matrix(): number[] {
    return this.list().flatMap((row) => row.numbers());
  }

  /** Lists of names. */
  groups(): string[][] {
    return this.list().map((group) => group.texts());
  }

  /** An array of real numbers. */
  floats(): NDArray<Float64Array> {
    const { shape, data } = this.#array();
    return { shape, data: Float64Array.from(data) };
  }

  /** An array of whole numbers. */
  integers(): NDArray<Int32Array> {
    const { shape, data } = this.#array();
    if (!data.every(Number.isInteger)) return this.fail("must hold whole numbers");
    return { shape, data: Int32Array.from(data) };
  }

  /** A record of arrays of real numbers. */
  arrays(): Record<string, NDArray<Float64Array>> {
    return Object.fromEntries(this.entries().map(([name, item]) => [name, item.floats()]));
  }

  fail(problem: string): never {
    throw new FormatError(`${this.path || "the file"} ${problem}`);
  }

  #array(): { shape: number[]; data: number[] } {
    const [shape, data] = [this.get("shape").numbers(), this.get("data").numbers()];
    if (sizeOf(shape) !== data.length)
      this.fail(`has shape [${shape.join(", ")}], which needs ${sizeOf(shape)} entries, but ${data.length} of them`);
    return { shape, data };
  }

  #record(): Readonly<Record<string, unknown>> {
    if (typeof this.value !== "object" || this.value === null || Array.isArray(this.value))
      return this.fail("must be an object");
    return this.value as Record<string, unknown>;
  }
}

function join(path: string, name: string): string {
  return path ? `${path}.${name}` : name;
}
