import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { Dataset, evaluate, losses, models, NewtonSummary, SGDUpdater } from "../../src/index.node.ts";
import { newtonSettings } from "../../src/optim/newton-options.ts";
import { labelled } from "../support/models.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const pages = [
  ...readdirSync(root).filter((name) => name.endsWith(".md")),
  ...readdirSync(join(root, "docs"))
    .filter((name) => name.endsWith(".md"))
    .map((name) => join("docs", name)),
];
const text = (page: string): string => readFileSync(join(root, page), "utf8");

test.each(pages)("%s: every internal link leads somewhere", (page) => {
  for (const [, target] of text(page).matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g))
    if (!target!.includes("://")) expect(existsSync(join(root, dirname(page), target!)), target).toBe(true);
});

describe("README", () => {
  const [, code] = /```ts\n([\s\S]*?)```/.exec(text("README.md"))!;

  test("its example is some twenty lines", () => expect(code!.trim().split("\n").length).toBeLessThanOrEqual(24));

  test("its example runs, on a small set", async () => {
    const body = code!
      .replaceAll(/^import .*$/gm, "")
      .replace("784, 200, 100, 10", "5, 4, 3")
      .replace("1000", "20");
    const data = Dataset.fromArrays(labelled(60).x, labelled(60).y);
    const names = {
      mnist: async () => ({ train: data, test: data }),
      evaluate,
      losses,
      models,
      NewtonSummary,
      SGDUpdater,
    };
    const printed: unknown[][] = [];
    const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor as FunctionConstructor;
    const run = new AsyncFunction(...Object.keys(names), "console", body);
    await run(...Object.values(names), { log: (...line: unknown[]) => printed.push(line) });
    expect(printed.at(-1)![0]).toMatchObject({ samples: 60 });
  });
});

test("reference-names.md tells of every option", () => {
  const page = text("docs/reference-names.md");
  const message = (() => {
    try {
      newtonSettings({ unknown: 1 } as object, false);
    } catch (error) {
      return (error as Error).message;
    }
    return "";
  })();
  const known = message.split("its options are ")[1]!.split(", ");
  for (const name of known) expect(page, name).toContain(`\`${name}\``);
});

test("the updater in optimizers.md is the example's", () => {
  const [, rule] = /```ts\n(const signMomentum[\s\S]*?)```/.exec(text("docs/optimizers.md"))!;
  expect(text("examples/sign-momentum.ts")).toContain(rule!);
});
