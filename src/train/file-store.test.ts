import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { decodeSafetensors } from "../interop/index.ts";
import { DataError, OptionError } from "../util/errors.ts";
import { encodeTree } from "./checkpoint.ts";
import { obstacle, RunDirectory, readMetrics } from "./file-store.ts";
import type { StepEvent, TrainEvent } from "./metrics.ts";
import type { RunState } from "./train.ts";

let root: string;
let path: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "grnewt-"));
  path = join(root, "runs", "one");
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

function step(number: number): TrainEvent {
  return {
    type: "step",
    epoch: 0,
    step: number,
    loss: 1 / (number + 3),
    learningRates: [0.1, null],
    samples: 10,
    time: number,
  };
}

const state = {
  progress: { epoch: 1, step: 5, learningRates: Float64Array.of(0.1) },
  model: {},
} as unknown as RunState;

test.skipIf(!existsSync("/proc/self"))("a folder that cannot be made is one clear error", () => {
  expect(() => RunDirectory.create("/proc/none/run")).toThrow("no folder can be made at /proc/none");
  expect(() => RunDirectory.create("/proc/none/run")).toThrow(OptionError);
});

describe("metrics", () => {
  test("can be read while they grow, a line that is half written left out", () => {
    const directory = RunDirectory.create(path);
    directory.append(step(0));
    expect(readMetrics(path)).toEqual([step(0)]);
    directory.append(step(1));
    appendFileSync(join(path, "metrics.jsonl"), '{"type":"ste');
    expect(readMetrics(path)).toEqual([step(0), step(1)]);
    directory.close();
  });

  test("name the line that is none", () => {
    mkdirSync(path, { recursive: true });
    const { loss: _, ...lossless } = step(1) as StepEvent;
    for (const [line, why] of [
      ['{"type":"spam"}', "as it has no type of one"],
      ["{", "but no JSON object"],
      ["3", "but no JSON object"],
      [JSON.stringify(lossless), "as it has no loss"],
      ['{"type":"start"}', "as it has no config"],
    ] as const) {
      writeFileSync(join(path, "metrics.jsonl"), `${JSON.stringify(step(0))}\n${line}\n`);
      expect(() => readMetrics(path)).toThrow(
        new DataError(`${join(path, "metrics.jsonl")}: line 2 is not an event of a run, ${why}: ${line.slice(0, 60)}`),
      );
    }
    expect(() => readMetrics(root)).toThrow(DataError);
  });
});

describe("a run's folder", () => {
  test("is never one that holds something", () => {
    expect(obstacle(path)).toBeUndefined();
    RunDirectory.create(path);
    expect(obstacle(path)).toBeUndefined();
    const file = join(path, "mine.txt");
    writeFileSync(file, "");
    expect(obstacle(path)).toBe("exists already and is not an empty folder");
    expect(obstacle(file)).toBe("exists already and is a file");
    expect(obstacle(join(file, "a", "b"))).toBe(`lies in ${file}, which is a file`);
    for (const taken of [path, file]) expect(() => RunDirectory.create(taken)).toThrow(OptionError);
  });

  test("names the file that cannot be written", async () => {
    const directory = RunDirectory.create(path);
    for (const name of ["report.html", "metrics.jsonl"]) mkdirSync(join(path, name));
    await expect(directory.write("report.html", "text")).rejects.toThrow(DataError);
    await expect(directory.write("report.html", "text")).rejects.toThrow(
      `${join(path, "report.html")} cannot be written`,
    );
    expect(() => directory.append(step(0))).toThrow(`${join(path, "metrics.jsonl")} cannot be written`);
  });

  test("gets its files whole or not at all", async () => {
    const directory = RunDirectory.create(path);
    await directory.write("report.html", "first");
    const writing = directory.write("report.html", "x".repeat(1e7));
    expect(readFileSync(join(path, "report.html"), "utf8")).toBe("first");
    await writing;
    expect(readFileSync(join(path, "report.html"), "utf8")).toHaveLength(1e7);
    mkdirSync(join(path, "taken"));
    await expect(directory.write("taken", "text")).rejects.toThrow();
    expect(readdirSync(path).sort()).toEqual(["report.html", "taken"]);
  });

  test("holds weights that any reader of safetensors can load", async () => {
    const directory = RunDirectory.create(path);
    await directory.saveWeights({ "layers.0.bias": { shape: [2], data: Float32Array.of(1, 2) } });
    const { tensors } = decodeSafetensors(readFileSync(join(path, "weights.safetensors")));
    expect(tensors).toEqual({ "layers.0.bias": { shape: [2], data: Float32Array.of(1, 2) } });
  });

  test("goes back to its checkpoint, and metrics after it are dropped", async () => {
    const directory = RunDirectory.create(path);
    directory.append(step(0));
    await directory.saveCheckpoint(state);
    directory.append(step(1));
    directory.close();
    appendFileSync(join(path, "metrics.jsonl"), '{"type":"ste');
    const again = RunDirectory.open(path);
    expect(again.checkpoint()).toEqual(state);
    expect(again.metrics()).toHaveLength(2);
    expect(await again.rewind()).toEqual(state);
    again.append(step(7));
    expect(readMetrics(path)).toEqual([step(0), step(7)]);
    again.close();
  });

  test("says which file is damaged", async () => {
    const directory = RunDirectory.create(path);
    await directory.saveCheckpoint(state);
    const file = join(path, "checkpoint.safetensors");
    const whole = readFileSync(file);
    for (const bytes of [whole.subarray(0, 100), whole.subarray(0, -1), encodeTree({ lines: 1 })]) {
      writeFileSync(file, bytes);
      expect(() => directory.checkpoint()).toThrow(DataError);
      expect(() => directory.checkpoint()).toThrow(`${file} is damaged: `);
    }
  });

  test.each([-1, 0, 0.5, Number.NaN, "1", undefined])(
    "whose checkpoint is of %s lines is damaged, and its metrics stay",
    async (lines) => {
      const directory = RunDirectory.create(path);
      for (const number of [0, 1]) directory.append(step(number));
      directory.close();
      writeFileSync(join(path, "checkpoint.safetensors"), encodeTree({ lines, state }));
      await expect(directory.rewind()).rejects.toThrow(DataError);
      await expect(directory.rewind()).rejects.toThrow("is damaged: state: lines must be a whole number, 1 or more");
      expect(directory.metrics()).toHaveLength(2);
    },
  );

  test("says what it lacks for that", async () => {
    const directory = RunDirectory.create(path);
    directory.append(step(0));
    await expect(directory.rewind()).rejects.toThrow("has no checkpoint.safetensors");
    await directory.saveCheckpoint(state);
    directory.close();
    writeFileSync(join(path, "metrics.jsonl"), "");
    await expect(RunDirectory.open(path).rewind()).rejects.toThrow("expected at least 1 lines, found 0");
    expect(existsSync(join(path, "checkpoint.safetensors"))).toBe(true);
  });
});
