import type { ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { OPTIMIZERS } from "../../src/cli/optimizers.ts";
import type { Tuning } from "../../src/engine/index.ts";
import { decodeSafetensors } from "../../src/interop/index.ts";
import { RunDirectory, readMetrics } from "../../src/train/file-store.ts";
import type { EpochEvent, StepEvent, TrainEvent } from "../../src/train/index.ts";
import { type Outcome, runCommand } from "../support/command.ts";

const TINY = ["--limit", "240", "--batch-size", "20", "--summary-batch-size", "100", "--threads", "1"];

vi.setConfig({ testTimeout: 120_000 });

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "grnewt-"));
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Runs the command in the test's own folder. */
const grnewt = (args: readonly string[], watch?: (child: ChildProcess, stdout: string) => void): Promise<Outcome> =>
  runCommand(directory, args, watch);

const run = (name: string): string => join(directory, name);

/** What a run's steps did, without the time that they took. */
function steps(events: readonly TrainEvent[]): unknown[] {
  return events
    .filter((event): event is StepEvent => event.type === "step")
    .map(({ step, loss, learningRates }) => ({ step, loss, learningRates }));
}

describe("what cannot be run", () => {
  test.each([
    [["train", "--lr", "0.1"], /^grnewt: --lr would be ignored by newton/],
    [["train", "--limit", "70000"], /^grnewt: --limit 70000 is more than the 60000 training samples there are/],
    [["train", "--limit", "50", "--batch-size", "51"], /^grnewt: --batch-size 51 is more than the 50 training samples/],
    [["frobnicate"], /^grnewt: expected a command, train or report; found "frobnicate"/],
  ])("%j is refused in one line, and nothing is written", async (args, message) => {
    const { status, stdout, stderr } = await grnewt(args);
    expect(status).toBe(2);
    expect(stderr).toMatch(message);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(stdout).toBe("");
    expect(readdirSync(directory)).toEqual([]);
  });

  test("a run that is not there", async () => {
    const { status, stderr } = await grnewt(["train", "--resume", "nowhere"]);
    expect(status).toBe(1);
    expect(stderr).toBe("grnewt: nowhere is not the folder of a run: it has no metrics.jsonl\n");
  });
});

