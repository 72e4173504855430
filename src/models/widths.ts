import { OptionError } from "../util/errors.ts";

/** The widths of layers: a list, or a text such as "784-20*1024-10", in which "20*1024" stands for twenty layers of 1024. */
export type Widths = readonly number[] | string;

/** More than anybody trains; a list of them still fits into memory. */
const MOST_LAYERS = 100_000;

/**
 * The widths that a text stands for, the same as a list of them would be.
 * @throws OptionError where a part is neither a width nor a number of layers times a width.
 */
export function parseWidths(text: string): number[] {
  return text.split("-").flatMap((part) => {
    const [, count = "1", width] = /^(?:(\d+)\*)?(\d+)$/.exec(part.trim()) ?? [];
    if (width === undefined || Number(width) === 0 || Number(count) === 0)
      throw new OptionError(`"${text}" is no list of widths such as "784-20*1024-10": "${part}" is none`);
    if (Number(count) > MOST_LAYERS)
      throw new OptionError(`"${text}" has ${count} layers of one width; expected ${MOST_LAYERS} at most`);
    return new Array<number>(Number(count)).fill(Number(width));
  });
}

/**
 * Widths as a list, checked.
 * @param least how many there must be.
 * @throws OptionError
 */
export function readWidths(where: string, widths: Widths, least: number): number[] {
  const list = typeof widths === "string" ? parseWidths(widths) : widths;
  if (!Array.isArray(list) || list.length < least)
    throw new OptionError(`${where}: layers needs at least ${least} widths, found [${list}]`);
  const odd = list.find((width) => !(Number.isSafeInteger(width) && width >= 1));
  if (odd !== undefined)
    throw new OptionError(`${where}: a width in layers must be a whole number, 1 or more; found ${odd}`);
  return list;
}
