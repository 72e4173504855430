import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { DataError, OptionError } from "../../util/errors.ts";

/** Asserts that an option names a folder. @throws OptionError */
export function checkRoot(root: unknown): asserts root is string {
  if (typeof root !== "string" || root === "")
    throw new OptionError(`root must be the path of a folder; found ${String(root)}`);
}

/**
 * The contents of a file.
 * @param expected what it should be, such as "an IDX file".
 * @param hint a sentence that says where to get a missing one and where to put it.
 * @throws DataError naming the file.
 */
export async function contents(path: string, expected: string, hint?: string): Promise<Uint8Array<ArrayBuffer>> {
  return await reading(path, expected, hint, () => readFile(path));
}

/**
 * The names in a folder, sorted, hidden ones left out.
 * @throws DataError naming the folder; see {@link contents}.
 */
export async function namesIn(folder: string, expected: string, hint?: string): Promise<string[]> {
  const names = await reading(folder, expected, hint, () => readdir(folder));
  return names.filter((name) => !name.startsWith(".")).sort();
}

/**
 * The paths of the files in a folder and in those in it whose names match, sorted, hidden ones left out.
 * @throws DataError naming the folder; see {@link contents}.
 */
export async function filesUnder(folder: string, pattern: RegExp, expected: string): Promise<string[]> {
  const entries = await reading(folder, expected, undefined, () =>
    readdir(folder, { recursive: true, withFileTypes: true }),
  );
  return entries
    .filter((entry) => !entry.isDirectory() && !entry.name.startsWith(".") && pattern.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** What is in a gzip file, or the bytes themselves where they are none. @throws DataError naming the file. */
export async function unzipped(bytes: Uint8Array, path: string): Promise<Uint8Array> {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  try {
    return await promisify(gunzip)(bytes);
  } catch (cause) {
    throw new DataError(`${path}: expected a whole gzip file, found ${(cause as Error).message}`, { cause });
  }
}

/** What stands at a path that cannot be read, by the system's code. */
const FOUND: Readonly<Record<string, string>> = { ENOENT: "no such file", EISDIR: "a folder", ENOTDIR: "a file" };

async function reading<T>(
  path: string,
  expected: string,
  hint: string | undefined,
  read: () => Promise<T>,
): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const found = FOUND[code ?? ""] ?? message;
    throw new DataError(
      `${path}: expected ${expected}, found ${found}${code === "ENOENT" && hint ? `. ${hint}` : ""}`,
      { cause },
    );
  }
}
