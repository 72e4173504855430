import { readFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { KFAC, losses, nn, ReferenceEngine, type Tensor } from "../../src/index.ts";
import { OrtNodeEngine } from "../../src/node.ts";
import { type NDArray, ndarray } from "../../src/util/ndarray.ts";

interface Saved {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}

/** What scripts/kfac-values.py wrote. */
interface Values {
  readonly steps: readonly number[];
  readonly problems: Readonly<
    Record<string, { readonly x: Saved; readonly y: Saved; readonly parameters: Readonly<Record<string, Saved>> }>
  >;
  readonly runs: readonly {
    readonly problem: string;
    readonly options: Readonly<Record<string, unknown>>;
    readonly path: readonly Readonly<Record<string, readonly number[]>>[];
  }[];
}

const values: Values = JSON.parse(readFileSync(new URL("kfac.json", import.meta.url), "utf8"));
const engines = {
  oracle: new ReferenceEngine(),
  "onnxruntime-node": new OrtNodeEngine({ precision: "float64", threads: 1 }),
};
afterAll(() => engines["onnxruntime-node"].dispose());

type Network = (p: Readonly<Record<string, Tensor>>, x: Tensor) => Tensor;

const linear = (p: Readonly<Record<string, Tensor>>, name: string, x: Tensor): Tensor =>
  nn.linear(x, p[`${name}.weight`]!, p[`${name}.bias`]);

/** The script's networks and their losses. */
const problems: Readonly<Record<string, readonly [Network, nn.Loss]>> = {
  perceptron: [(p, x) => linear(p, "last", linear(p, "first", x).tanh()), losses.crossEntropy],
  convolutions: [
    (p, x) => {
      const window = { stride: [1, 2], padding: [1, 0] };
      const first = nn.conv2d(x, p["first.weight"]!, p["first.bias"], window).tanh();
      return linear(
        p,
        "last",
        nn.conv2d(first, p["grouped.weight"]!, p["grouped.bias"], { groups: 2 }).tanh().flatten(1),
      );
    },
    losses.mse,
  ],
  decoder: [
    (p, x) => {
      const first = linear(p, "first", x).tanh().reshape(x.shape[0]!, 3, 2, 2);
      return nn.convTranspose2d(first, p["up.weight"]!, p["up.bias"], { stride: 2, padding: 1 });
    },
    losses.bceWithLogits,
  ],
  sequence: [
    (p, x) => {
      const twice = linear(p, "twice", linear(p, "twice", x).tanh()).tanh();
      return linear(p, "last", twice.mul(p.scale!)).t();
    },
    losses.crossEntropy,
  ],
};

const real = ({ shape, data }: Saved): NDArray<Float64Array> => ndarray(Float64Array.from(data), shape);

/** Both sides compute in float64, with inverses of matrices whose condition numbers are up to 10⁴. */
const BOUND = 1e-12;

describe.each(Object.entries(engines))("on %s, K-FAC leads where the papers' formulas do", (_engine, engine) => {
  test.each(values.runs.map((run) => [run.problem, JSON.stringify(run.options), run] as const))(
    "%s %s",
    async (problem, _options, { options, path }) => {
      const { x, y, parameters } = values.problems[problem]!;
      const [network, loss] = problems[problem]!;
      const start = Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, real(value)]));
      const model = nn.fromFunction(start, (p, input) => network(p, input!));
      const labels = loss === losses.crossEntropy;
      const batch = { x: real(x), y: labels ? ndarray(Int32Array.from(y.data), y.shape) : real(y) };
      const unclipped = options.klClip === "inf" && { klClip: Number.POSITIVE_INFINITY };
      const optimizer = await KFAC.create(model, loss, { ...options, ...unclipped, engine });
      for (let step = 1; step <= values.steps.at(-1)!; step++) {
        await optimizer.step(batch);
        const expected = path[values.steps.indexOf(step)];
        if (!expected) continue;
        const found = await model.stateDict();
        for (const [name, numbers] of Object.entries(expected))
          for (const [i, value] of numbers.entries()) {
            const error = Math.abs(Number(found[name]!.data[i]) - value);
            expect(error, `${name}[${i}] after step ${step}`).toBeLessThanOrEqual(BOUND * Math.max(1, Math.abs(value)));
          }
      }
      await optimizer.dispose();
    },
  );
});
