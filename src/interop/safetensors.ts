import { DataError } from "../util/errors.ts";
import { type FloatData, type IntData, type NDArray, sizeOf } from "../util/ndarray.ts";

/** What a safetensors file holds. */
export interface Safetensors {
  readonly tensors: Record<string, NDArray>;
  /** The file's free-form notes; empty where it has none. */
  readonly metadata: Record<string, string>;
}

/** A tensor's bytes, first to one past the last, counted from the end of the header. */
interface Entry {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

interface Dtype {
  /** Bytes per entry. */
  readonly size: number;
  readonly read: (buffer: ArrayBuffer) => FloatData | IntData;
}

// The format is little-endian, and so are typed arrays on every machine that runs Node or a browser.
const DTYPES: ReadonlyMap<string, Dtype> = new Map<string, Dtype>([
  ["F64", { size: 8, read: (buffer) => new Float64Array(buffer) }],
  ["F32", { size: 4, read: (buffer) => new Float32Array(buffer) }],
  ["F16", { size: 2, read: (buffer) => Float32Array.from(new Uint16Array(buffer), halfToFloat) }],
  ["BF16", { size: 2, read: bfloatsToFloats }],
  ["I64", { size: 8, read: (buffer) => new BigInt64Array(buffer) }],
  ["I32", { size: 4, read: (buffer) => new Int32Array(buffer) }],
  ["U8", { size: 1, read: (buffer) => new Uint8Array(buffer) }],
]);
const METADATA = "__metadata__";
/** The limit of the reference implementation. */
const MAX_HEADER = 100_000_000;

/**
 * Writes tensors as a safetensors file: float32 as F32, float64 as F64, int32 as I32, int64 as I64, uint8 as U8. Each
 * is aligned to its entries, and the same tensors give the same bytes in whatever order they are named.
 * @param metadata free-form notes.
 * @throws DataError naming the tensor whose data do not fit its shape or have no dtype in the format, or the note that
 * is not a string.
 */
export function encodeSafetensors(
  tensors: Readonly<Record<string, NDArray>>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  for (const [key, note] of Object.entries(metadata))
    if (typeof note !== "string") fail(`metadata "${key}" must be a string, found ${typeof note}`);
  const entries = laidOut(tensors);
  const header = headerBytes(entries, metadata);
  const start = 8 + header.length;
  const bytes = new Uint8Array(start + (entries.at(-1)?.end ?? 0));
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
  bytes.set(header, 8);
  for (const { name, begin } of entries) {
    const { buffer, byteOffset, byteLength } = tensors[name]!.data;
    bytes.set(new Uint8Array(buffer, byteOffset, byteLength), start + begin);
  }
  return bytes;
}

/**
 * Reads a safetensors file: F32, F64, I32, I64 and U8 in their own dtype, F16 and BF16 as float32. The arrays are
 * copies, free of `bytes`.
 * @throws DataError naming the tensor at fault, or what is wrong with the header: anything that the format forbids, and
 * the dtypes not named above.
 */
export function decodeSafetensors(bytes: Uint8Array): Safetensors {
  const start = headerEnd(bytes);
  const { [METADATA]: notes, ...infos } = parsedHeader(bytes.subarray(8, start));
  const entries = Object.entries(infos).map(([name, info]) => entryOf(name, info));
  checkLayout(entries, bytes.length - start);
  const tensors = entries.map(({ name, dtype, shape, begin, end }): [string, NDArray] => {
    const { size, read } = DTYPES.get(dtype) ?? fail(`tensor "${name}": dtype ${dtype} cannot be read`);
    const expected = sizeOf(shape) * size;
    if (end - begin !== expected)
      fail(`tensor "${name}": ${dtype} of shape [${shape}] needs ${expected} bytes, found ${end - begin}`);
    const copy = new Uint8Array(expected);
    copy.set(bytes.subarray(start + begin, start + end));
    return [name, { shape, data: read(copy.buffer) }];
  });
  return { tensors: Object.fromEntries(tensors), metadata: checkedMetadata(notes) };
}

function laidOut(tensors: Readonly<Record<string, NDArray>>): Entry[] {
  const named = Object.entries(tensors).map(([name, array]) => ({ name, ...described(name, array) }));
  // Widest entries first: with the header padded to 8 bytes, every tensor is aligned.
  named.sort((a, b) => b.size - a.size || (a.name < b.name ? -1 : 1));
  let end = 0;
  return named.map(({ name, dtype, shape, byteLength }) => {
    const begin = end;
    end += byteLength;
    return { name, dtype, shape, begin, end };
  });
}

function described(name: string, { shape, data }: NDArray) {
  if (name === METADATA) fail(`a tensor cannot be named ${METADATA}`);
  const dtype = dtypeOf(data) ?? fail(`tensor "${name}": its data must be floats, int32, int64 or uint8`);
  if (!shape.every(isCount) || sizeOf(shape) !== data.length)
    fail(`tensor "${name}": shape [${shape}] needs ${sizeOf(shape)} entries, found ${data.length}`);
  return { dtype, shape, size: data.BYTES_PER_ELEMENT, byteLength: data.byteLength };
}

function dtypeOf(data: FloatData | IntData): string | undefined {
  if (data instanceof Float32Array) return "F32";
  if (data instanceof Float64Array) return "F64";
  if (data instanceof Int32Array) return "I32";
  if (data instanceof BigInt64Array) return "I64";
  if (data instanceof Uint8Array) return "U8";
  return undefined;
}

function headerBytes(entries: readonly Entry[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const fields: [string, unknown][] = Object.keys(metadata).length > 0 ? [[METADATA, metadata]] : [];
  for (const { name, dtype, shape, begin, end } of entries)
    fields.push([name, { dtype, shape, data_offsets: [begin, end] }]);
  const text = new TextEncoder().encode(JSON.stringify(Object.fromEntries(fields)));
  if (text.length > MAX_HEADER) fail(`header of ${text.length} bytes exceeds the format's ${MAX_HEADER}`);
  const padded = new Uint8Array(Math.ceil(text.length / 8) * 8).fill(0x20);
  padded.set(text);
  return padded;
}

function headerEnd(bytes: Uint8Array): number {
  if (bytes.length < 8) fail(`needs 8 bytes for the header's length, found ${bytes.length}`);
  const length = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  if (length > MAX_HEADER) fail(`header of ${length} bytes exceeds the format's ${MAX_HEADER}`);
  const end = 8 + Number(length);
  if (end > bytes.length) fail(`header ends at byte ${end}, found ${bytes.length} bytes`);
  if (bytes[8] !== 0x7b || length === 0n) fail("header must begin with {");
  return end;
}

function parsedHeader(bytes: Uint8Array): Record<string, unknown> {
  let header: Record<string, unknown>;
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    header = JSON.parse(text);
  } catch (cause) {
    throw new DataError(`safetensors: header is not JSON in UTF-8: ${(cause as Error).message}`, { cause });
  }
  refuseDuplicates(text);
  return header;
}

/** JSON.parse keeps the last of two equal keys; this reads valid JSON for the sake of its keys. */
function refuseDuplicates(text: string): void {
  const open: Set<string>[] = [];
  for (const [token, key, colon] of text.matchAll(/("[^"\\]*(?:\\.[^"\\]*)*")\s*(:)?|[{}]/g)) {
    if (token === "{") open.push(new Set());
    else if (token === "}") open.pop();
    else if (key && colon) {
      const keys = open.at(-1)!;
      if (keys.has(JSON.parse(key))) fail(`header names ${key} twice`);
      keys.add(JSON.parse(key));
    }
  }
}

function entryOf(name: string, info: unknown): Entry {
  const { dtype, shape, data_offsets: offsets } = (info ?? {}) as Record<string, unknown>;
  if (typeof dtype !== "string") return fail(`tensor "${name}": has no dtype`);
  if (!isCounts(shape)) return fail(`tensor "${name}": shape must be whole numbers, found ${JSON.stringify(shape)}`);
  if (!isCounts(offsets) || offsets.length !== 2 || offsets[0]! > offsets[1]!)
    return fail(`tensor "${name}": data_offsets must be [begin, end], found ${JSON.stringify(offsets)}`);
  return { name, dtype, shape, begin: offsets[0]!, end: offsets[1]! };
}

/** Tensors must follow each other without a gap or an overlap and fill the file. */
function checkLayout(entries: readonly Entry[], length: number): void {
  let at = 0;
  for (const { name, begin, end } of entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== at) fail(`tensor "${name}": must begin at byte ${at} of the data, begins at ${begin}`);
    if (end > length) fail(`tensor "${name}": ends at byte ${end} of the data, found ${length}: the file is truncated`);
    at = end;
  }
  if (at !== length) fail(`tensors end at byte ${at} of the data, found ${length}: the file is too long`);
}

function checkedMetadata(notes: unknown = {}): Record<string, string> {
  if (typeof notes !== "object" || notes === null || Array.isArray(notes)) return fail(`${METADATA} must be an object`);
  for (const [key, note] of Object.entries(notes))
    if (typeof note !== "string") fail(`${METADATA} "${key}" must be a string, found ${typeof note}`);
  return notes as Record<string, string>;
}

function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** bfloat16 is the upper half of a float32. */
function bfloatsToFloats(buffer: ArrayBuffer): Float32Array {
  return new Float32Array(Uint32Array.from(new Uint16Array(buffer), (bits) => bits << 16).buffer);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(isCount);
}

function fail(message: string): never {
  throw new DataError(`safetensors: ${message}`);
}
