import { type NDArray, nn, type Tensor } from "../../src/index.ts";
import { sizeOf } from "../../src/util/ndarray.ts";
import { FormatError, type Item, MissingFeature } from "./json.ts";

/** Tensors by parameter name. */
export type Parameters = Readonly<Record<string, Tensor>>;

/** One operation of a chain. */
export type Step = (x: Tensor, parameters: Parameters) => Tensor;

/** How an operation of `model.ops` is read: what it may say beside `op` and `doc`, and what it does. */
interface OpReader {
  readonly keys: readonly string[];
  readonly read: (op: Item) => Step;
}

function plain(f: (x: Tensor) => Tensor): OpReader {
  return { keys: [], read: () => f };
}

/** The operations that a chain may name. `multiply` is not here, as its mask belongs to the batch: see `chain`. */
const opReaders: Readonly<Record<string, OpReader>> = {
  identity: plain((x) => x),
  flatten: plain((x) => x.flatten(1)),
  relu: plain((x) => x.relu()),
  tanh: plain((x) => x.tanh()),
  sigmoid: plain((x) => x.sigmoid()),
  softplus: plain((x) => x.softplus()),
  silu: plain((x) => x.mul(x.sigmoid())),
  elu: {
    keys: ["alpha"],
    read: (op) => {
      const alpha = op.find("alpha")?.number() ?? 1;
      return (x) => (alpha === 1 ? x.elu() : x.relu().add(x.elu().sub(x.relu()).mul(alpha)));
    },
  },
  leaky_relu: {
    keys: ["negative_slope"],
    read: (op) => {
      const slope = op.find("negative_slope")?.number() ?? 0.01;
      return (x) => x.relu().sub(x.neg().relu().mul(slope));
    },
  },
  linear: {
    keys: ["weight", "bias"],
    read: (op) => {
      const [weight, bias] = [op.get("weight").text(), op.find("bias")?.text()];
      return (x, p) => nn.linear(x, named(p, weight), bias === undefined ? undefined : named(p, bias));
    },
  },
  divide: {
    keys: ["by"],
    read: (op) => {
      const by = op.get("by").number();
      return (x) => x.div(by);
    },
  },
  reshape: {
    keys: ["shape"],
    read: (op) => {
      const shape = op.get("shape").numbers();
      return (x) => x.reshape(x.shape[0]!, ...shape);
    },
  },
  log_softmax: {
    keys: ["dim"],
    read: (op) => {
      const dim = op.get("dim").number();
      return (x) => nn.logSoftmax(x, dim);
    },
  },
  softmax: {
    keys: ["dim"],
    read: (op) => {
      const dim = op.get("dim").number();
      return (x) => nn.softmax(x, dim);
    },
  },
  conv1d: convolution(["stride", "padding", "dilation", "groups"], nn.conv1d),
  conv2d: convolution(["stride", "padding", "dilation", "groups"], nn.conv2d),
  conv_transpose2d: convolution(["stride", "padding", "output_padding"], nn.convTranspose2d),
  max_pool2d: {
    keys: ["kernel", "stride"],
    read: (op) => {
      const [kernel, stride] = [op.get("kernel").number(), op.get("stride").number()];
      return (x) => nn.maxPool2d(x, kernel, { stride });
    },
  },
  adaptive_avg_pool2d: {
    keys: ["out"],
    read: (op) => {
      const size = op.get("out").numbers();
      return (x) => nn.adaptiveAvgPool2d(x, size);
    },
  },
  batch_norm: {
    keys: ["weight", "bias", "eps"],
    read: (op) => {
      const [weight, bias, eps] = [op.get("weight").text(), op.get("bias").text(), op.get("eps").number()];
      return (x, p) => batchNorm(x, named(p, weight), named(p, bias), eps);
    },
  },
};

/** A convolution, with the options that it may have. */
function convolution(
  options: readonly string[],
  apply: (x: Tensor, weight: Tensor, bias: Tensor, options: Record<string, number>) => Tensor,
): OpReader {
  return {
    keys: ["weight", "bias", ...options],
    read: (op) => {
      const [weight, bias] = [op.get("weight").text(), op.get("bias").text()];
      const present = options.filter((key) => op.find(key) !== undefined);
      const given = Object.fromEntries(present.map((key) => [camelCase(key), op.get(key).number()]));
      return (x, p) => apply(x, named(p, weight), named(p, bias), given);
    },
  };
}

