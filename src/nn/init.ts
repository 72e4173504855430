import { Matrix, QrDecomposition } from "ml-matrix";
import { OptionError, ShapeError } from "../util/errors.ts";
import { type NDArray, sizeOf } from "../util/ndarray.ts";
import { checkWhole, refuseUnknown } from "../util/options.ts";
import { Random } from "../util/random.ts";

let generator = new Random(0);

/** Restarts the random numbers from which layers draw their initial parameters (`torch.manual_seed`). */
export function manualSeed(seed: number): void {
  generator = new Random(seed);
}

let skipping = false;

/**
 * Makes modules whose parameters are given values of their own afterwards (`torch.nn.utils.skip_init`): nothing is drawn for
 * them, and they are 0 until then.
 */
export function skipInit<T>(make: () => T): T {
  const outer = skipping;
  skipping = true;
  try {
    return make();
  } finally {
    skipping = outer;
  }
}

/** What every random initialisation takes. */
export interface RandomOptions {
  /** Where the numbers come from; by default the generator that `manualSeed` restarts. */
  readonly random?: Random;
}

/** Every entry the same. */
export function constant(shape: readonly number[], value: number): NDArray<Float32Array> {
  return fill(shape, () => value);
}

/** @throws ShapeError where there is no memory for so many */
export function zeros(shape: readonly number[]): NDArray<Float32Array> {
  try {
    return { shape, data: new Float32Array(sizeOf(shape)) };
  } catch (cause) {
    throw new ShapeError(`a tensor of shape [${shape}] does not fit into memory`, { cause });
  }
}

export function ones(shape: readonly number[]): NDArray<Float32Array> {
  return constant(shape, 1);
}

/** The bounds of a uniform distribution. */
export interface UniformOptions extends RandomOptions {
  /** The lower bound; 0 by default. */
  readonly a?: number;
  /** The upper bound; 1 by default. */
  readonly b?: number;
}

/** Uniform on [a, b). @throws OptionError */
export function uniform(shape: readonly number[], options: UniformOptions = {}): NDArray<Float32Array> {
  refuseUnknown("uniform", options, ["a", "b", "random"]);
  const { a = 0, b = 1, random = generator } = options;
  return drawn(shape, random, () => a + (b - a) * random.uniform());
}

/** Mean and standard deviation of a normal distribution. */
export interface NormalOptions extends RandomOptions {
  /** 0 by default. */
  readonly mean?: number;
  /** 1 by default. */
  readonly std?: number;
}

/** Normal entries. @throws OptionError */
export function normal(shape: readonly number[], options: NormalOptions = {}): NDArray<Float32Array> {
  refuseUnknown("normal", options, ["mean", "std", "random"]);
  const { mean = 0, std = 1, random = generator } = options;
  return drawn(shape, random, () => mean + std * random.normal());
}

/** A normal distribution cut off at two values, which are not multiples of `std`, as in PyTorch. */
export interface TruncNormalOptions extends NormalOptions {
  /** The least value; −2 by default. */
  readonly a?: number;
  /** The largest value; 2 by default. */
  readonly b?: number;
}

/**
 * Normal entries, those outside [a, b] drawn again.
 * @throws OptionError, also where hardly any draw would lie within [a, b].
 */
export function truncNormal(shape: readonly number[], options: TruncNormalOptions = {}): NDArray<Float32Array> {
  refuseUnknown("truncNormal", options, ["mean", "std", "a", "b", "random"]);
  const { mean = 0, std = 1, a = -2, b = 2, random = generator } = options;
  const [low, high] = [(a - mean) / std, (b - mean) / std];
  if (!(std > 0 && high - low > 0.01 && low < 3 && high > -3))
    throw new OptionError(`truncNormal: values of mean ${mean} and std ${std} hardly ever lie within [${a}, ${b}]`);
  return fill(shape, () => {
    let z = random.normal();
    while (z < low || z > high) z = random.normal();
    return mean + std * z;
  });
}

/** Options of the initialisations that take a gain. */
export interface GainOptions extends RandomOptions {
  /** A factor for all entries, 1 by default; see `calculateGain`. */
  readonly gain?: number;
}

/** Uniform of variance gain² · 2 / (fan in + fan out) (Glorot & Bengio, 2010). @throws OptionError, ShapeError */
export function xavierUniform(shape: readonly number[], options: GainOptions = {}): NDArray<Float32Array> {
  return uniformOfStd(shape, xavierStd("xavierUniform", shape, options), options);
}

