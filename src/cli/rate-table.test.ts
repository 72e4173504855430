import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { rateTable } from "./rate-table.ts";
import { Terminal } from "./terminal.ts";

const terminal = new Terminal(new PassThrough() as unknown as NodeJS.WriteStream);
const groupsOf = (names: readonly string[]) => names.map((name) => ({ name, members: [name] }));
const table = (rates: readonly (number | null)[], names: readonly string[]): string[] => [
  ...rateTable(rates, groupsOf(names), terminal).lines,
];

test("rates are laid out as layers by kinds", () => {
  expect(table([1, 2, 3], ["a.weight", "a.bias", "b.weight"])).toEqual([
    "learning rates  weights  biases",
    "a                  1.00    2.00",
    "b                  3.00        ",
  ]);
});

test("rates that are all the same are one line", () => {
  expect(table([0.1, 0.1], ["a.weight", "a.bias"])).toEqual(["learning rates       ", "all groups      0.100"]);
});

test("rates of very many layers are summed up by kind", () => {
  const layers = Array.from({ length: 25 }, (_, i) => i);
  const names = layers.flatMap((i) => [`l${i}.weight`, ...(i < 3 ? [`l${i}.bias`] : [])]);
  const rates = layers.flatMap((i) => [i + 1, ...(i < 3 ? [[0.5, null, 0.1][i]!] : [])]);
  expect(table(rates, names)).toEqual([
    "learning rates  groups  least  median  greatest",
    "weights             25   1.00    13.0      25.0",
    "biases               3  0.100   0.500     0.500",
  ]);
});