/** Training mode: the statistics are the batch's own, per channel. */
function batchNorm(x: Tensor, weight: Tensor, bias: Tensor, eps: number): Tensor {
  const axes = [...x.shape.keys()].filter((axis) => axis !== 1);
  const perChannel = (value: Tensor): Tensor => value.reshape(...x.shape.map((dim, axis) => (axis === 1 ? dim : 1)));
  const centred = x.sub(x.mean(axes, true));
  const deviation = centred.square().mean(axes, true).add(eps).sqrt();
  return centred.div(deviation).mul(perChannel(weight)).add(perChannel(bias));
}

/** A chain of operations, ready to be traced. */
export interface Chain {
  readonly forward: Step;
  /** Whether a sample's output depends on the other samples. */
  readonly couples: boolean;
  /** What the module gets for the batch's x: x itself, or x with the batch's masks beside it. */
  readonly input: (x: NDArray<Float64Array>) => NDArray<Float64Array>;
}

/**
 * Reads `model.ops`. A mask of `multiply` has one row for each sample and must be split with the batch, so it is part of
 * the input: each sample is its x, flattened, and then its masks.
 * @param sample the shape of one sample of x.
 * @throws MissingFeature for an operation that grnewt lacks, FormatError for one that is not described as it should be.
 */
export function readChain(ops: Item, sample: readonly number[]): Chain {
  const list = ops.list();
  const masks = list.filter(isMask).map((op) => op.get("mask").floats());
  const couples = list.some((op) => op.get("op").text() === "batch_norm");
  const steps = list.map((op) => (isMask(op) ? "mask" : readStep(op)));
  return {
    couples,
    input: (x) => (masks.length === 0 ? x : beside([x, ...masks])),
    forward: (input, parameters) => {
      const [first, ...rest] = masks.length === 0 ? [input] : apart(input, sample, masks);
      let at = 0;
      return steps.reduce((x, step) => (step === "mask" ? x.mul(rest[at++]!) : step(x, parameters)), first!);
    },
  };
}

function isMask(op: Item): boolean {
  return op.get("op").text() === "multiply";
}

function readStep(op: Item): Step {
  const name = op.get("op").text();
  if (!Object.hasOwn(opReaders, name)) throw new MissingFeature(`op ${name}`);
  const { keys, read } = opReaders[name]!;
  const odd = op.keys().find((key) => !["op", "doc", ...keys].includes(key));
  if (odd !== undefined) throw new MissingFeature(`option ${odd} of op ${name}`);
  return read(op);
}

function camelCase(name: string): string {
  return name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
}

/** The parameter of that name. */
export function named(parameters: Parameters, name: string): Tensor {
  const parameter = parameters[name];
  if (!parameter) throw new FormatError(`the model uses a parameter ${name}, which params lacks`);
  return parameter;
}

/** Arrays with one entry for each sample, flattened and joined sample by sample. */
function beside(arrays: readonly NDArray<Float64Array>[]): NDArray<Float64Array> {
  const samples = arrays[0]!.shape[0]!;
  const widths = arrays.map(({ data }) => data.length / samples);
  if (!arrays.every(({ shape }) => shape[0] === samples)) throw new FormatError("a mask has no row for each sample");
  const width = widths.reduce((sum, each) => sum + each, 0);
  const data = new Float64Array(samples * width);
  for (let sample = 0, at = 0; sample < samples; sample++)
    for (const [i, array] of arrays.entries()) {
      data.set(array.data.subarray(sample * widths[i]!, (sample + 1) * widths[i]!), at);
      at += widths[i]!;
    }
  return { shape: [samples, width], data };
}

/** The parts of each sample again, in their shapes: x, then the masks. */
function apart(input: Tensor, sample: readonly number[], masks: readonly NDArray[]): Tensor[] {
  let start = 0;
  return [sample, ...masks.map(({ shape }) => shape.slice(1))].map((shape) => {
    const end = start + sizeOf(shape);
    const part = input.slice(1, start, end).reshape(input.shape[0]!, ...shape);
    start = end;
    return part;
  });
}