/** Normal of variance gain² · 2 / (fan in + fan out) (Glorot & Bengio, 2010). @throws OptionError, ShapeError */
export function xavierNormal(shape: readonly number[], options: GainOptions = {}): NDArray<Float32Array> {
  return normalOfStd(shape, xavierStd("xavierNormal", shape, options), options);
}

function xavierStd(what: string, shape: readonly number[], options: GainOptions): number {
  refuseUnknown(what, options, ["gain", "random"]);
  const { fanIn, fanOut } = fans(what, shape);
  return (options.gain ?? 1) * Math.sqrt(2 / (fanIn + fanOut));
}

/** Options of the initialisations after He et al. (2015). */
export interface KaimingOptions extends RandomOptions {
  /** Whether values keep their variance ("fanIn", the default) or gradients do ("fanOut"). */
  readonly mode?: "fanIn" | "fanOut";
  /** What follows the layer; "leakyRelu" by default. */
  readonly nonlinearity?: Nonlinearity;
  /** The slope of the leaky ReLU; 0 by default. */
  readonly a?: number;
}

/** Uniform of variance gain² / fan (He et al., 2015). @throws OptionError, ShapeError */
export function kaimingUniform(shape: readonly number[], options: KaimingOptions = {}): NDArray<Float32Array> {
  return uniformOfStd(shape, kaimingStd("kaimingUniform", shape, options), options);
}

/** Normal of variance gain² / fan (He et al., 2015). @throws OptionError, ShapeError */
export function kaimingNormal(shape: readonly number[], options: KaimingOptions = {}): NDArray<Float32Array> {
  return normalOfStd(shape, kaimingStd("kaimingNormal", shape, options), options);
}

function kaimingStd(what: string, shape: readonly number[], options: KaimingOptions): number {
  refuseUnknown(what, options, ["mode", "nonlinearity", "a", "random"]);
  const { mode = "fanIn", nonlinearity = "leakyRelu", a = 0 } = options;
  const fan = fans(what, shape)[mode];
  if (fan === undefined) throw new OptionError(`${what}: mode is "fanIn" or "fanOut"; found ${JSON.stringify(mode)}`);
  return calculateGain(nonlinearity, a) / Math.sqrt(fan);
}

const GAINS = {
  linear: () => 1,
  sigmoid: () => 1,
  tanh: () => 5 / 3,
  relu: () => Math.SQRT2,
  leakyRelu: (slope: number) => Math.sqrt(2 / (1 + slope ** 2)),
  selu: () => 3 / 4,
};

/** A function whose gain is known. */
export type Nonlinearity = keyof typeof GAINS;

/**
 * The gain that PyTorch recommends ahead of a nonlinearity; "linear" stands for convolutions too.
 * @param slope that of the leaky ReLU, 0.01 by default.
 * @throws OptionError
 */
export function calculateGain(nonlinearity: Nonlinearity, slope: number = 0.01): number {
  if (!Object.hasOwn(GAINS, nonlinearity))
    throw new OptionError(
      `calculateGain: unknown nonlinearity "${nonlinearity}"; it is one of ${Object.keys(GAINS).join(", ")}`,
    );
  return GAINS[nonlinearity](slope);
}

/**
 * Orthonormal rows or columns, whichever are fewer, of the array as a matrix [first axis, all others] (Saxe et al., 2014).
 * @throws OptionError, ShapeError
 */
export function orthogonal(shape: readonly number[], options: GainOptions = {}): NDArray<Float32Array> {
  refuseUnknown("orthogonal", options, ["gain", "random"]);
  const { gain = 1, random = generator } = options;
  const [rows, columns] = [shape[0]!, sizeOf(shape.slice(1))];
  if (shape.length < 2 || !(rows > 0 && columns > 0))
    throw new ShapeError(`orthogonal: expected at least two axes, none of length 0; found shape [${shape}]`);
  const [long, short] = [Math.max(rows, columns), Math.min(rows, columns)];
  const drawn = new Matrix(Array.from({ length: long }, () => Array.from({ length: short }, () => random.normal())));
  const { orthogonalMatrix: q, upperTriangularMatrix: r } = new QrDecomposition(drawn);
  // With the signs of R's diagonal taken out, all orthogonal matrices are equally likely (Mezzadri, 2007).
  const signs = Array.from({ length: short }, (_, i) => gain * (r.get(i, i) < 0 ? -1 : 1));
  const entry = (i: number, j: number): number => q.get(i, j) * signs[j]!;
  let at = 0;
  return fill(shape, () => {
    const [i, j] = [Math.floor(at / columns), at++ % columns];
    return rows < columns ? entry(j, i) : entry(i, j);
  });
}

