import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, test, vi } from "vitest";
import { defaultEngine } from "../../src/engine/index.ts";

const folder = new URL("../../examples/", import.meta.url);
const examples = readdirSync(fileURLToPath(folder)).filter((name) => name.endsWith(".ts"));

/** Runs an example as it stands; what it prints. */
async function output(name: string): Promise<string> {
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  await import(new URL(name, folder).href);
  return log.mock.calls.map((line) => line.join(" ")).join("\n");
}

afterEach(() => vi.restoreAllMocks());

describe("every example runs", () => {
  test.each(examples)("%s", async (name) => {
    const warn = vi.spyOn(console, "warn");
    expect(await output(name)).not.toBe("");
    expect(warn).not.toHaveBeenCalled();
    expect((await defaultEngine()).name).toBe("onnxruntime-node");
  });
});

test("the minimal example learns, with a rate for each of its groups", async () => {
  vi.resetModules();
  const [, ...runs] = (await output("minimal.ts")).split(/^\S.*$/m);
  expect(runs).toHaveLength(2);
  for (const [i, printed] of runs.entries()) {
    const losses = [...printed.matchAll(/loss (\d+\.\d+)/g)].map(([, loss]) => Number(loss));
    expect(losses.at(-1)).toBeLessThan(0.6 * losses[0]!);
    const rates = /learning rates: (.*)/.exec(printed)![1]!.split(", ").map(Number);
    expect(rates).toHaveLength([4, 2][i]!);
    expect(rates.every((rate) => rate >= 0)).toBe(true);
    expect(Math.max(...rates)).toBeGreaterThan(0);
  }
});

test("the example of an updater learns", async () => {
  vi.resetModules();
  const losses = [...(await output("sign-momentum.ts")).matchAll(/loss (\d+\.\d+)/g)].map(([, loss]) => Number(loss));
  expect(losses).toHaveLength(5);
  expect(losses.at(-1)).toBeLessThan(0.2 * losses[0]!);
});
