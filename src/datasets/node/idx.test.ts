import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DataError } from "../../util/errors.ts";
import { sizeOf } from "../../util/ndarray.ts";
import { readIdx } from "./idx.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "grnewt-idx-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function written(bytes: Uint8Array, name = "some-idx"): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

function idx(shape: readonly number[], data: readonly number[], type = 8): Uint8Array {
  const header = shape.flatMap((dim) => [dim >>> 24, (dim >>> 16) & 255, (dim >>> 8) & 255, dim & 255]);
  return Uint8Array.from([0, 0, type, shape.length, ...header, ...data]);
}

describe("readIdx", () => {
  it("reads any shape, plain and gzipped", async () => {
    const anyShape = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 });
    const property = fc.asyncProperty(anyShape, fc.nat(255), async (shape, start) => {
      const data = Array.from({ length: sizeOf(shape) }, (_, i) => (start + i) % 256);
      const expected = { shape, data: Uint8Array.from(data) };
      expect(await readIdx(await written(idx(shape, data)))).toEqual(expected);
      expect(await readIdx(await written(gzipSync(idx(shape, data))))).toEqual(expected);
    });
    await fc.assert(property, { numRuns: 25 });
  });

  it.each<[string, Uint8Array, string]>([
    ["nothing", new Uint8Array(0), "expected an IDX header of 4 bytes, found 0 bytes"],
    ["another format", new TextEncoder().encode("<html>"), "found a file that begins with 0x3c68746d"],
    [
      "another type",
      idx([1], [0, 0, 0, 0], 0x0d),
      "expected an IDX file of unsigned bytes (0x000008…), found one of f",
    ],
    ["no axes", idx([], [1]), "expected one or more axes, found none"],
    ["half a header", idx([2, 2], []).subarray(0, 9), "expected a header of 12 bytes for 2 axes, found 9 bytes"],
    ["no entries", idx([0, 28], []), "expected one or more entries, found shape [0,28]"],
    ["too few bytes", idx([2, 2], [1, 2, 3]), "expected 16 bytes for shape [2,2], found 15: the file is truncated"],
    ["too many bytes", idx([2], [1, 2, 3]), "expected 10 bytes for shape [2], found 11: the file is too long"],
    ["a huge shape", idx([0xffffffff, 0xffffffff], [1]), "the file is truncated"],
    ["half a gzip", gzipSync(idx([2], [1, 2])).subarray(0, 20), "expected a whole gzip file, found unexpected end"],
    ["a corrupt gzip", gzipSync(idx([2], [1, 2])).fill(7, 12, 18), "expected a whole gzip file, found"],
  ])("refuses %s, naming the file", async (_, bytes, message) => {
    const path = await written(bytes);
    const error = await readIdx(path).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(DataError);
    expect((error as Error).message).toContain(`${path}: `);
    expect((error as Error).message).toContain(message);
  });

  it("says where to get a missing file", async () => {
    const path = join(folder, "missing");
    await expect(readIdx(path)).rejects.toThrow(`${path}: expected an IDX file, found no such file`);
    await expect(readIdx(path, { hint: "Get it there." })).rejects.toThrow("found no such file. Get it there.");
  });

  it("refuses a folder and an unknown option", async () => {
    await expect(readIdx(folder)).rejects.toThrow(DataError);
    await expect(readIdx(folder, { hunt: "" } as object)).rejects.toThrow('unknown option "hunt"');
  });
});