/** Options of `sparse`. */
export interface SparseOptions extends RandomOptions {
  /** The share of zeros in each column, 0 to 1; their number is rounded up. */
  readonly sparsity: number;
  /** The deviation of the other entries; 0.01 by default. */
  readonly std?: number;
}

/** A matrix of normal entries with as many zeros in each column, at random places (Martens, 2010). @throws OptionError, ShapeError */
export function sparse(shape: readonly number[], options: SparseOptions): NDArray<Float32Array> {
  refuseUnknown("sparse", options, ["sparsity", "std", "random"]);
  const { sparsity, std = 0.01, random = generator } = options;
  if (!(sparsity >= 0 && sparsity <= 1))
    throw new OptionError(`sparse: sparsity must be a number from 0 to 1; found ${sparsity}`);
  const [rows, columns] = matrix("sparse", shape);
  const array = normal(shape, { std, random });
  for (let column = 0; column < columns; column++)
    for (const row of random.permutation(rows).subarray(0, Math.ceil(sparsity * rows)))
      array.data[row * columns + column] = 0;
  return array;
}

/** The lengths of two axes. @throws ShapeError */
function matrix(what: string, shape: readonly number[]): [number, number] {
  const [rows, columns] = shape;
  if (shape.length !== 2 || rows === undefined || columns === undefined)
    throw new ShapeError(`${what}: expected two axes, found shape [${shape}]`);
  return [rows, columns];
}

/** A matrix with ones on its diagonal. @throws ShapeError */
export function eye(shape: readonly number[]): NDArray<Float32Array> {
  return { shape, data: dirac([...matrix("eye", shape), 1]).data };
}

/**
 * A convolution's weight [out, in / groups, kernel…] that passes each group's first channels on: ones at the kernel's centre.
 * @throws OptionError, ShapeError
 */
export function dirac(shape: readonly number[], options: { readonly groups?: number } = {}): NDArray<Float32Array> {
  refuseUnknown("dirac", options, ["groups"]);
  const { groups = 1 } = options;
  checkWhole("dirac: groups", groups, 1);
  const [out, channels, ...kernel] = shape;
  if (out === undefined || channels === undefined || kernel.length === 0 || out % groups !== 0)
    throw new ShapeError(
      `dirac: expected [out, in / groups, kernel…] with out a multiple of ${groups}, found [${shape}]`,
    );
  const array = zeros(shape);
  const centre = kernel.reduce((at, length) => at * length + Math.floor(length / 2), 0);
  for (let i = 0; i < out; i++) {
    const channel = i % (out / groups);
    if (channel < channels) array.data[(i * channels + channel) * sizeOf(kernel) + centre] = 1;
  }
  return array;
}

/** How many inputs an output has, and how many outputs an input of the same group. */
function fans(what: string, [out, channels, ...kernel]: readonly number[]): { fanIn: number; fanOut: number } {
  if (out === undefined || channels === undefined)
    throw new ShapeError(`${what}: expected a weight [out, in, …]; fans of fewer than two axes do not exist`);
  return { fanIn: channels * sizeOf(kernel), fanOut: out * sizeOf(kernel) };
}

function uniformOfStd(shape: readonly number[], std: number, { random = generator }: RandomOptions) {
  const b = Math.sqrt(3) * std;
  return uniform(shape, { a: -b, b, random });
}

function normalOfStd(shape: readonly number[], std: number, { random = generator }: RandomOptions) {
  return normal(shape, { std, random });
}

/** Random entries, unless they come from the layers' generator and are skipped. */
function drawn(shape: readonly number[], random: Random, next: () => number): NDArray<Float32Array> {
  return skipping && random === generator ? zeros(shape) : fill(shape, next);
}

function fill(shape: readonly number[], next: () => number): NDArray<Float32Array> {
  const array = zeros(shape);
  // Not Float32Array.from, which asks an object for each entry: large models would take seconds.
  for (let i = 0; i < array.data.length; i++) array.data[i] = next();
  return array;
}
