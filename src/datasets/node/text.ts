import { DataError } from "../../util/errors.ts";
import { type CharText, type CharTextOptions, charText } from "../text.ts";
import { contents } from "./files.ts";

/**
 * A text file (UTF-8), character by character, as data for a language model; see `charText`.
 * @throws OptionError; DataError naming the file where it is missing, no text, or too short.
 */
export async function charTextFile(path: string, options: CharTextOptions): Promise<CharText> {
  const bytes = await contents(path, "a text file");
  try {
    return charText(new TextDecoder("utf-8", { fatal: true }).decode(bytes), options, path);
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    throw new DataError(`${path}: expected a text file in UTF-8, found other bytes`, { cause });
  }
}
