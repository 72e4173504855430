import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { OrtNodeEngine } from "../../src/engine/ort-node.ts";
import { BATCH, GraphBuilder } from "../../src/graph/index.ts";
import { type ConvolutionChoice, convolutionsOf } from "../../src/onnx/index.ts";
import * as o from "../../src/ops/index.ts";
import { OptionError } from "../../src/util/errors.ts";
import { checkValue } from "../support/check-value.ts";
import { type EngineUnderTest, engines } from "../support/engines.ts";
import { floats, makeInputs } from "../support/inputs.ts";
import { type Case, primitiveCases } from "../support/primitive-cases.ts";
import { checkedGraph } from "../support/run.ts";

type Item = Pick<Case, "name" | "inputs" | "build">;

function graphOfCase({ build, inputs }: Item) {
  const b = new GraphBuilder();
  return checkedGraph({ z: build(b, makeInputs(b, inputs)) });
}

const cases: readonly Item[] = [...primitiveCases.conv, ...primitiveCases.convInput, ...primitiveCases.convWeight];
const native = engines.filter(({ label }) => label !== "reference");

describe.each(native)("$label", ({ make, tolerance }: EngineUnderTest) => {
  const engine = make();
  afterAll(() => engine.dispose());

  const blockSize = async (): Promise<number | undefined> =>
    engine instanceof OrtNodeEngine ? await engine.blockSize() : undefined;

  async function choiceOf(item: Item): Promise<ConvolutionChoice> {
    return convolutionsOf(graphOfCase(item), { precision: engine.precision, blockSize: await blockSize() })[0]!;
  }

  /** Asserts that a convolution has the oracle's value in every form that it can have. @returns the forms */
  async function checkForms(item: Item): Promise<readonly string[]> {
    const { key, rule, forms } = await choiceOf(item);
    expect(forms).toContain(rule);
    for (const form of forms)
      for (const samples of [undefined, 3])
        await checkValue(engine, { ...item, name: `${key} as ${form} for ${samples} samples` }, tolerance, {
          convolutions: { [key]: form },
          samples,
        });
    return forms.map((form) => `${key.split(" ")[0]} ${form}`);
  }

  test("every form of every case has the oracle's value", async () => {
    const checked = new Set<string>();
    for (const item of cases) for (const form of await checkForms(item)) checked.add(form);
    const hasBlocks = (await blockSize()) !== undefined;
    expect([...checked].sort()).toEqual(
      engine.precision === "float32"
        ? [
            "conv blocks",
            "conv conv",
            "conv taps",
            "convInput transposed",
            "convInput turned blocks",
            "convInput turned conv",
            "convInput turned taps",
            "convWeight blocks",
            "convWeight columns",
            "convWeight exchanged",
            "convWeight rows",
            "convWeight taps",
            "convWeight turned blocks",
            "convWeight windows",
          ].filter((form) => hasBlocks || !form.endsWith("blocks"))
        : [
            "conv taps",
            "conv windows",
            "convInput turned taps",
            "convInput turned windows",
            "convWeight columns",
            "convWeight rows",
            "convWeight taps",
            "convWeight windows",
          ],
    );
  });

  test("any stride, padding, dilation and number of groups will do", async () => {
    await fc.assert(
      fc.asyncProperty(randomConvolutions, async (items) => {
        for (const item of items) await checkForms(item);
      }),
      { numRuns: 25 },
    );
  }, 60_000);

  test.each([
    { size: [32, 32], before: [1, 1], after: [1, 1], dilation: [1, 1] },
    { size: [16, 64], before: [2, 4], after: [0, 0], dilation: [1, 2] },
    { size: [64, 16], before: [0, 0], after: [2, 2], dilation: [1, 1] },
  ])("so will images whose channels are a page apart, $size", async ({ size, ...window }) => {
    const attrs = { ...window, stride: [1, 1], groups: 1, kernel: [3, 3] };
    const item: Item = {
      name: "",
      inputs: [floats([BATCH, 2, ...size]), floats([BATCH, 16, ...o.placesOf("test", attrs, size, attrs.kernel)])],
      build: (b, [images, found]) => o.convWeight(b, images!, found!, attrs),
    };
    const forms = await checkForms(item);
    if ((await blockSize()) !== undefined) expect(forms).toContain("convWeight blocks");
  });

  test("a form that a convolution cannot have is refused by name", async () => {
    const graph = graphOfCase(cases[0]!);
    const { key } = await choiceOf(cases[0]!);
    for (const form of ["by hand", "toString"]) {
      const refused = engine.compile(graph, { convolutions: { [key]: form } });
      await expect(refused).rejects.toThrow(`tuning: ${key} cannot be written as "${form}" in ${engine.precision}`);
      await expect(refused).rejects.toThrow(OptionError);
    }
  });
});

/** The three primitives of a convolution over one or two axes whose window fits into the image. */
const randomConvolutions = fc
  .tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 2 }), fc.nat(2), fc.nat(2))
  .chain(([axes, groups, inputs, outputs]) => {
    const lengths = (min: number, max: number) =>
      fc.array(fc.integer({ min, max }), { minLength: axes, maxLength: axes });
    return fc
      .record({
        size: lengths(1, 6),
        kernel: lengths(1, 3),
        stride: lengths(1, 3),
        before: lengths(0, 2),
        after: lengths(0, 2),
        dilation: lengths(1, 2),
      })
      .filter(({ size, kernel, before, after, dilation }) =>
        size.every((length, i) => dilation[i]! * (kernel[i]! - 1) + 1 <= length + before[i]! + after[i]!),
      )
      .map(({ size, kernel, ...window }): Item[] => {
        const attrs = { ...window, groups };
        const [channels, results] = [groups * (inputs + 1), groups * (outputs + 1)];
        const x = floats([BATCH, channels, ...size]);
        const w = floats([results, inputs + 1, ...kernel]);
        const z = floats([BATCH, results, ...o.placesOf("test", attrs, size, kernel)]);
        return [
          { name: "", inputs: [x, w], build: (b, [images, weights]) => o.conv(b, images!, weights!, attrs) },
          {
            name: "",
            inputs: [z, w],
            build: (b, [found, weights]) => o.convInput(b, found!, weights!, { ...attrs, size }),
          },
          {
            name: "",
            inputs: [x, z],
            build: (b, [images, found]) => o.convWeight(b, images!, found!, { ...attrs, kernel }),
          },
        ];
      });
  });
