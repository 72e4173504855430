/** Writes docs/support.md from the checks of every primitive. */
import { writeFile } from "node:fs/promises";
import { supportPage } from "../test/support/support-table.ts";

await writeFile(new URL("../docs/support.md", import.meta.url), await supportPage());
