import { afterAll, expect, test } from "vitest";
import { finished, ReferenceEngine, type Session, type Tuning } from "../engine/index.ts";
import { thisMachine } from "../engine/ort-node/machine.ts";
import { OrtNodeEngine } from "../engine/ort-node.ts";
import * as models from "../models/index.ts";
import { type Loss, losses } from "../nn/index.ts";
import { computeHg, valueAndGrad } from "../summary/index.ts";
import { OptionError } from "../util/errors.ts";
import type { Batch } from "../util/ndarray.ts";
import { Random } from "../util/random.ts";
import type { Watch, Way } from "./race.ts";
import { type TuneOptions, tuneBy, tuningKey } from "./tune.ts";

const lenet = () => models.lenet({ layers: [1, 2, 3, 4, 5, 3], imageSize: 16, seed: 1 });

function images(samples: number): Batch {
  const random = new Random(1);
  return {
    x: { shape: [samples, 1, 16, 16], data: Float32Array.from({ length: samples * 256 }, () => random.normal()) },
    y: { shape: [samples], data: Int32Array.from({ length: samples }, () => random.below(3)) },
  };
}

/** A watch by which each way takes what its name says; every run takes place, and none takes time. */
function told(timeOf: (name: string) => number): Watch & { readonly names: string[] } {
  const names: string[] = [];
  const time = async ({ name, run, work = 1 }: Way): Promise<number> => {
    names.push(name);
    await run();
    return timeOf(name) * work;
  };
  return { names, now: () => 0, time };
}

const tuned = (watch: Watch, options?: TuneOptions) => tuneBy(watch, lenet(), losses.nll, images(8), options);

test("without a difference everything is as by rule", async () => {
  const watch = told(() => 1);
  const tuning = await tuned(watch, { threads: 1 });
  expect(tuning).toEqual({
    machine: thisMachine(),
    key: tuningKey(lenet(), losses.nll, images(8), { threads: 1 }),
    threads: 1,
    convolutions: expect.anything(),
    // What takes 8 samples at once may take more.
    microbatches: {},
    gains: { threads: 1, convolutions: 1, microbatch: 1 },
  });
  const forms = Object.entries(tuning.convolutions).map(([key, form]) => `${key.split(" ")[0]} ${form}`);
  expect(forms.sort()).toEqual([
    "conv conv",
    "conv conv",
    "convInput transposed",
    "convWeight exchanged",
    "convWeight exchanged",
  ]);
  expect(watch.names).not.toContain("rules");
});

test("what is faster is chosen: threads, forms and the microbatch", async () => {
  const fast = ["threads 1", "rows", "turned taps", "microbatch 4", "chosen forms"];
  const watch = told((name) => (fast.some((each) => name.endsWith(each)) ? 0.5 : 1));
  const tuning = await tuned(watch);
  expect(tuning.threads).toBe(1);
  expect(Object.values(tuning.convolutions).sort()).toEqual(["conv", "conv", "rows", "rows", "turned taps"]);
  expect(Object.values(tuning.microbatches)).toEqual([4]);
  expect(tuning.gains).toEqual({
    threads: thisMachine().threads === 1 ? 1 : 0.5,
    convolutions: 0.5,
    microbatch: 0.5,
  });
});

test("forms that are no gain together are left as by rule", async () => {
  const tuning = await tuned(
    told((name) => (name.endsWith("rows") ? 0.5 : name === "chosen forms" ? 2 : 1)),
    {
      threads: 1,
    },
  );
  expect(Object.values(tuning.convolutions)).not.toContain("rows");
  expect(tuning.gains.convolutions).toBe(1);
});

test("when time is up nothing is chosen", async () => {
  let clock = 0;
  const late: Watch = { now: () => clock, time: async () => (clock += 1500) };
  const tuning = await tuned(late, { threads: 1, seconds: 1 });
  const none = { threads: 1, convolutions: {}, microbatches: {} };
  expect(tuning).toMatchObject({ ...none, gains: { threads: 1, convolutions: 1, microbatch: 1 } });
});

test("no summary, no microbatch; and the options are checked", async () => {
  const watch = told(() => 1);
  expect((await tuned(watch, { hgBatch: null, threads: 1 })).microbatches).toEqual({});
  await expect(tuned(watch, { seconds: 0 })).rejects.toThrow("tune: seconds must be a number above 0; found 0");
  await expect(tuned(watch, { minutes: 1 } as TuneOptions)).rejects.toThrow('tune: unknown option "minutes"');
});

test("a loss that cannot be split has no microbatch", async () => {
  const coupled: Loss = (output, target) => losses.nll(output, target).mul(losses.nll(output, target));
  const watch = told(() => 1);
  expect((await tuneBy(watch, lenet(), coupled, images(8), { threads: 1 })).microbatches).toEqual({});
});

