import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DataError } from "../util/errors.ts";
import { type NDArray, ndarray, sizeOf } from "../util/ndarray.ts";
import { decodeSafetensors, encodeSafetensors } from "./safetensors.ts";

const anyShape = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 });
const anyTensor: fc.Arbitrary<NDArray> = anyShape.chain((shape) => {
  const length = { minLength: sizeOf(shape), maxLength: sizeOf(shape) };
  return fc
    .oneof(
      fc.float32Array(length),
      fc.float64Array(length),
      fc.int32Array(length),
      fc.uint8Array(length),
      fc.bigInt64Array(length),
    )
    .map((data) => ndarray<NDArray["data"]>(data, shape));
});
const anyName = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.constantFrom("layers.0.weight", "0", "", "__proto__", 'a"b\\', "{}:"),
);
const own = (record: object): [string, unknown][] => Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));

function file(header: unknown, data: readonly number[] = []): Uint8Array {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  bytes.set(data, 8 + text.length);
  return bytes;
}
const bytesTensor = (begin: number, end: number): object => ({
  dtype: "U8",
  shape: [end - begin],
  data_offsets: [begin, end],
});

describe("round trip", () => {
  it("returns the same names, dtypes, shapes and values, NaN included", () => {
    const property = fc.property(
      fc.dictionary(anyName, anyTensor),
      fc.dictionary(anyName, fc.string({ unit: "binary" })),
      (tensors, metadata) => {
        const decoded = decodeSafetensors(encodeSafetensors(tensors, metadata));
        expect(own(decoded.tensors)).toEqual(own(tensors));
        expect(own(decoded.metadata)).toEqual(own(metadata));
      },
    );
    fc.assert(property);
  });

  it("aligns the data, whatever the order of the names, and copies them", () => {
    const a = ndarray(new Uint8Array([1]), [1]);
    const b = ndarray(new Float32Array([2]), []);
    const c = ndarray(new Float64Array([3]), [1, 1]);
    const bytes = encodeSafetensors({ a, b, c });
    expect(encodeSafetensors({ c, a, b })).toEqual(bytes);
    const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    expect(length % 8).toBe(0);
    expect(JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)))).toEqual({
      c: { dtype: "F64", shape: [1, 1], data_offsets: [0, 8] },
      b: { dtype: "F32", shape: [], data_offsets: [8, 12] },
      a: { dtype: "U8", shape: [1], data_offsets: [12, 13] },
    });
    const { tensors } = decodeSafetensors(bytes);
    bytes.fill(0);
    expect(tensors).toEqual({ a, b, c });
  });

  it("reads from within a larger buffer, at any alignment", () => {
    const tensors = { w: ndarray(new Float32Array([1, 2]).subarray(1), [1]) };
    const bytes = encodeSafetensors(tensors);
    const larger = Buffer.alloc(bytes.length + 3);
    larger.set(bytes, 3);
    expect(decodeSafetensors(larger.subarray(3)).tensors).toEqual({ w: ndarray(new Float32Array([2]), [1]) });
  });

  it("holds an empty file", () => {
    expect(decodeSafetensors(encodeSafetensors({}))).toEqual({ tensors: {}, metadata: {} });
  });
});

describe("half precision", () => {
  const read = (dtype: string, bits: readonly number[]): NDArray => {
    const data = [...new Uint8Array(Uint16Array.from(bits).buffer)];
    return decodeSafetensors(file({ h: { dtype, shape: [bits.length], data_offsets: [0, data.length] } }, data)).tensors
      .h!;
  };

  it("F16 is read into float32", () => {
    const bits = [0x0000, 0x8000, 0x3c00, 0xc000, 0x3555, 0x7bff, 0x0400, 0x0001, 0x83ff, 0x7c00, 0xfc00, 0x7e00];
    const values = [0, -0, 1, -2, 0.333251953125, 65504, 2 ** -14, 2 ** -24, -1023 * 2 ** -24];
    expect(read("F16", bits).data).toEqual(
      new Float32Array([...values, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN]),
    );
  });

  it("BF16 is read into float32", () => {
    const bits = [0x0000, 0x8000, 0x3f80, 0xc049, 0x0001, 0x7f80, 0x7fc0];
    const values = [0, -0, 1, -3.140625, 2 ** -133, Number.POSITIVE_INFINITY, Number.NaN];
    expect(read("BF16", bits).data).toEqual(new Float32Array(values));
  });
});

