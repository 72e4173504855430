import { decodeSafetensors, encodeSafetensors } from "../interop/index.ts";
import { DataError, internal } from "../util/errors.ts";
import type { FloatData, IntData, NDArray } from "../util/ndarray.ts";

/** What stands in JSON for what JSON lacks: a typed array, by the tensor's name, or a number such as NaN or −0. */
type Substitute = { readonly $tensor: string } | { readonly $number: string };

const TREE = "tree";

/**
 * Writes a tree of plain objects, arrays, numbers, strings, booleans and typed arrays into one safetensors file: the
 * arrays as tensors named by their path, the rest as JSON in its metadata. Decoding gives the very same values.
 */
export function encodeTree(tree: unknown): Uint8Array {
  const tensors: Record<string, NDArray> = {};
  const json = JSON.stringify(toPlain(tree, "", tensors));
  return encodeSafetensors(tensors, { [TREE]: json });
}

/** @throws DataError where the bytes are not of {@link encodeTree} */
export function decodeTree(bytes: Uint8Array): unknown {
  const { tensors, metadata } = decodeSafetensors(bytes);
  const json = metadata[TREE];
  if (json === undefined) throw new DataError("checkpoint: this safetensors file is not a checkpoint");
  return fromPlain(JSON.parse(json), tensors);
}

function toPlain(value: unknown, path: string, tensors: Record<string, NDArray>): unknown {
  if (typeof value === "number")
    return Number.isFinite(value) && !Object.is(value, -0) ? value : substituteNumber(value);
  if (value === null || typeof value !== "object") {
    if (typeof value === "function" || typeof value === "symbol" || typeof value === "bigint")
      internal(`checkpoint: ${path} is a ${typeof value}`);
    return value;
  }
  if (ArrayBuffer.isView(value)) {
    const data = value as FloatData | IntData;
    tensors[path] = { shape: [data.length], data };
    return { $tensor: path } satisfies Substitute;
  }
  const inner = (key: string | number): string => (path === "" ? `${key}` : `${path}.${key}`);
  if (Array.isArray(value)) return value.map((item, i) => toPlain(item, inner(i), tensors));
  if (Object.getPrototypeOf(value) !== Object.prototype) internal(`checkpoint: ${path} is no plain object`);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toPlain(item, inner(key), tensors)]));
}

function substituteNumber(value: number): Substitute {
  return { $number: Object.is(value, -0) ? "-0" : String(value) };
}

function fromPlain(value: unknown, tensors: Readonly<Record<string, NDArray>>): unknown {
  if (Array.isArray(value)) return value.map((item) => fromPlain(item, tensors));
  if (value === null || typeof value !== "object") return value;
  if ("$number" in value) return Number(value.$number);
  if ("$tensor" in value) {
    const tensor = tensors[String(value.$tensor)];
    if (!tensor) throw new DataError(`checkpoint: tensor ${value.$tensor} is missing`);
    return tensor.data;
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fromPlain(item, tensors)]));
}
