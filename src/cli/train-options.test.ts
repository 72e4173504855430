import { resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { OptionError } from "../util/errors.ts";
import { describeOptions } from "./options.ts";
import { TRAIN_GROUPS, TRAIN_OPTIONS, trainRequest } from "./train-options.ts";

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
        damping: "auto",
        period: 10,
        "summary-batch-size": 1000,
      },
    });
    expect(trainRequest(words("--optimizer adam"))).toMatchObject({ settings: { lr: 0.001 } });
    expect(trainRequest(words("--optimizer sgd"))).toMatchObject({ settings: { lr: 0.1 } });
    expect(trainRequest(words("--optimizer newton-hv --model vgg-a"))).toMatchObject({
      settings: { damping: "auto", period: "auto", "direction-lr": 0.03, "direction-ridge": 3 },
    });
  });

  test("have the values that suit the optimiser where none are given", () => {
    expect(trainRequest(words("--optimizer lbfgs"))).toMatchObject({
      settings: { "batch-size": 1000, "max-iter": 20 },
    });
    const muon = trainRequest(words("--optimizer muon --batch-size 50"));
    expect(muon).toMatchObject({ settings: { lr: 0.001, momentum: 0.95, "weight-decay": 0.1, "batch-size": 50 } });
    expect(TRAIN_GROUPS.optimiser.lr.otherwise).toContain("sgd 0.1; adam, adamw, rmsprop, muon 0.001;");
  });

  test("have the values that suit the model where none are given", () => {
    expect(trainRequest(words("--model vgg-a"))).toMatchObject({
      settings: { dataset: "mnist", activation: "elu", "sigma-w": Math.SQRT2, "eval-samples": 2000 },
    });
    expect(trainRequest(words("--model transformer --data a.txt --steps 5"))).toMatchObject({
      settings: {
        dataset: "text",
        data: resolve("a.txt"),
        steps: 5,
        "batch-size": 32,
        "summary-batch-size": "auto",
        partition: "modules-2",
      },
    });
    const adam = trainRequest(words("--model resnet18 --dataset cifar10 --optimizer adam --data /a --augment"));
    expect(adam).toMatchObject({ settings: { data: "/a", augment: true, lr: 0.001 } });
    expect(adam).not.toHaveProperty("settings.summary-batch-size");
    expect(trainRequest(words("--steps 5"))).not.toHaveProperty("settings.epochs");
    expect(trainRequest(words("--dataset cifar10 --layers 20*10"))).toMatchObject({
      settings: { data: resolve("data/cifar10"), layers: "20*10" },
    });
  });

  test("are read in any usual form", () => {
    expect(trainRequest(words("--epochs=2 --optimizer adam --lr 1e-2 --out a/b"))).toMatchObject({
      settings: { epochs: 2, lr: 0.01 },
      out: "a/b",
    });
    expect(trainRequest(words("--resume runs/a --epochs 5"))).toEqual({
      kind: "resume",
      directory: "runs/a",
      extent: { epochs: 5 },
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
    ["--damping 0", '--damping must be auto or a number above 0; found "0"'],
    ["--damping AUTO", '--damping must be auto or a number above 0; found "AUTO"'],
    ["--period 0", '--period must be auto or a whole number, 1 or more; found "0"'],
    ["--optimizer kfac --damping auto", "--damping auto is for newton and newton-hv; kfac needs a number"],
    ["--damping NaN", '--damping must be auto or a number above 0; found "NaN"'],
    ["--damping-int -1", '--damping-int must be a number of at least 0; found "-1"'],
    ["--mom-lrs 1", '--mom-lrs must be a number from 0 to below 1; found "1"'],
    [
      "--optimizer lbgfs",
      '--optimizer must be newton, newton-hv, sgd, adam, adamw, rmsprop, lion, muon, schedule-free, prodigy, lbfgs or kfac; found "lbgfs"',
    ],
    ["--out=", "--out must not be empty"],
    [
      "--lr 0.1",
      "--lr would be ignored by newton, which finds its own learning rates; only sgd, adam, adamw, rmsprop, lion, muon, schedule-free, prodigy, lbfgs and kfac have it",
    ],
    [
      "--optimizer adam --momentum 0.5",
      "--momentum would be ignored by adam; only sgd, rmsprop, muon and kfac have it",
    ],
    ["--optimizer sgd --momentum 1", '--momentum must be a number from 0 to below 1; found "1"'],
    ["--optimizer adam --damping 1", "--damping would be ignored by adam; only newton, newton-hv and kfac have it"],
    [
      "--optimizer sgd --period 1 --mom-lrs 0",
      "--period and --mom-lrs would be ignored by sgd; only newton and newton-hv have them",
    ],
    [
      "--direction-lr 1",
      "--direction-lr would be ignored by newton, which finds its own learning rates; only newton-hv has it",
    ],
    [
      "--optimizer kfac --step-microbatch 5",
      "--step-microbatch would be ignored by kfac; only newton, newton-hv, sgd, adam, adamw, rmsprop, lion, muon, schedule-free, prodigy and lbfgs have it",
    ],
    ["--step-microbatch 0", '--step-microbatch must be a whole number, 1 or more; found "0"'],
    ["--period-order3 auto", '--period-order3 must be a whole number, 1 or more; found "auto"'],
    [
      "--model resnet",
      '--model must be perceptron, lenet, vgg-a, vgg-b, vgg-d, vgg-e, resnet18, autoencoder or transformer; found "resnet"',
    ],
    ["--layers 3-", '--layers 3-: "3-" is no list of widths such as "784-20*1024-10": "" is none'],
    ["--layers 0", '--layers 0: "0" is no list of widths such as "784-20*1024-10": "0" is none'],
    [
      "--layers 1000000000*5",
      '--layers 1000000000*5: "1000000000*5" has 1000000000 layers of one width; expected 100000 at most',
    ],
    [
      "--model resnet18 --layers 3",
      "--layers would be ignored by resnet18; only perceptron, lenet, autoencoder and transformer have it",
    ],
    [
      "--model transformer --data a --activation elu --scaling",
      "--activation and --scaling would be ignored by transformer; only perceptron, lenet, vgg-a, vgg-b, vgg-d, vgg-e and autoencoder have them",
    ],
    ["--augment", "--augment would be ignored by mnist; only cifar10, cifar100 and images have it"],
    [
      "--dataset toy-regression --data a",
      "--data would be ignored by toy-regression; only mnist, fashion-mnist, cifar10, cifar100, images and text have it",
    ],
    ["--context 8 --image-size 8", "--context would be ignored by mnist; only text has it"],
    [
      "--model transformer --dataset mnist",
      "transformer takes tokens, but mnist holds images, for which there is --model perceptron, lenet, vgg-a, vgg-b, vgg-d, vgg-e, resnet18 or autoencoder",
    ],
    [
      "--dataset text --data a",
      "perceptron takes images and numbers, but text holds tokens, for which there is --model transformer",
    ],
    ["--model transformer", "--dataset text needs --data PATH: a text file in UTF-8"],
    ["--epochs 1 --steps 2", "--epochs and --steps cannot both be given: a run ends after one or the other"],
    ["--resume a --seed 1", "--seed cannot be given with --resume: the run goes on as it was begun"],
    ["--resume a --out b", "--out cannot be given with --resume: the run goes on as it was begun"],
  ])("refuse %s", (line, message) => {
    const attempt = (): unknown => trainRequest(words(line));
    expect(attempt).toThrow(OptionError);
    expect(attempt).toThrow(new OptionError(message));
  });

  test("are all in the help text, no line too wide", () => {
    const lines = describeOptions(TRAIN_GROUPS, 80).split("\n");
    for (const name of Object.keys(TRAIN_OPTIONS)) expect(lines.some((line) => line.includes(`--${name}`))).toBe(true);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
  });
});