describe("decode refuses", () => {
  const valid = encodeSafetensors({ w: ndarray(new Float32Array(4), [2, 2]) });

  it.each<[string, Uint8Array, string]>([
    ["no header length", new Uint8Array(7), "needs 8 bytes for the header's length, found 7"],
    ["a huge header", Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 1]), "exceeds the format's 100000000"],
    ["half a header", valid.subarray(0, 20), "header ends at byte"],
    ["an empty header", new Uint8Array(9), "header must begin with {"],
    ["a header that is an array", file([]), "header must begin with {"],
    ["a header that begins with a space", file(" {}"), "header must begin with {"],
    ["a header that is not JSON", file("{a}"), "header is not JSON in UTF-8"],
    ["a header that is not UTF-8", file('{"?": 1}').map((byte) => (byte === 0x3f ? 0xff : byte)), "not JSON in UTF-8"],
    ["a name twice", file('{"w": {}, "\\u0077" : {}}'), 'header names "\\u0077" twice'],
    ["a field twice", file('{"w": {"dtype": "U8", "dtype": "F32"}}'), 'header names "dtype" twice'],
    ["an entry that is null", file({ w: null }), 'tensor "w": has no dtype'],
    ["a dtype unknown here", file({ w: { ...bytesTensor(0, 1), dtype: "F8_E4M3" } }, [0]), 'tensor "w": dtype F8_E4M3'],
    [
      "a negative shape",
      file({ w: { dtype: "U8", shape: [-1], data_offsets: [0, 1] } }, [0]),
      'tensor "w": shape must',
    ],
    ["no shape", file({ w: { dtype: "U8", data_offsets: [0, 1] } }, [0]), 'tensor "w": shape must'],
    ["no offsets", file({ w: { dtype: "U8", shape: [1] } }, [0]), 'tensor "w": data_offsets must be [begin, end]'],
    [
      "offsets that go back",
      file({ w: { dtype: "U8", shape: [1], data_offsets: [1, 0] } }, [0]),
      "data_offsets must be",
    ],
    [
      "another size",
      file({ w: { ...bytesTensor(0, 4), dtype: "F32" } }, [0, 0, 0, 0]),
      'tensor "w": F32 of shape [4] needs 16 b',
    ],
    ["a gap", file({ v: bytesTensor(0, 1), w: bytesTensor(2, 3) }, [0, 0, 0]), 'tensor "w": must begin at byte 1'],
    ["an overlap", file({ v: bytesTensor(0, 2), w: bytesTensor(1, 3) }, [0, 0, 0]), 'tensor "w": must begin at byte 2'],
    ["missing data", valid.subarray(0, -1), 'tensor "w": ends at byte 16 of the data, found 15: the file is truncated'],
    ["trailing data", file({ w: bytesTensor(0, 1) }, [0, 0]), "tensors end at byte 1 of the data, found 2"],
    ["metadata that are not an object", file({ __metadata__: ["a"] }), "__metadata__ must be an object"],
    ["metadata that are not strings", file({ __metadata__: { epoch: 1 } }), '__metadata__ "epoch" must be a string'],
  ])("%s", (_, bytes, message) => {
    const act = (): unknown => decodeSafetensors(bytes);
    expect(act).toThrow(DataError);
    expect(act).toThrow(message);
  });

  it("anything else with a DataError", () => {
    const property = fc.property(fc.nat(valid.length - 1), fc.nat(255), (at, byte) => {
      const bytes = valid.slice();
      bytes[at] = byte;
      try {
        decodeSafetensors(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(DataError);
      }
    });
    fc.assert(property, { numRuns: 500 });
  });
});

describe("encode refuses", () => {
  it.each<[string, Record<string, unknown>, object, string]>([
    ["a reserved name", { __metadata__: ndarray(new Uint8Array(1), [1]) }, {}, "a tensor cannot be named __metadata__"],
    ["another dtype", { w: { shape: [1], data: new Int16Array(1) } }, {}, 'tensor "w": its data must be floats'],
    [
      "a wrong shape",
      { w: { shape: [2], data: new Uint8Array(3) } },
      {},
      'tensor "w": shape [2] needs 2 entries, found 3',
    ],
    ["a note that is not a string", {}, { epoch: 1 }, 'metadata "epoch" must be a string, found number'],
  ])("%s", (_, tensors, metadata, message) => {
    const act = (): unknown =>
      encodeSafetensors(tensors as Record<string, NDArray>, metadata as Record<string, string>);
    expect(act).toThrow(DataError);
    expect(act).toThrow(message);
  });
});
