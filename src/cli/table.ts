import type { Terminal } from "./terminal.ts";

/** A cell of a table and, if any, how it is painted. */
export interface Cell {
  readonly text: string;
  readonly paint?: (text: string) => string;
}

/** A cell of a table's first row. */
export function heading(text: string, terminal: Terminal): Cell {
  return { text, paint: (padded) => terminal.paint("dim", padded) };
}

/** A table as lines of text: the first column to the left, the others to the right, two spaces between them. */
export class TextTable {
  readonly lines: readonly string[];
  /** The width of its lines on screen. */
  readonly width: number;

  constructor(rows: readonly (readonly Cell[])[]) {
    const columns = Math.max(0, ...rows.map((row) => row.length));
    const widths = Array.from({ length: columns }, (_, i) => Math.max(...rows.map((row) => row[i]?.text.length ?? 0)));
    this.width = widths.reduce((sum, width) => sum + width, 0) + 2 * Math.max(0, columns - 1);
    this.lines = rows.map((row) =>
      widths
        .map((width, i) => {
          const { text, paint = (same: string) => same } = row[i] ?? { text: "" };
          return paint(i === 0 ? text.padEnd(width) : text.padStart(width));
        })
        .join("  "),
    );
  }

  /** This table with another to its right, or below where both do not fit into the width. */
  beside(other: TextTable, width: number, gap: number = 6): string[] {
    if (this.width + gap + other.width > width) return [...this.lines, "", ...other.lines];
    const blank = " ".repeat(this.width);
    return Array.from({ length: Math.max(this.lines.length, other.lines.length) }, (_, i) =>
      `${this.lines[i] ?? blank}${" ".repeat(gap)}${other.lines[i] ?? ""}`.trimEnd(),
    );
  }
}
