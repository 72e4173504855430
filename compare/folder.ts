import { appendFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { writeWhole } from "../src/train/file-store.ts";
import { Results } from "./plan.ts";
import type { Result, Times } from "./runs.ts";

/** Where a comparison is kept: `results.jsonl` with a line for each run; `times.json` and what is drawn from both, written whole or not at all. */
export class Folder {
  readonly results: string;
  readonly times: string;

  constructor(readonly path: string) {
    mkdirSync(path, { recursive: true });
    this.results = join(path, "results.jsonl");
    this.times = join(path, "times.json");
  }

  /** What is known by now; lines can have come from elsewhere. */
  known(): Results {
    const whole = this.#lines().slice(0, -1);
    return new Results(
      whole.map((line) => JSON.parse(line) as Result),
      this.knownTimes()?.timings,
    );
  }

  /** Takes a last line away that was cut off, which the next one would be joined to. */
  async mend(): Promise<void> {
    const lines = this.#lines();
    if (lines.at(-1) !== "") await writeWhole(this.results, [...lines.slice(0, -1), ""].join("\n"));
  }

  add(result: Result): void {
    appendFileSync(this.results, `${JSON.stringify(result)}\n`);
  }

  /** Undefined where nothing is timed yet. */
  knownTimes(): Times | undefined {
    return existsSync(this.times) ? (JSON.parse(readFileSync(this.times, "utf8")) as Times) : undefined;
  }

  async saveTimes(times: Times): Promise<void> {
    await writeWhole(this.times, JSON.stringify(times, undefined, 1));
  }

  /** @returns the file */
  async save(name: string, content: string): Promise<string> {
    const file = join(this.path, name);
    await writeWhole(file, content);
    return file;
  }

  /** The last one is empty, unless it was cut off. */
  #lines(): string[] {
    return existsSync(this.results) ? readFileSync(this.results, "utf8").split("\n") : [""];
  }
}
