import * as Plot from "@observablehq/plot";

/** Colours of a figure, in any form that CSS knows. */
export interface Theme {
  readonly ink: string;
  readonly muted: string;
  readonly grid: string;
  readonly paper: string;
  /** A series' colour, of so many. */
  series(index: number, count: number): string;
}

const LIGHT = ["#2f6bd8", "#d4581c", "#16936a", "#9a45bd", "#b5830c", "#cf3a77", "#1b93a8", "#7d6b58"];
const DARK = ["#7fabff", "#ff9b63", "#5ed6a6", "#d493f2", "#ecc45c", "#ff8ab8", "#6ed6e6", "#c2b29d"];

/** Few series differ in hue; many run along a gradient from the first to the last. */
function colours(few: readonly string[], from: number, to: number, count: number): string[] {
  if (count <= few.length) return few.slice(0, count);
  const gradient = Plot.scale({ color: { type: "linear", scheme: "viridis", domain: [0, 1] } })!;
  return Array.from({ length: count }, (_, i) => String(gradient.apply(from + ((to - from) * i) / (count - 1))));
}

/** Black on white, for files that stand alone. */
export const printTheme: Theme = {
  ink: "#1c2430",
  muted: "#5c6675",
  grid: "#e3e7ec",
  paper: "#ffffff",
  series: (index, count) => colours(LIGHT, 0, 0.85, count)[index]!,
};

/** The variables of a page, which {@link seriesVariables} and the style sheet give their values. */
export const pageTheme: Theme = {
  ink: "var(--ink)",
  muted: "var(--muted)",
  grid: "var(--grid)",
  paper: "var(--card)",
  series: (index, count) => (count <= LIGHT.length ? `var(--s${index})` : `var(--s${index}of${count})`),
};

/** CSS declarations of the colours, light or dark, of figures that have as many series as one of `counts` says. */
export function seriesVariables(scheme: "light" | "dark", counts: readonly number[]): string {
  const few = scheme === "light" ? LIGHT : DARK;
  const [from, to] = scheme === "light" ? [0, 0.85] : [0.25, 1];
  const named = few.map((colour, i) => `--s${i}:${colour}`);
  const many = [...new Set(counts)].filter((count) => count > few.length);
  const graded = many.flatMap((count) =>
    colours(few, from, to, count).map((colour, i) => `--s${i}of${count}:${colour}`),
  );
  return [...named, ...graded].join(";");
}
