import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DataError, OptionError } from "../util/errors.ts";
import { type CharTextOptions, charText, Vocabulary } from "./text.ts";

describe("charText", () => {
  const { train, test, vocabulary } = charText("abcabcabcabd", { sequenceLength: 3, testShare: 0.34 });

  it("asks for the next character at each place, in samples that do not overlap", async () => {
    expect([train.length, test.length]).toEqual([2, 1]);
    expect([train.inputShape, train.targetShape]).toEqual([[3], [3]]);
    const { x, y } = await train.batch([0, 1]);
    expect(x).toEqual({ shape: [2, 3], data: new Int32Array([0, 1, 2, 0, 1, 2]) });
    expect(y).toEqual({ shape: [2, 3], data: new Int32Array([1, 2, 0, 1, 2, 0]) });
  });

  it("tests on the end of the text, which training does not see", async () => {
    const { x, y } = await test.batch([0]);
    expect([vocabulary.decode(x.data as Int32Array), vocabulary.decode(y.data as Int32Array)]).toEqual(["cab", "abd"]);
  });

  it("makes samples at each stride", async () => {
    const { train } = charText("abcabcabcabd", { sequenceLength: 3, testShare: 0.34, stride: 1 });
    expect(train.length).toBe(5);
    expect((await train.batch([4])).x.data).toEqual(new Int32Array([1, 2, 0]));
  });

  it("never reads beyond its part", async () => {
    const anyOptions = fc.record({
      sequenceLength: fc.integer({ min: 1, max: 8 }),
      stride: fc.integer({ min: 1, max: 9 }),
    });
    const property = fc.asyncProperty(fc.integer({ min: 100, max: 200 }), anyOptions, async (length, options) => {
      const text = Array.from({ length }, (_, i) => String.fromCodePoint(0x100 + i)).join("");
      const { train, test } = charText(text, options);
      const cut = length - Math.round(0.1 * length);
      for (const [part, start, end] of [
        [train, 0, cut],
        [test, cut, length],
      ] as const) {
        const { x, y } = await part.batch(Array.from({ length: part.length }, (_, i) => i));
        expect(x.data[0]).toBe(start);
        expect(y.data).toEqual((x.data as Int32Array).map((token) => token + 1));
        expect(Number(y.data.at(-1))).toBeLessThan(end);
        expect(Number(y.data.at(-1)) + options.stride).toBeGreaterThanOrEqual(end);
      }
    });
    await fc.assert(property, { numRuns: 50 });
  });

  it.each<[string, CharTextOptions, string]>([
    ["", { sequenceLength: 3 }, "text: expected a text, found nothing"],
    ["abcdefghij", { sequenceLength: 9 }, "text: its part for the training has 9 characters; a sequence of 9 needs 10"],
    ["abcdefghij", { sequenceLength: 3 }, "text: its part for the test has 1 characters; a sequence of 3 needs 4"],
  ])("refuses the text %j with %o", (text, options, message) => {
    expect(() => charText(text, options)).toThrow(DataError);
    expect(() => charText(text, options)).toThrow(message);
  });

  it.each<[object, string]>([
    [{}, "sequenceLength must be a whole number, 1 or more; found undefined"],
    [{ sequenceLength: 3, stride: 0 }, "stride must be a whole number, 1 or more; found 0"],
    [{ sequenceLength: 3, testShare: 1 }, "testShare must be a number between 0 and 1; found 1"],
    [{ sequenceLength: 3, length: 1 }, 'unknown option "length"'],
    [
      undefined as never,
      "charText: expected an object of options (sequenceLength, stride, testShare); found undefined",
    ],
  ])("refuses %o", (options, message) => {
    expect(() => charText("abc", options as CharTextOptions)).toThrow(OptionError);
    expect(() => charText("abc", options as CharTextOptions)).toThrow(message);
  });
});

describe("Vocabulary", () => {
  it("gives every text of its characters back, also beyond 16 bits", () => {
    const property = fc.property(fc.string({ unit: "grapheme" }), (text) => {
      const vocabulary = new Vocabulary(`${text}😀`);
      expect(vocabulary.decode(vocabulary.encode(text))).toBe(text);
      expect(vocabulary.decode(vocabulary.encode("😀"))).toBe("😀");
      expect(vocabulary.encode("😀")).toHaveLength(1);
    });
    fc.assert(property);
  });

  it("does not depend on the order of its text", () => {
    expect(new Vocabulary("cab").characters).toEqual(["a", "b", "c"]);
  });

  it("refuses what is not in it", () => {
    expect(() => new Vocabulary("ab").encode("abc")).toThrow('vocabulary of 2 characters lacks "c", character 2');
    expect(() => new Vocabulary("ab").decode([0, 2])).toThrow("vocabulary of 2 characters has no token 2");
    expect(() => new Vocabulary("ab").decode([-1])).toThrow(DataError);
  });
});
