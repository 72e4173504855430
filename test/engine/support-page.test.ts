import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { supportPage } from "../support/support-table.ts";

test("docs/support.md says what the checks say (node --import tsx scripts/support-table.ts updates it)", async () => {
  const committed = await readFile(new URL("../../docs/support.md", import.meta.url), "utf8");
  expect(committed).toBe(await supportPage());
});
