import { describe, expect, test } from "vitest";
import { OptionError } from "../util/errors.ts";
import { describeOptions } from "./options.ts";
import { TRAIN_OPTIONS, trainRequest } from "./train-options.ts";

const words = (line: string): string[] => line.split(" ").filter((word) => word !== "");

describe("options of train", () => {
  test("have the paper's values where none are given", () => {
    expect(trainRequest([])).toMatchObject({
      kind: "new",
      settings: {
        optimizer: "newton",
        epochs: 3,
        seed: 0,
        "batch-size": 100,
        damping: 0.3,
        "damping-int": 1,
        period: 10,
        "mom-lrs": 0.5,
        "summary-batch-size": 1000,
      },
    });
    expect(trainRequest(words("--optimizer adam"))).toMatchObject({ settings: { lr: 0.001 } });
    expect(trainRequest(words("--optimizer sgd"))).toMatchObject({ settings: { lr: 0.1 } });
  });

  test("are read in any usual form", () => {
    expect(trainRequest(words("--epochs=2 --optimizer adam --lr 1e-2 --out a/b"))).toMatchObject({
      settings: { epochs: 2, lr: 0.01 },
      out: "a/b",
    });
    expect(trainRequest(words("--resume runs/a --epochs 5"))).toEqual({
      kind: "resume",
      directory: "runs/a",
      epochs: 5,
    });
    expect(trainRequest(words("-h"))).toEqual({ kind: "help" });
  });

  test.each([
    ["--epoch 3", "unknown option --epoch; did you mean --epochs?"],
    ["--frobnicate", "unknown option --frobnicate"],
    ["-x", "unknown option -x"],
    ["--constructor 1", "unknown option --constructor"],
    ["extra", 'train takes options only; found "extra"'],
    ["--epochs", "--epochs needs a value: N"],
    ["--help=1", "--help takes no value"],
    ["--epochs 1 --epochs 2", "--epochs is given twice"],
    ["--epochs 0", '--epochs must be a whole number, from 1 to 1000000; found "0"'],
    ["--epochs 1.5", '--epochs must be a whole number, from 1 to 1000000; found "1.5"'],
    ["--epochs --seed 1", '--epochs must be a whole number, from 1 to 1000000; found "--seed"'],
    ["--limit -5", '--limit must be a whole number, 1 or more; found "-5"'],
    ["--seed 99999999999", '--seed must be a whole number, from 0 to 4294967295; found "99999999999"'],
    ["--batch-size ten", '--batch-size must be a whole number, 1 or more; found "ten"'],
    ["--threads 0", '--threads must be a whole number, from 1 to 1024; found "0"'],
    ["--damping 0", '--damping must be a number above 0; found "0"'],
    ["--damping NaN", '--damping must be a number above 0; found "NaN"'],
    ["--damping-int -1", '--damping-int must be a number of at least 0; found "-1"'],
    ["--mom-lrs 1", '--mom-lrs must be a number from 0 to below 1; found "1"'],
    ["--optimizer lion", '--optimizer must be newton, adam or sgd; found "lion"'],
    ["--out=", "--out must not be empty"],
    [
      "--lr 0.1",
      "--lr would be ignored by newton, which finds its own learning rates; drop it, or add --optimizer adam",
    ],
    ["--optimizer adam --damping 1", "--damping would be ignored by adam; only newton has it"],
    ["--optimizer sgd --period 1 --mom-lrs 0", "--period and --mom-lrs would be ignored by sgd; only newton has them"],
    ["--resume a --seed 1", "--seed cannot be given with --resume: the run goes on as it was begun"],
    ["--resume a --out b", "--out cannot be given with --resume: the run goes on as it was begun"],
  ])("refuse %s", (line, message) => {
    const attempt = (): unknown => trainRequest(words(line));
    expect(attempt).toThrow(OptionError);
    expect(attempt).toThrow(new OptionError(message));
  });

  test("are all in the help text, no line too wide", () => {
    const lines = describeOptions(TRAIN_OPTIONS, 80).split("\n");
    for (const name of Object.keys(TRAIN_OPTIONS)) expect(lines.some((line) => line.includes(`--${name}`))).toBe(true);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
  });
});
