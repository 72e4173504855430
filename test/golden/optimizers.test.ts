import { readFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import {
  AdamUpdater,
  AdamWUpdater,
  type Engine,
  LBFGS,
  LionUpdater,
  MuonUpdater,
  nn,
  Optimizer,
  ProdigyUpdater,
  ReferenceEngine,
  RMSpropUpdater,
  ScheduleFreeAdamWUpdater,
  SGDUpdater,
  type Updater,
} from "../../src/index.ts";
import { OrtNodeEngine } from "../../src/node.ts";
import { type NDArray, ndarray } from "../../src/util/ndarray.ts";

/** What scripts/optimizer-values.py wrote. */
interface Values {
  readonly steps: readonly number[];
  readonly problem: {
    readonly x: readonly (readonly number[])[];
    readonly y: readonly (readonly number[])[];
    readonly parameters: Readonly<
      Record<string, { readonly shape: readonly number[]; readonly data: readonly number[] }>
    >;
  };
  readonly runs: readonly {
    readonly updater: string;
    readonly lr: number;
    readonly options: object;
    /** Of AdamW for parameters that are no matrices, beside Muon. */
    readonly others?: object;
    readonly path: readonly {
      readonly parameters: Readonly<Record<string, readonly number[]>>;
      /** The weights to use, where they are others. */
      readonly evaluation?: Readonly<Record<string, readonly number[]>>;
    }[];
  }[];
}

const values: Values = JSON.parse(readFileSync(new URL("optimizers.json", import.meta.url), "utf8"));
const engines = {
  oracle: new ReferenceEngine(),
  "onnxruntime-node": new OrtNodeEngine({ precision: "float64", threads: 1 }),
};
afterAll(() => engines["onnxruntime-node"].dispose());

const updaters: Readonly<Record<string, new (options: object) => Updater>> = {
  SGD: SGDUpdater,
  Adam: AdamUpdater,
  AdamW: AdamWUpdater,
  RMSprop: RMSpropUpdater,
  Lion: LionUpdater,
  Muon: MuonUpdater,
  Prodigy: ProdigyUpdater,
  ScheduleFreeAdamW: ScheduleFreeAdamWUpdater,
};

function make(
  name: string,
  own: nn.Module,
  common: { readonly lr: number; readonly engine: Engine },
  options: object,
): Promise<Optimizer | LBFGS> {
  if (name === "LBFGS") return LBFGS.create(own, (loss) => loss, { ...common, ...options });
  return Optimizer.create(own, (loss) => loss, { ...common, updater: new updaters[name]!(options) });
}

const matrix = (rows: readonly (readonly number[])[]): NDArray =>
  ndarray(Float64Array.from(rows.flat()), [rows.length, rows[0]!.length]);

/** The small problem of the script: a network with one hidden layer, without biases there, and a squared error. */
function model(): nn.Module {
  const { x, y, parameters } = values.problem;
  const start = Object.fromEntries(
    Object.entries(parameters).map(([name, { shape, data }]) => [name, ndarray(Float64Array.from(data), shape)]),
  );
  return nn.fromFunction(start, ({ w, v, b }) =>
    nn.constant(matrix(x)).matmul(w!.t()).tanh().matmul(v!.t()).add(b!).sub(matrix(y)).square().mean(),
  );
}

/** Both sides compute in float64; the rounding of a step is multiplied by what a rule divides by. */
const BOUND = 1e-12;

function expectClose(found: nn.StateDict, expected: Readonly<Record<string, readonly number[]>>, when: string): void {
  for (const [name, numbers] of Object.entries(expected))
    for (const [i, value] of numbers.entries()) {
      const error = Math.abs(Number(found[name]!.data[i]) - value);
      expect(error, `${name}[${i}] ${when}`).toBeLessThanOrEqual(BOUND * Math.max(1, Math.abs(value)));
    }
}

describe.each(Object.entries(engines))("on %s, optimisers lead where their references do", (_engine, engine) => {
  test.each(values.runs.map((run) => [run.updater, JSON.stringify(run.options), run] as const))(
    "%s %s",
    async (name, _options, { lr, options, others, path }) => {
      const own = model();
      const whole = { ...options, ...(others && { others: new AdamWUpdater(others) }) };
      const optimizer = await make(name, own, { lr, engine }, whole);
      for (let step = 1; step <= values.steps.at(-1)!; step++) {
        await optimizer.step();
        const recorded = path[values.steps.indexOf(step)];
        if (!recorded) continue;
        expectClose(await own.stateDict(), recorded.parameters, `after step ${step}`);
        if (!(optimizer instanceof Optimizer)) continue;
        const expected = recorded.evaluation ?? recorded.parameters;
        expectClose(await optimizer.evaluationWeights(), expected, `to use after step ${step}`);
      }
      await optimizer.dispose();
    },
  );
});

test("each is checked", () => {
  expect(new Set(values.runs.map(({ updater }) => updater))).toEqual(new Set(["LBFGS", ...Object.keys(updaters)]));
});
