import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import { dodge } from "./scale.ts";
import type { Theme } from "./theme.ts";

const SVG = "http://www.w3.org/2000/svg";
const FONT = 'system-ui, -apple-system, "Segoe UI", sans-serif';
/** To the left and right of figures that share a file, together. */
const PADDING = 16;
const LABEL_HEIGHT = 15;
const LABEL_OFFSET = 12;

/** The outer measures of a figure, in its own units. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

/** Draws a plot as the text of an SVG element that stands alone. */
export function draw(options: Plot.PlotOptions & Size, description: string): string {
  const { document } = parseHTML("<html><body></body></html>");
  const svg = Plot.plot({
    ...options,
    document: document as unknown as Document,
    style: { fontSize: "12.5px", fontFamily: FONT, background: "none", overflow: "visible" },
    ariaLabel: description,
  });
  svg.setAttribute("xmlns", SVG);
  svg.setAttribute("role", "img");
  return svg.outerHTML;
}

/** The name of a line, to stand beside its end. */
export interface EndLabel {
  readonly text: string;
  readonly colour: string;
  /** The line's last point. */
  readonly x: number;
  readonly y: number;
}

/** The room that these labels need to the right of a plot. */
export function labelMargin(labels: readonly { readonly text: string }[]): number {
  return LABEL_OFFSET + 8 + 8 * Math.max(0, ...labels.map(({ text }) => text.length));
}

/** Writes each line's name beside its end, moved apart where they would cover each other, with a stroke to the line. */
export function endLabels(labels: readonly EndLabel[], theme: Theme): Plot.Markish {
  return (_index, scales, _values, { width, height, marginRight, marginTop, marginBottom }, context) => {
    const group = context.document.createElementNS(SVG, "g");
    const xOf = scales.x as (value: number) => number;
    const yOf = scales.y as (value: number) => number;
    const wanted = labels.map(({ y }) => yOf(y));
    const gap = Math.min(LABEL_HEIGHT, (height - marginTop - marginBottom) / Math.max(1, labels.length - 1));
    const placed = dodge(wanted, gap, marginTop, height - marginBottom);
    const left = width - marginRight + LABEL_OFFSET;
    labels.forEach(({ text, colour, x }, i) => {
      const [at, from] = [placed[i]!.toFixed(1), wanted[i]!.toFixed(1)];
      const stroke = context.document.createElementNS(SVG, "path");
      set(stroke, {
        d: `M${xOf(x).toFixed(1)},${from}L${left - 3},${at}`,
        stroke: colour,
        "stroke-opacity": "0.45",
        fill: "none",
      });
      const label = context.document.createElementNS(SVG, "text");
      set(label, { x: String(left), y: at, dy: "0.32em", fill: colour, "text-anchor": "start", "font-weight": "600" });
      set(label, { stroke: theme.paper, "stroke-width": "3", "paint-order": "stroke" });
      label.textContent = text;
      group.append(stroke, label);
    });
    return group;
  };
}

/** What stands above a plot's left edge. */
export function heading(text: string, theme: Theme): Plot.Markish {
  return Plot.text([text], {
    frameAnchor: "top-left",
    dy: -24,
    fill: theme.ink,
    fontWeight: 650,
    fontSize: 13.5,
  });
}

/** Axes and grid as all figures have them; `most` is where the x axis ends. */
export function axes(
  theme: Theme,
  y: { readonly ticks?: readonly number[] | number; readonly tickFormat: (value: number) => string },
  most: number,
  unit: "epoch" | "step" | "seconds" = "epoch",
): Plot.Markish[] {
  const { ticks = 5, tickFormat } = y;
  const each = Math.max(1, Math.ceil(most / 8));
  const whole = Array.from({ length: Math.floor(most / each) + 1 }, (_, i) => i * each);
  return [
    Plot.gridY({ ticks: ticks as number[], stroke: theme.grid, strokeOpacity: 1 }),
    Plot.axisY({ ticks: ticks as number[], tickFormat, label: null, tickSize: 0, color: theme.muted, fontSize: 12 }),
    Plot.axisX({
      ...(unit === "epoch" && most >= 2 ? { ticks: whole, tickFormat: String } : { ticks: 5 }),
      label: unit,
      labelAnchor: "center",
      labelOffset: 34,
      labelArrow: "none",
      tickSize: 4,
      color: theme.muted,
      fontSize: 12,
    }),
  ];
}

/** A tick of a logarithmic axis: plain where that is short, else a power of ten. */
export function formatTick(value: number): string {
  const size = Math.abs(value);
  if (value === 0 || (size >= 1e-4 && size < 1e4)) return String(Number(value.toPrecision(6))).replace("-", "−");
  const power = Math.floor(Math.log10(size) + 1e-9);
  const digits = Number((size / 10 ** power).toPrecision(3));
  return `${value < 0 ? "−" : ""}${digits === 1 ? "" : `${digits}·`}10${superscript(power)}`;
}

function superscript(power: number): string {
  return [...String(power)].map((char) => (char === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(char)])).join("");
}

function set(element: Element, attributes: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
}

/** Puts figures into one SVG file on the theme's paper, in rows of so many. */
export function arranged(figures: readonly string[], { paper, ink }: Theme, columns: number = figures.length): string {
  const rows = Array.from({ length: Math.ceil(figures.length / columns) }, (_, i) =>
    figures.slice(i * columns, (i + 1) * columns).map((figure) => ({ figure, ...sizeOf(figure) })),
  );
  const width = PADDING + Math.max(...rows.map((row) => row.reduce((sum, each) => sum + each.width, 0)));
  let height = 0;
  const placed = rows.flatMap((row) => {
    const y = height;
    height += Math.max(...row.map((each) => each.height));
    let x = PADDING / 2;
    return row.map(({ figure, width: own }) => {
      const at = x;
      x += own;
      return figure.replace("<svg ", `<svg x="${at}" y="${y}" `);
    });
  });
  return `<svg xmlns="${SVG}" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" color="${ink}">
<rect width="${width}" height="${height}" fill="${paper}"/>
${placed.join("\n")}
</svg>
`;
}

function sizeOf(figure: string): Size {
  const [width, height] = /viewBox="[\d.]+ [\d.]+ ([\d.]+) ([\d.]+)"/.exec(figure)!.slice(1).map(Number);
  return { width: width!, height: height! };
}
