import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { openSession } from "../../src/cli/session.ts";
import { trainRequest } from "../../src/cli/train-options.ts";
import { readMetrics } from "../../src/train/file-store.ts";
import type { EpochEvent } from "../../src/train/index.ts";
import { OptionError } from "../../src/util/errors.ts";
import { Random } from "../../src/util/random.ts";
import { runCommand } from "../support/command.ts";

vi.setConfig({ testTimeout: 120_000 });

const PIXELS = 3 * 32 * 32;
const TEXT = "the loss bends along the proposed direction, group of parameters by group. ";

let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "grnewt-"));
  const random = new Random(1);
  const bytes = (count: number): Uint8Array => Uint8Array.from({ length: count }, () => random.below(256));
  const images = (count: number): Uint8Array =>
    bytes(count * (1 + PIXELS)).map((byte, i) => (i % (1 + PIXELS) === 0 ? byte % 10 : byte));
  mkdirSync(join(directory, "data/cifar10"), { recursive: true });
  writeFileSync(join(directory, "data/cifar10/data_batch_1.bin"), images(24));
  writeFileSync(join(directory, "data/cifar10/test_batch.bin"), images(6));
  writeFileSync(join(directory, "text.txt"), TEXT.repeat(12));
  for (const name of ["cats", "dogs"]) {
    mkdirSync(join(directory, "folder", name), { recursive: true });
    for (let i = 0; i < 6; i++)
      await sharp(bytes(20 * 24 * 3), { raw: { width: 24, height: 20, channels: 3 } }).toFile(
        join(directory, "folder", name, `${i}.png`),
      );
  }
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

const grnewt = (args: string, where: string = directory) => runCommand(where, ["train", ...args.split(" ")]);

const CIFAR = "--dataset cifar10 --threads 1";
const RUNS: Readonly<Record<string, string>> = {
  lenet: `--model lenet ${CIFAR} --batch-size 8 --augment`,
  resnet18: `--model resnet18 ${CIFAR} --batch-size 2 --limit 8 --eval-samples 2`,
  transformer: "--model transformer --data text.txt --context 8 --layers 1*16 --batch-size 8 --threads 1",
};
/** Of the summaries, so that they are quick. */
const NEWTON: Readonly<Record<string, string>> = {
  lenet: "--period 2",
  resnet18: "--summary-batch-size 2 --partition trivial",
  transformer: "--summary-batch-size 8",
};

test.each(Object.entries(RUNS))("%s trains with newton", async (name, args) => {
  const { status, stderr } = await grnewt(`${args} ${NEWTON[name]} --steps 1 --out ${name}-newton`);
  expect([status, stderr]).toEqual([0, ""]);
  const events = readMetrics(join(directory, `${name}-newton`));
  expect(events.find(({ type }) => type === "update")).toMatchObject({ found: true });
  expect(events.at(-1)).toMatchObject({ how: "done", steps: 1 });
});

test.each([
  ["lenet", NEWTON.lenet],
  ["resnet18", "--optimizer adam"],
  ["transformer", "--optimizer adam"],
])("%s, resumed elsewhere, is the run that was not stopped", async (name, optimizer) => {
  const all = `${RUNS[name]} ${optimizer}`;
  const [whole, first] = await Promise.all([
    grnewt(`${all} --steps 3 --out ${name}-whole`),
    grnewt(`${all} --steps 2 --out ${name}`),
  ]);
  const resumed = await grnewt(`--resume ../${name} --steps 3`, join(directory, "data"));
  for (const { status, stderr } of [whole, first, resumed]) expect([status, stderr]).toEqual([0, ""]);
  const weights = (run: string): Buffer => readFileSync(join(directory, run, "weights.safetensors"));
  expect(weights(name).equals(weights(`${name}-whole`))).toBe(true);
  const results = (run: string) => {
    const last = readMetrics(join(directory, run)).findLast((event): event is EpochEvent => event.type === "epoch")!;
    return [last.step, last.trainLoss, last.testLoss, last.testAccuracy, last.learningRates];
  };
  expect(results(name)).toEqual(results(`${name}-whole`));
  expect(results(name)[3]).toEqual(expect.any(Number));
});

test("a run goes on with its own data and checkpoint only, and nobody else's", async () => {
  const data = join(directory, "data/changing");
  cpSync(join(directory, "data/cifar10"), data, { recursive: true });
  const settings = "--dataset cifar10 --data data/changing --layers 5 --optimizer adam --threads 1";
  expect((await grnewt(`${settings} --epochs 1 --out changing`)).status).toBe(0);
  const refused = async (file: string, content: string | Uint8Array): Promise<string> => {
    const path = join(directory, file);
    const before = existsSync(path) ? readFileSync(path) : undefined;
    writeFileSync(path, content);
    const { status, stdout, stderr } = await grnewt("--resume changing --epochs 2");
    expect([status, stdout]).toEqual([1, ""]);
    if (before) writeFileSync(path, before);
    return stderr;
  };
  const images = readFileSync(join(data, "data_batch_1.bin"));
  expect(await refused("data/changing/data_batch_1.bin", images.subarray(0, 23 * (1 + PIXELS)))).toMatch(
    /its data were 24 training and 6 test samples \(fingerprint .*\); now they are 23 training and 6 test samples/,
  );
  const other = Uint8Array.from(images);
  other[PIXELS]! ^= 255;
  expect(await refused("data/changing/data_batch_1.bin", other)).toMatch(
    /its data were (24 training and 6 test samples \(fingerprint )(\w+) (\w+)\); now they are \1(?!\2)\w+ \3\)\n$/,
  );
  const checkpoint = readFileSync(join(directory, "changing/checkpoint.safetensors"));
  expect(await refused("changing/checkpoint.safetensors", checkpoint.subarray(0, 1000))).toMatch(
    /^grnewt: changing.checkpoint\.safetensors is damaged: /,
  );
  expect(await refused("changing/lock", String(process.pid))).toMatch(
    /^grnewt: changing.lock: process \d+ is at work here/,
  );
  writeFileSync(join(directory, "changing/lock"), String(spawnSync(process.execPath, ["--version"]).pid));
  expect((await grnewt("--resume changing --epochs 2")).status).toBe(0);
  expect(existsSync(join(directory, "changing/lock"))).toBe(false);
});

