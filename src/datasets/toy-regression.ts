import { OptionError, ShapeError } from "../util/errors.ts";
import { checkArray, type NDArray, ndarray } from "../util/ndarray.ts";
import { checkNonNegative, checkWhole, refuseUnknown } from "../util/options.ts";
import { Random } from "../util/random.ts";
import { Dataset } from "./dataset.ts";

/** A regression to make. */
export interface ToyRegressionOptions {
  /** To train on; 1000 by default. */
  readonly samples?: number;
  /** To test on; a fifth of `samples`, rounded up, by default. */
  readonly testSamples?: number;
  /** Numbers in an input; 10 by default. */
  readonly inputs?: number;
  /** Widths of the teacher's hidden layers; [20] by default. */
  readonly hidden?: readonly number[];
  /** Numbers in a target; 1 by default. */
  readonly outputs?: number;
  /** The standard deviation of what is added to the teacher's outputs; 0 by default. */
  readonly noise?: number;
  /** Of the teacher, the inputs and the noise, each with random numbers of its own; 0 by default. */
  readonly seed?: number;
}

/** A regression whose targets are known. */
export interface ToyRegression {
  /** Inputs [inputs] and targets [outputs], float32. */
  readonly train: Dataset;
  readonly test: Dataset;
  /** What the targets are without noise, for inputs [n, inputs]: [n, outputs], float64. */
  readonly teacher: (x: NDArray) => NDArray<Float64Array>;
}

const OPTIONS = ["samples", "testSamples", "inputs", "hidden", "outputs", "noise", "seed"];

/**
 * A regression whose targets a teacher makes: a perceptron with tanh between its layers, its weights N(0, 1 / in) and its
 * biases N(0, 0.1²), all random. Inputs are N(0, 1); targets are the teacher's outputs plus N(0, noise²). Teacher and
 * data are a pure function of the options.
 * @throws OptionError
 */
export function toyRegression(options: ToyRegressionOptions = {}): ToyRegression {
  refuseUnknown("toyRegression", options, OPTIONS);
  const { samples = 1000, inputs = 10, hidden = [20], outputs = 1, noise = 0, seed = 0 } = options;
  const { testSamples = Math.ceil(samples / 5) } = options;
  for (const [name, value] of Object.entries({ samples, testSamples, inputs, outputs })) checkWhole(name, value, 1);
  if (!Array.isArray(hidden)) throw new OptionError(`hidden must be a list of widths; found ${String(hidden)}`);
  for (const width of hidden) checkWhole("a width in hidden", width, 1);
  checkNonNegative("noise", noise);
  checkWhole("seed", seed);
  const [forTeacher, forInputs, forNoise] = [0, 1, 2].map((i) => new Random(new Random(seed).uint32() + i));
  const layers = [...hidden, outputs].map((out, i) => layer(i === 0 ? inputs : hidden[i - 1]!, out, forTeacher!));
  const teacher = (x: NDArray): NDArray<Float64Array> => {
    checkArray("teacher x", x);
    if (x.shape.length !== 2 || x.shape[1] !== inputs)
      throw new ShapeError(`teacher x: expected shape [n, ${inputs}], found [${x.shape.join(", ")}]`);
    return perceptron(layers, x);
  };
  const x = Float32Array.from({ length: (samples + testSamples) * inputs }, () => forInputs!.normal());
  const all = ndarray(x, [samples + testSamples, inputs]);
  const y = Float32Array.from(teacher(all).data, (value) => value + noise * forNoise!.normal());
  const dataset = Dataset.fromArrays(all, ndarray(y, [samples + testSamples, outputs]));
  return { train: dataset.slice(0, samples), test: dataset.slice(samples, samples + testSamples), teacher };
}

interface Layer {
  /** [out, in], row-major. */
  readonly weight: Float64Array;
  readonly bias: Float64Array;
}

function layer(inFeatures: number, outFeatures: number, random: Random): Layer {
  return {
    weight: Float64Array.from({ length: outFeatures * inFeatures }, () => random.normal() / Math.sqrt(inFeatures)),
    bias: Float64Array.from({ length: outFeatures }, () => 0.1 * random.normal()),
  };
}

function perceptron(layers: readonly Layer[], { shape, data }: NDArray): NDArray<Float64Array> {
  const [rows = 0] = shape;
  const output = layers.reduce<Float64Array>(
    (value, each, i) => linear(each, i === 0 ? value : value.map(Math.tanh), rows),
    Float64Array.from(data as ArrayLike<number>),
  );
  return ndarray(output, [rows, output.length / rows]);
}

function linear({ weight, bias }: Layer, x: Float64Array, rows: number): Float64Array {
  const [width, count] = [weight.length / bias.length, bias.length];
  return Float64Array.from({ length: rows * count }, (_, at) => {
    const [row, out] = [Math.floor(at / count), at % count];
    let sum = bias[out]!;
    for (let i = 0; i < width; i++) sum += weight[out * width + i]! * x[row * width + i]!;
    return sum;
  });
}