test("the key tells models, shapes, samples and options apart, not weights", () => {
  const key = (options: TuneOptions = {}, samples = 8, model = lenet()): string =>
    tuningKey(model, losses.nll, images(samples), options);
  const other = models.lenet({ layers: [1, 2, 3, 4, 5, 3], imageSize: 16, seed: 2 });
  expect(key({}, 8, other)).toBe(key());
  const wider = models.lenet({ layers: [1, 2, 4, 4, 5, 3], imageSize: 16 });
  const all = [
    key(),
    key({}, 9),
    key({ hgBatch: images(9) }),
    key({ hgBatch: null }),
    key({ threads: 1 }),
    key({ precision: "float64" }),
    key({}, 8, wider),
  ];
  expect(new Set(all).size).toBe(all.length);
});

const FORM = "convWeight 1x16x16 2x12x12 stride 1x1 before 0x0 after 0x0 dilation 1x1 groups 1 kernel 5x5";
const tuning: Tuning = {
  machine: { processor: "a processor", threads: 4, onnxruntime: "1.30.0" },
  key: "a key",
  threads: 1,
  convolutions: { [FORM]: "rows" },
  microbatches: {},
  gains: { threads: 1, convolutions: 1, microbatch: 1 },
};

test("an engine computes with its tuning's forms", async () => {
  const gradient = async (engine: OrtNodeEngine) => {
    const { gradient } = await valueAndGrad(lenet(), losses.nll, images(8), { engine });
    await engine.dispose();
    return gradient;
  };
  const expected = await gradient(new OrtNodeEngine({ threads: 1 }));
  const found = await gradient(new OrtNodeEngine({ tuning }));
  for (const [name, { data }] of Object.entries(expected))
    for (const [i, value] of data.entries()) expect(found[name]!.data[i]).toBeCloseTo(value, 5);
  const odd = new OrtNodeEngine({ tuning: { ...tuning, convolutions: { [FORM]: "by hand" } } });
  await expect(gradient(odd)).rejects.toThrow(`tuning: ${FORM} cannot be written as "by hand" in float32`);
});

test("an engine refuses what is no tuning, by its place", () => {
  const engine = (odd: object) => () => new OrtNodeEngine({ tuning: { ...tuning, ...odd } });
  expect(engine({ threads: 0 })).toThrow("tuning: threads must be a whole number from 1 to 1024; found 0");
  expect(engine({ microbatches: { 12: "x" } })).toThrow("tuning: microbatches.12 must be a whole number, 1 or more");
  expect(engine({ convolutions: null })).toThrow("tuning: convolutions must be an object; found null");
  expect(engine({ colour: "red" })).toThrow("tuning: colour is unknown");
  expect(engine({ threads: 0 })).toThrow(OptionError);
});

/** The oracle with a tuning, which notes how many samples each run of the last session had. */
class Noting extends ReferenceEngine {
  readonly tuning: Tuning;
  readonly samples: number[] = [];

  constructor(microbatches: Tuning["microbatches"]) {
    super();
    this.tuning = { ...tuning, microbatches };
  }

  override async compile(...args: Parameters<ReferenceEngine["compile"]>): Promise<Session> {
    const session = await super.compile(...args);
    const begin: Session["begin"] = (inputs, donated) => {
      this.samples.push(inputs.x!.shape[0]!);
      return session.begin(inputs, donated);
    };
    return {
      sideBySide: session.sideBySide,
      dispose: () => session.dispose(),
      run: async (inputs, donated) => await finished(await begin(inputs, donated)),
      begin,
    };
  }
}

test("summaries take the microbatch of stacks of their width from the engine's tuning, unless they are told one", async () => {
  const model = lenet();
  const { gradient: direction } = await valueAndGrad(model, losses.nll, images(8), { engine: oracle });
  const halves = told((name) => (name === "microbatch 4" ? 0.5 : 1));
  const [width] = Object.keys((await tuned(halves, { threads: 1 })).microbatches);
  const runs = async (microbatches: Tuning["microbatches"], microbatch?: number): Promise<number[]> => {
    const engine = new Noting(microbatches);
    const options = { engine, direction, ...(microbatch !== undefined && { microbatch }) };
    await computeHg(model, losses.nll, images(8), options);
    return engine.samples;
  };
  expect(await runs({})).toEqual([8]);
  expect(await runs({ [width!]: 4 })).toEqual([4, 4]);
  expect(await runs({ [width!]: 4 }, 2)).toEqual([2, 2, 2, 2]);
  expect(await runs({ 7: 4 })).toEqual([8]);
});

const oracle = new ReferenceEngine();
afterAll(() => oracle.dispose());