test("an image that cannot be read ends a run, which goes on from there once it is mended", async () => {
  const args = "--layers 5 --dataset images --data photos --image-size 8 --batch-size 2 --optimizer adam --threads 1";
  cpSync(join(directory, "folder"), join(directory, "photos"), { recursive: true });
  const whole = await grnewt(`${args} --epochs 2 --out photos-whole`);
  const image = join(directory, "photos/dogs/2.png");
  const content = readFileSync(image);
  writeFileSync(image, content.subarray(0, content.length / 2));
  const failed = await grnewt(`${args} --epochs 2 --eval-samples 1 --out photos-run`);
  expect([whole.status, failed.status]).toEqual([0, 1]);
  expect(failed.stderr).toMatch(/^grnewt: .*photos.dogs.2\.png: expected a JPEG or PNG image, found: /);
  expect(failed.stdout).toContain("resume  grnewt train --resume photos-run");
  const done = readMetrics(join(directory, "photos-run")).filter(({ type }) => type === "step").length;
  writeFileSync(image, content);
  expect((await grnewt("--resume photos-run")).status).toBe(0);
  const events = readMetrics(join(directory, "photos-run"));
  expect(events.find((event) => event.type === "resume")).toMatchObject({ step: done });
  const weights = (run: string): Buffer => readFileSync(join(directory, run, "weights.safetensors"));
  expect(weights("photos-run").equals(weights("photos-whole"))).toBe(true);
});

test("with batch norm, a last batch of one sample is left out", async () => {
  const { status } = await grnewt(
    "--layers 5 --batch-norm --limit 31 --batch-size 10 --summary-batch-size 15 --epochs 1 --out odd",
  );
  expect(status).toBe(0);
  expect(readMetrics(join(directory, "odd")).filter(({ type }) => type === "step")).toHaveLength(3);
});

test("the accuracy of a text counts every character", async () => {
  await grnewt(`${RUNS.transformer} --optimizer adam --steps 1 --out text`);
  const [start, epoch] = ["start", "epoch"].map((type) =>
    readMetrics(join(directory, "text")).find((event) => event.type === type),
  );
  const characters = 8 * (start as unknown as { config: { "test samples": number } }).config["test samples"];
  const correct = (epoch as EpochEvent).testAccuracy! * characters;
  expect(correct).toBeCloseTo(Math.round(correct), 6);
});

test.each([
  [
    "a folder of images, given back",
    "--model autoencoder --layers 8-3 --dataset images --data folder --image-size 8 --augment",
    "images in folder",
  ],
  ["a regression", "--dataset toy-regression --layers 5 --limit 60", "toy regression"],
])("%s has a loss and no accuracy", async (_what, args, title) => {
  const { status, stdout, stderr } = await grnewt(
    `${args} --batch-size 3 --steps 3 --out ${title.replaceAll(" ", "-")}`,
  );
  // Three steps are too few to learn anything from three samples each.
  expect([status, stderr.replace(/^warning: the training loss is .*\n/, "")]).toEqual([0, ""]);
  expect(stdout).toContain(`NewtonSummary on`);
  expect(stdout).toMatch(/: test loss \d/);
  expect(stdout).not.toContain("accuracy");
});

test.each([
  ["--model vgg-a", "vgg-a needs images of at least 32 × 32, but those of mnist are 28 × 28"],
  [
    "--dataset cifar100",
    /data.cifar100.train\.bin: expected a file of CIFAR's binary version, found no such file\. To get it, download/,
  ],
])("%s is refused", async (args, message) => {
  const { status, stderr } = await grnewt(args);
  expect(status).toBeGreaterThan(0);
  expect(stderr).toMatch(message);
  expect(stderr.trimEnd().split("\n")).toHaveLength(1);
});

test.each([
  ["cifar10", "--partition halves", '--partition halves: unknown partition "halves"'],
  [
    "cifar10",
    "--partition blocks-9",
    "--partition blocks-9: cannot make 9 groups of the 4 weights that can be trained",
  ],
  ["cifar10", "--partition modules-0", '--partition modules-0: partition "modules-0": n must be 1 or more'],
  ["cifar10", "--model lenet --layers 6", "--layers 6: expected 4 widths, of two convolutions and two layers; found 1"],
  [
    "cifar10",
    "--layers 1000000000",
    "--layers 1000000000: a tensor of shape [1000000000,3072] does not fit into memory",
  ],
  ["text", "--layers 3*30", "--layers 3*30: 4 heads do not divide a width of 30"],
  ["text", "--layers 4-8", "--layers 4-8: expected widths that are all the same, such as 4*128"],
])("on %s, %s is refused in the words of the options", async (dataset, args, message) => {
  const data = {
    cifar10: ["--dataset", "cifar10", "--data", join(directory, "data/cifar10")],
    text: ["--model", "transformer", "--context", "8", "--data", join(directory, "text.txt")],
  };
  const request = trainRequest([...data[dataset as keyof typeof data], ...args.split(" ")]);
  if (request.kind !== "new") throw new Error("no new run");
  const session = openSession(request.settings, request.given);
  await expect(session).rejects.toThrow(OptionError);
  await expect(session).rejects.toThrow(message);
});
