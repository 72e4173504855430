import { type Primitive, primitives } from "../../src/ops/index.ts";
import { checkDerivatives } from "./check-derivatives.ts";
import { checkValue } from "./check-value.ts";
import { engines } from "./engines.ts";
import { type Case, primitiveCases } from "./primitive-cases.ts";

const HEAD = `# What is supported

Made by \`node --import tsx scripts/support-table.ts\`, from the checks themselves; a test fails when it is out of date.

- *Derivatives*: the highest order up to which reverse mode and the summary (ḡ, H̄, third derivatives) agree with finite
  differences in float64; "none" where derivatives end by definition, as in PyTorch.
- Engines: how many of the primitive's cases (ranks, axes, broadcasting, dtypes, a symbolic batch) give the values of the
  float64 oracle, at batch sizes 1, 3 and 7 of one session. The oracle's own column says only that it runs them all:
  what checks its values is ONNX Runtime, written by others, to a few roundings.
`;

/** The page docs/support.md: every primitive with its kind, the derivatives and the engines that pass its checks. */
export async function supportPage(): Promise<string> {
  const made = engines.map(({ label, make, tolerance }) => ({ label, engine: make(), tolerance }));
  const titles = ["Primitive", "Kind", "Derivatives", ...made.map(({ label }) => label)];
  const rows = [titles, titles.map(() => "---")];
  for (const name of Object.keys(primitiveCases) as Primitive[]) {
    const cases = primitiveCases[name];
    const passed: string[] = [];
    for (const { engine, tolerance } of made)
      passed.push(`${await count(cases, (item) => checkValue(engine, item, tolerance))} of ${cases.length}`);
    rows.push([`\`${name}\``, primitives[name].kind, await derivativesOf(name), ...passed]);
  }
  for (const { engine } of made) await engine.dispose();
  return `${HEAD}\n${rows.map((row) => `| ${row.join(" | ")} |`).join("\n")}\n${notes()}`;
}

/** How many cases pass a check. */
async function count(cases: readonly Case[], check: (item: Case) => Promise<void>): Promise<number> {
  let passed = 0;
  for (const item of cases) if (await passes(() => check(item))) passed++;
  return passed;
}

async function passes(check: () => Promise<void>): Promise<boolean> {
  try {
    await check();
    return true;
  } catch {
    return false;
  }
}

async function derivativesOf(name: Primitive): Promise<string> {
  const cases = primitiveCases[name].filter(({ valueOnly }) => valueOnly === undefined);
  const isConstant = primitives[name].kind === "constant";
  for (const order of [3, 2, 1] as const) {
    const all = (await count(cases, (item) => checkDerivatives(name, item, order))) === cases.length;
    if (all) return isConstant ? "none" : String(order);
  }
  return "0";
}

/** The cases and the tests of the contract that are left out, with the reasons. */
function notes(): string {
  const cases = Object.entries(primitiveCases).flatMap(([name, items]) =>
    items.flatMap(({ name: title, valueOnly }) => (valueOnly ? [`- \`${name}\`, ${title}: ${valueOnly}`] : [])),
  );
  const skips = engines.flatMap(({ label, skip }) =>
    Object.entries(skip).map(([title, reason]) => `- ${label}, ${title}: ${reason}`),
  );
  return ["", "Left out:", "", ...cases, ...skips, ""].join("\n");
}