test("help and version are there", async () => {
  const [all, train, report, version] = await Promise.all(
    [["--help"], ["train", "--help"], ["report", "-h"], ["--version"]].map((args) => grnewt(args)),
  );
  for (const { status, stderr } of [all!, train!, report!, version!]) expect([status, stderr]).toEqual([0, ""]);
  expect(all!.stdout).toContain("usage: grnewt <command>");
  expect(train!.stdout).toContain("--summary-batch-size N");
  expect(report!.stdout).toContain("usage: grnewt report DIR");
  expect(version!.stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
});

test("a run ends by itself and leaves its metrics, weights and report", async () => {
  const { status, stdout, stderr } = await grnewt(["train", "--epochs", "2", ...TINY]);
  expect([status, stderr.includes("Error")]).toEqual([0, false]);
  const [name] = readdirSync(run("runs"));
  expect(name).toMatch(/^\d{4}-\d\d-\d\d-\d{6}-newton$/);
  const path = run(`runs/${name}`);
  expect(readdirSync(path).sort()).toEqual([
    "checkpoint.safetensors",
    "metrics.jsonl",
    "report.html",
    "weights.safetensors",
  ]);
  const events = readMetrics(path);
  expect(events[0]).toMatchObject({ type: "start", samples: 240, versions: { node: process.versions.node } });
  expect(events.at(-1)).toMatchObject({ type: "end", how: "done", epochs: 2, steps: 24 });
  const { tensors } = decodeSafetensors(readFileSync(join(path, "weights.safetensors")));
  expect(tensors["layers.3.weight"]!.shape).toEqual([10, 100]);
  for (const text of ["epoch 1/2   50 %", "learning rates  weights  biases", "layers.3", "report  file://"])
    expect(stdout).toContain(text);
  expect(stdout.includes("\u001b")).toBe(false);
  rmSync(join(path, "report.html"));
  expect((await grnewt(["report", `runs/${name}`])).status).toBe(0);
  expect(readFileSync(join(path, "report.html"), "utf8")).toContain("NewtonSummary on MNIST");
  const again = await grnewt(["train", "--out", `runs/${name}`]);
  expect([again.status, again.stderr]).toEqual([
    2,
    `grnewt: --out runs/${name} exists already and is not an empty folder\n`,
  ]);
});

test("a run whose loss ends above its start says so", async () => {
  const args = ["--epochs", "1", "--limit", "240", "--optimizer", "sgd", "--lr", "100", "--threads", "1"];
  const { status, stderr } = await grnewt(["train", ...args]);
  expect(status).toBe(0);
  expect(stderr).toMatch(
    /^warning: the training loss is \d+.*, above the 2\.\d+ of the first batch: nothing was learned\n$/,
  );
});

test("a run stops, with all it has, when nobody reads its output any more", async () => {
  const closing = (child: ChildProcess): void => {
    child.stdout!.destroy();
    child.stderr!.destroy();
  };
  const { status } = await grnewt(["train", "--epochs", "50", "--out", "one", ...TINY], closing);
  expect(status).toBe(143);
  expect(readMetrics(run("one")).at(-1)).toMatchObject({ type: "end", how: "aborted" });
});

const OTHERS = Object.entries(OPTIMIZERS).flatMap(([name, { takes }]) => ("lr" in takes ? [name] : []));
const SMALL = "--dataset toy-regression --limit 200 --layers 20 --threads 1 --epochs 1 --lr 0.01".split(" ");

test.each(OTHERS)("%s runs too", async (optimizer) => {
  const { status, stderr } = await grnewt(["train", ...SMALL, "--optimizer", optimizer, "--out", "one"]);
  expect(status).toBe(0);
  // Two steps teach some of them nothing.
  expect(stderr).toMatch(/^(warning: the training loss is .* nothing was learned\n)?$/);
  expect(readMetrics(run("one")).find(({ type }) => type === "epoch")).toMatchObject({
    learningRates: expect.arrayContaining([0.01]),
  });
});

test("newton-hv runs and goes on", async () => {
  const args = ["--optimizer", "newton-hv", "--step-microbatch", "7", "--period-order3", "2", ...TINY];
  expect((await grnewt(["train", ...args, "--epochs", "1", "--out", "one"])).status).toBe(0);
  expect((await grnewt(["train", "--resume", "one", "--epochs", "2"])).status).toBe(0);
  const epochs = readMetrics(run("one")).filter(({ type }) => type === "epoch") as EpochEvent[];
  expect(epochs).toHaveLength(2);
  // At first it is the logarithm of 10, 2.3.
  for (const { trainLoss } of epochs) expect(trainLoss).toBeLessThan(1);
});

test("a run goes on with the tuning that it was begun with", async () => {
  const form = "convWeight 1x28x28 6x24x24 stride 1x1 before 0x0 after 0x0 dilation 1x1 groups 1 kernel 5x5";
  const tuning: Tuning = {
    machine: { processor: "another one", threads: 1, onnxruntime: "1.30.0" },
    key: "another model's",
    threads: 2,
    convolutions: { [form]: "rows" },
    microbatches: {},
    gains: { threads: 1, convolutions: 1, microbatch: 1 },
  };
  writeFileSync(run("tuning.json"), JSON.stringify(tuning));
  const args = ["train", "--model", "lenet", "--eval-samples", "20", ...TINY];
  const [begun] = await Promise.all([
    grnewt([...args, "--steps", "6", "--tuning", "tuning.json", "--out", "one"]),
    grnewt([...args, "--steps", "12", "--tuning", "tuning.json", "--out", "whole"]),
    grnewt([...args, "--steps", "12", "--out", "by-rule"]),
  ]);
  expect([begun.status, begun.stderr]).toEqual([
    0,
    "warning: tuning.json was measured for another model, other batches or --threads\n",
  ]);
  rmSync(run("tuning.json"));
  expect((await grnewt(["train", "--resume", "one", "--steps", "12"])).status).toBe(0);
  const [one, whole, byRule] = ["one", "whole", "by-rule"].map((name) => readMetrics(run(name)));
  // --threads goes before what was measured.
  expect(one![0]).toMatchObject({ type: "start", config: { tuning: { ...tuning, threads: 1 } } });
  expect(steps(one!)).toEqual(steps(whole!));
  expect(steps(one!)).not.toEqual(steps(byRule!));
});

test("the weights to use are saved, those that are trained are in the checkpoint", async () => {
  await grnewt(["train", ...SMALL, "--optimizer", "schedule-free", "--out", "one"]);
  const saved = decodeSafetensors(readFileSync(join(run("one"), "weights.safetensors"))).tensors;
  const { model } = RunDirectory.open(run("one")).checkpoint();
  expect(Object.keys(saved).sort()).toEqual(Object.keys(model).sort());
  expect(saved["layers.0.weight"]!.data).not.toEqual(model["layers.0.weight"]!.data);
});

test("a second Ctrl-C ends a run at once, in the middle of a summary too", async () => {
  let heard = false;
  let second = 0;
  // The first step's summary alone takes seconds.
  const args = ["--layers", "10*1024", "--limit", "1000", "--threads", "1", "--out", "one"];
  const { signal } = await grnewt(["train", ...args], (child, stdout) => {
    if (heard || !stdout.includes("batches of")) return;
    heard = true;
    child.kill("SIGINT");
    child.stderr!.on("data", () => {
      // Later than what npm would pass on of the first.
      setTimeout(() => {
        second = performance.now();
        child.kill("SIGINT");
      }, 1000);
    });
  });
  expect(signal).toBe("SIGINT");
  // Ending the process takes some ms, on a busy machine more.
  expect(performance.now() - second).toBeLessThan(3000);
  expect(steps(readMetrics(run("one")))).toEqual([]);
});

test("Ctrl-C is answered in the middle of a summary", async () => {
  // Batch norm couples the samples, so each summary is one run of the engine, and takes half a second or more.
  const model = "--dataset toy-regression --layers 10*100 --batch-norm --threads 1 --period 1 --epochs 1";
  const sizes = "--limit 1000 --batch-size 200 --summary-batch-size 1000";
  let [asked, answered] = [0, 0];
  await grnewt(["train", ...`${model} ${sizes}`.split(" "), "--out", "one"], (child, stdout) => {
    if (asked || !stdout.includes("20 %")) return;
    asked = performance.now();
    // All is compiled, and the summary of the next step has begun.
    setTimeout(() => child.kill("SIGINT"), 50);
    child.stderr!.once("data", () => {
      answered = performance.now();
    });
  });
  expect(answered).toBeGreaterThan(asked);
  // The command ends once the summary is there.
  expect(answered - asked).toBeLessThan((performance.now() - asked) / 2);
});

test("Ctrl-C stops a run after its step, and resuming it gives the run that was never stopped", async () => {
  // With a summary before each step the run lasts long enough to be stopped.
  const args = ["train", "--epochs", "2", "--period", "1", ...TINY];
  let asked = false;
  const stopped = await grnewt([...args, "--out", "stopped"], (child, stdout) => {
    if (asked || !stdout.includes("20 %")) return;
    asked = true;
    // npm passes a Ctrl-C on to its child, which so hears it twice.
    child.kill("SIGINT");
    setTimeout(() => child.kill("SIGINT"), 30);
  });
  expect([stopped.status, stopped.signal]).toEqual([130, null]);
  expect(stopped.stdout).toContain("resume  grnewt train --resume stopped");
  const first = readMetrics(run("stopped"));
  expect(first.at(-1)).toMatchObject({ type: "end", how: "aborted" });
  expect(steps(first).length).toBeLessThan(24);
  for (const name of ["weights.safetensors", "report.html"]) expect(existsSync(join(run("stopped"), name))).toBe(true);

  const [whole, resumed] = await Promise.all([
    grnewt([...args, "--out", "whole"]),
    grnewt(["train", "--resume", "stopped"]),
  ]);
  expect([whole.status, resumed.status]).toEqual([0, 0]);
  expect(steps(readMetrics(run("stopped")))).toEqual(steps(readMetrics(run("whole"))));
  const weights = (name: string): Buffer => readFileSync(join(run(name), "weights.safetensors"));
  expect(weights("stopped").equals(weights("whole"))).toBe(true);
  const again = await grnewt(["train", "--resume", "stopped"]);
  expect([again.status, again.stderr]).toEqual([
    2,
    "grnewt: --resume stopped: its 2 epochs are done; give more --epochs or --steps to go on\n",
  ]);
});
