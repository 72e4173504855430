import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkFile } from "./check.ts";

const committed = fileURLToPath(new URL("data/", import.meta.url));
const shared = fileURLToPath(new URL("../../../shared/golden/", import.meta.url));

function goldenFiles(folder: string): string[] {
  return readdirSync(folder).filter((name) => name.endsWith(".json"));
}

async function expectFile(path: string, skip: (reason: string) => void): Promise<void> {
  const { status, report } = await checkFile(path);
  if (status === "skipped") skip(`missing: ${report.skips.join("; ")}`);
  expect(report.failures).toEqual([]);
}

describe("committed golden files", () => {
  test.each(goldenFiles(committed))("%s", { timeout: 120_000 }, async (name) => {
    await expectFile(join(committed, name), (reason) => expect.fail(reason));
  });
});

describe.skipIf(!existsSync(shared))(
  `golden files in ${shared}${existsSync(shared) ? "" : ", which is missing"}`,
  () => {
    test.for(existsSync(shared) ? goldenFiles(shared).filter(differs) : [])(
      "%s",
      { timeout: 300_000 },
      async (name, { skip }) => {
        await expectFile(join(shared, name), skip);
      },
    );
  },
);

function run(path: string): { status: number | null; stdout: string; stderr: string } {
  const main = fileURLToPath(new URL("main.ts", import.meta.url));
  return spawnSync(process.execPath, ["--import", "tsx", main, path], { encoding: "utf8" });
}

/** Whether there is no committed copy, which is checked already. */
function differs(name: string): boolean {
  const copy = join(committed, name);
  return !existsSync(copy) || !readFileSync(copy).equals(readFileSync(join(shared, name)));
}

describe("the runner", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "golden-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test("prints a line for each file and the totals, and exits with 1 where something failed", () => {
    const path = join(folder, "mixed");
    mkdirSync(path);
    writeFileSync(join(path, "a.json"), JSON.stringify(good));
    writeFileSync(join(path, "b.json"), "{");
    writeFileSync(join(path, "c.json"), JSON.stringify({ ...good, loss_function: { type: "hinge" } }));
    const { status, stdout } = run(path);
    const lines = stdout.trimEnd().split("\n");
    expect(lines[0]).toMatch(/^passed +a +reference \d\.\de-\d+, ort float64 \d\.\de-\d+, ort float32 \d\.\de-\d+$/);
    expect(lines[1]).toMatch(/^failed +b$/);
    expect(lines[2]).toMatch(/^ +cannot be read: it is not JSON/);
    expect(lines[3]).toMatch(/^skipped +c +missing: loss hinge$/);
    expect(lines.at(-1)).toBe("1 passed, 1 failed, 1 skipped");
    expect(status).toBe(1);
  });

  test("says in one line that a folder is not there or holds nothing to check", () => {
    const path = join(folder, "empty");
    mkdirSync(path);
    for (const bad of [path, join(folder, "none")]) {
      const { status, stdout, stderr } = run(bad);
      expect([status, stdout]).toEqual([1, ""]);
      expect(stderr).toMatch(/^golden: [^\n]+\n$/);
    }
  });

  const good = JSON.parse(readFileSync(join(committed, "mlp_tanh_scaled_nll.json"), "utf8"));

  async function outcomeOf(text: string) {
    const path = join(folder, "file.json");
    writeFileSync(path, text);
    return await checkFile(path);
  }

  test.each([
    ["a file that is not there", () => checkFile(join(folder, "none.json")), /no such file/],
    ["a file that is cut off", () => outcomeOf(JSON.stringify(good).slice(0, 1000)), /not JSON/],
    ["a file of another kind", () => outcomeOf('{"name": "grnewt", "version": "1"}'), /not in the format/],
    ["a file that is a list", () => outcomeOf("[]"), /must be an object/],
    ["an unknown kind", () => outcomeOf(JSON.stringify({ ...good, kind: "toString" })), /unknown kind "toString"/],
    ["a missing field", () => outcomeOf(JSON.stringify({ ...good, u: undefined })), /has no "u"/],
    [
      "an array that its shape does not fit",
      () => outcomeOf(JSON.stringify({ ...good, x: { ...good.x, shape: [8, 9] } })),
      /x has shape \[8, 9\], which needs 72 entries, but 80 of them/,
    ],
    [
      "a D that is not the root of order3",
      () => outcomeOf(JSON.stringify(good).replace(/"D": ?\[/, '"D": [1, ')),
      /D\[.*\] is not \|order3\|/,
    ],
  ])("says what is wrong with %s", async (_, run, message) => {
    const { status, report } = await run();
    expect(status).toBe("failed");
    expect(report.failures[0]).toMatch(message);
    expect(report.failures[0]).not.toContain("\n");
  });

  test.each([
    ["loss", (v: number) => v * (1 + 1e-8), /reference: loss\[0\] is .* relative error 1.0e-8, bound 1e-9/],
    ["loss", (v: number) => v * (1 + 1e-3), /ort float32: loss/],
  ])("finds an error in the %s", async (name, change, message) => {
    const { status, report } = await outcomeOf(JSON.stringify({ ...good, [name]: change(good[name]) }));
    expect(status).toBe("failed");
    expect(report.failures.join("; ")).toMatch(message);
  });

  test.each(["g", "H", "order3"])("finds an error in %s, in the whole batch and in parts", async (name) => {
    const partition = good.partitions.wb;
    const wrong = { ...partition, [name]: JSON.parse(JSON.stringify(partition[name]).replace(/\d\./, "7.")) };
    const { report } = await outcomeOf(JSON.stringify({ ...good, partitions: { wb: wrong } }));
    for (const part of ["wb", "wb in parts of 3", "wb in parts of 1"])
      expect(report.failures.some((failure) => failure.startsWith(`reference: ${part} ${name}[`))).toBe(true);
  });

  test("finds an error of one updater's direction", async () => {
    const file = JSON.parse(readFileSync(join(committed, "updaters.json"), "utf8"));
    file.runs[6].directions[7][1][2] *= 1 + 1e-8;
    const { report } = await outcomeOf(JSON.stringify(file));
    expect(report.failures).toHaveLength(2);
    expect(report.failures[0]).toMatch(/^reference: run 6 \(AdamUpdate\) step 7 p1\[2\]/);
  });

  test.each(["loss", "lrs", "param_norm"])("finds an error in a trajectory's %s", async (key) => {
    const file = JSON.parse(readFileSync(join(committed, "trajectory_mlp.json"), "utf8"));
    const [first] = file.runs;
    first[key][12] = JSON.parse(JSON.stringify(first[key][12]), (_, v) => (typeof v === "number" ? v * (1 + 1e-8) : v));
    const { report } = await outcomeOf(JSON.stringify({ ...file, runs: [first] }));
    expect(report.failures).toHaveLength(2);
    expect(report.failures[0]).toMatch(/^reference: sgd_true_lrs: .* step 12/);
  });

  test.each([
    ["an operation", { model: { ...good.model, ops: [{ op: "hop" }] } }, "op hop"],
    ["an operation's option", { model: { ...good.model, ops: [{ op: "tanh", twice: 2 }] } }, "option twice of op tanh"],
    ["a loss", { loss_function: { type: "hinge" } }, "loss hinge"],
    ["a class", { model: { class: "ResNet" } }, "model class ResNet"],
  ])("skips %s that is missing, and names it", async (_, change, feature) => {
    const { status, report } = await outcomeOf(JSON.stringify({ ...good, ...change }));
    expect(status).toBe("skipped");
    expect(report.skips).toEqual([feature]);
  });
});
