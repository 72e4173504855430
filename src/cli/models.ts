import { autoencoderMLP, lenet, parseWidths, perceptron, resnet18, transformer, vgg } from "../models/index.ts";
import { type Activation, type Loss, losses, type Module } from "../nn/index.ts";
import { OptionError } from "../util/errors.ts";
import { sizeOf } from "../util/ndarray.ts";
import type { DataKind } from "./datasets.ts";
import { type Defaults, listed } from "./options.ts";

/** The options of `grnewt train` that belong to some models. */
export interface ModelSettings {
  readonly seed: number;
  readonly layers?: string;
  readonly activation?: Activation;
  readonly "sigma-w"?: number;
  readonly scaling?: boolean;
  readonly "batch-norm"?: boolean;
}

/** Options of anything else than the model, of which a model can have defaults of its own. */
interface Suited {
  readonly period: "auto";
  readonly "summary-batch-size": "auto";
  readonly dataset: "text";
  readonly "batch-size": number;
  readonly "eval-samples": number;
  readonly partition: string;
}

/** The data that a model is for. */
export interface DataFacts {
  readonly kind: DataKind;
  /** The shape of one input. */
  readonly input: readonly number[];
  /** Classes, tokens, or numbers in a target. */
  readonly outputs: number;
}

/** A model, and what it is in a few words. */
export interface BuiltModel {
  readonly text: string;
  readonly model: Module;
}

interface ModelEntry {
  readonly data: readonly DataKind[];
  /** Its options, with their defaults. */
  readonly takes: Defaults<Omit<ModelSettings, "seed">>;
  /** Defaults of other options that suit it. */
  readonly suits?: Partial<Suited>;
  /** The least height and width of images. */
  readonly side?: number;
  /** Whether it is to give its inputs back, as bytes on a scale from 0 to 1, and not their labels. */
  readonly reconstructs?: boolean;
  readonly build: (settings: ModelSettings, data: DataFacts) => BuiltModel;
}

/** Where activations of each sample are many: neither evaluation nor summaries are to take longer than the steps. */
const DEEP = { "eval-samples": 2000, period: "auto", "summary-batch-size": "auto" } as const;

/** The models of `grnewt train`. */
export const MODELS = {
  perceptron: {
    data: ["images", "numbers"],
    takes: { layers: "1024-200-100", activation: "tanh", "sigma-w": 1, scaling: false, "batch-norm": false },
    build: (settings, { kind, input, outputs }) => {
      const layers = `${sizeOf(input)}-${settings.layers}-${outputs}`;
      return {
        text: `perceptron ${layers}, ${settings.activation}`,
        model: perceptron({ layers, ...feedForward(settings), classification: kind !== "numbers" }),
      };
    },
  },
  lenet: {
    data: ["images"],
    takes: { layers: "6-16-120-84", activation: "tanh", "sigma-w": 1, scaling: false, "batch-norm": false },
    side: 16,
    build: (settings, { input: [channels, imageSize], outputs }) => {
      const { length } = parseWidths(settings.layers!);
      if (length !== 4) throw new OptionError(`expected 4 widths, of two convolutions and two layers; found ${length}`);
      const layers = `${channels}-${settings.layers}-${outputs}`;
      return {
        text: `LeNet ${layers}, ${settings.activation}`,
        model: lenet({ layers, imageSize: imageSize!, ...feedForward(settings) }),
      };
    },
  },
  "vgg-a": vggEntry("A"),
  "vgg-b": vggEntry("B"),
  "vgg-d": vggEntry("D"),
  "vgg-e": vggEntry("E"),
  resnet18: {
    data: ["images"],
    takes: {},
    suits: DEEP,
    build: ({ seed }, { input: [channels, side], outputs: classes }) => {
      const stem = side! <= 64 ? "cifar" : "imagenet";
      return { text: "ResNet-18", model: resnet18({ channels: channels!, classes, stem, seed }) };
    },
  },
  autoencoder: {
    data: ["images"],
    takes: { layers: "1000-500-250-30", activation: "tanh", "sigma-w": 1, scaling: false, "batch-norm": false },
    reconstructs: true,
    build: (settings, { input }) => {
      const layers = `${sizeOf(input)}-${settings.layers}`;
      return {
        text: `autoencoder ${layers} and back, ${settings.activation}`,
        model: autoencoderMLP({ layers, ...feedForward(settings) }),
      };
    },
  },
  transformer: {
    data: ["tokens"],
    takes: { layers: "4*128" },
    // A group for each block: with one for each tensor, ONNX Runtime takes a minute or more to plan the summary's memory.
    suits: { ...DEEP, dataset: "text", "batch-size": 32, partition: "modules-2" },
    build: ({ layers, seed }, { input: [context], outputs: vocabulary }) => {
      const [width, ...more] = parseWidths(layers!) as [number, ...number[]];
      if (more.some((other) => other !== width))
        throw new OptionError("expected widths that are all the same, such as 4*128");
      return {
        text: `transformer ${layers}, ${vocabulary} characters, ${context} at a time`,
        model: transformer({ vocabulary, context: context!, width, layers: more.length + 1, seed }),
      };
    },
  },
} satisfies Record<string, ModelEntry>;

/** The name of a model. */
export type ModelName = keyof typeof MODELS;

/** The model of that name. */
export function modelEntry(name: ModelName): ModelEntry {
  return MODELS[name];
}

/** As in the paper: ELU, the weights' deviation √2 / √fan-in, and one linear layer after the convolutions. */
function vggEntry(cfg: "A" | "B" | "D" | "E"): ModelEntry {
  return {
    data: ["images"],
    takes: { activation: "elu", "sigma-w": Math.SQRT2, scaling: false, "batch-norm": false },
    suits: DEEP,
    side: 32,
    build: (settings, { input: [channels], outputs: classes }) => ({
      text: `VGG-${cfg}, ${settings.activation}`,
      model: vgg({ cfg, channels: channels!, classes, ...feedForward(settings) }),
    }),
  };
}

function feedForward({ activation, "sigma-w": sigmaW, scaling, "batch-norm": batchNorm, seed }: ModelSettings) {
  return { activation: activation!, sigmaW: sigmaW!, scaling: scaling!, batchNorm: batchNorm!, seed };
}

/** Asserts that a model takes data of a kind. @throws OptionError naming the models that do */
export function checkKind(model: ModelName, dataset: string, kind: DataKind): void {
  const { data } = modelEntry(model);
  if (data.includes(kind)) return;
  const names = Object.keys(MODELS) as ModelName[];
  const others = names.filter((name) => modelEntry(name).data.includes(kind));
  throw new OptionError(
    `${model} takes ${listed(data, "and")}, but ${dataset} holds ${kind}, for which there is --model ${listed(others)}`,
  );
}

/** Asserts that images are large enough for a model. @throws OptionError */
export function checkSide(model: ModelName, dataset: string, [, height = 1, width = 1]: readonly number[]): void {
  const { side = 1 } = modelEntry(model);
  if (Math.min(height, width) < side)
    throw new OptionError(
      `${model} needs images of at least ${side} × ${side}, but those of ${dataset} are ${height} × ${width}`,
    );
}

/** The loss that a model is trained with. */
export function lossOf(model: ModelName, kind: DataKind): Loss {
  return modelEntry(model).reconstructs || kind === "numbers" ? losses.mse : losses.nll;
}
