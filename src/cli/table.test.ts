import { expect, test } from "vitest";
import { TextTable } from "./table.ts";

const cells = (...rows: string[][]) => rows.map((row) => row.map((text) => ({ text })));

test("tables are aligned, and side by side where there is room", () => {
  const left = new TextTable(cells(["", "loss"], ["train", "0.1"]));
  const right = new TextTable(cells(["rates", "x"], ["a", "10"], ["b", "2"]));
  expect(left.lines).toEqual(["       loss", "train   0.1"]);
  expect(left.beside(right, 40, 4)).toEqual([
    "       loss    rates   x",
    "train   0.1    a      10",
    "               b       2",
  ]);
  expect(left.beside(right, 20)).toEqual([...left.lines, "", ...right.lines]);
});

test("painting changes no width", () => {
  const paint = (text: string): string => `<${text}>`;
  expect(
    new TextTable([
      [{ text: "a" }, { text: "1", paint }],
      [{ text: "b" }, { text: "100" }],
    ]).lines,
  ).toEqual(["a  <  1>", "b  100"]);
});
