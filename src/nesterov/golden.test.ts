import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Item } from "../../test/golden/json.ts";
import { caseFailures } from "../../test/golden/nesterov.ts";

describe.each([
  ["nesterov", 97],
  ["nesterov_hard", 36],
] as const)("golden %s", (name, count) => {
  const url = new URL(`../../test/golden/data/${name}.json`, import.meta.url);
  const cases = new Item(JSON.parse(readFileSync(url, "utf8")), name).get("cases").list();

  test("holds all its cases", () => expect(cases).toHaveLength(count));

  test.each(cases.map((item, i) => [i, item.get("tag").text(), item] as const))("case %i: %s", (_, __, item) => {
    expect(caseFailures(item)).toEqual([]);
  });
});
