import { DataError } from "../../util/errors.ts";
import { type NDArray, sizeOf } from "../../util/ndarray.ts";
import { refuseUnknown } from "../../util/options.ts";
import { contents, unzipped } from "./files.ts";

/** How {@link readIdx} reports a file that is not there. */
export interface IdxOptions {
  /** A sentence saying where to get the file and where to put it; ends the error message. */
  readonly hint?: string;
}

const UNSIGNED_BYTE = 0x08;
const OTHER_TYPES: Readonly<Record<number, string>> = {
  9: "int8",
  11: "int16",
  12: "int32",
  13: "float32",
  14: "float64",
};

/**
 * Reads an IDX file of unsigned bytes, the format of MNIST and its kin, plain or gzipped (told by its content). The
 * shape is the file's.
 * @throws DataError naming the file, what was expected and what was found: a missing, truncated, overlong or corrupt
 * file, an empty one, or one of another type. OptionError for an unknown option.
 */
export async function readIdx(path: string, options: IdxOptions = {}): Promise<NDArray<Uint8Array>> {
  refuseUnknown("readIdx", options, ["hint"]);
  return decode(await unzipped(await contents(path, "an IDX file", options.hint), path), path);
}

function decode(bytes: Uint8Array, path: string): NDArray<Uint8Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 4) throw new DataError(`${path}: expected an IDX header of 4 bytes, found ${bytes.length} bytes`);
  const magic = view.getUint32(0);
  if (magic >>> 8 !== UNSIGNED_BYTE)
    throw new DataError(`${path}: expected an IDX file of unsigned bytes (0x000008…), found ${described(magic)}`);
  const rank = magic & 0xff;
  const start = 4 + 4 * rank;
  if (rank === 0) throw new DataError(`${path}: expected one or more axes, found none`);
  if (bytes.length < start)
    throw new DataError(`${path}: expected a header of ${start} bytes for ${rank} axes, found ${bytes.length} bytes`);
  const shape = Array.from({ length: rank }, (_, axis) => view.getUint32(4 + 4 * axis));
  const size = sizeOf(shape);
  if (size === 0) throw new DataError(`${path}: expected one or more entries, found shape [${shape}]`);
  if (bytes.length !== start + size)
    throw new DataError(
      `${path}: expected ${start + size} bytes for shape [${shape}], found ${bytes.length}: the file is ` +
        (bytes.length < start + size ? "truncated" : "too long"),
    );
  return { shape, data: new Uint8Array(bytes.buffer, bytes.byteOffset + start, size) };
}

function described(magic: number): string {
  const other = OTHER_TYPES[magic >>> 8];
  if (other) return `one of ${other}`;
  return `a file that begins with 0x${magic.toString(16).padStart(8, "0")}`;
}
