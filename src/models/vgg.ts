import {
  AdaptiveAvgPool2d,
  BatchNorm2d,
  Conv2d,
  init,
  Lambda,
  Linear,
  logSoftmax,
  MaxPool2d,
  Module,
  Sequential,
  type Tensor,
} from "../nn/index.ts";
import type { LayerCut } from "../summary/index.ts";
import { OptionError } from "../util/errors.ts";
import { checkBoolean, checkOneOf, checkWhole, refuseUnknown } from "../util/options.ts";
import { activationOf, apply, FEED_FORWARD, type FeedForwardOptions, initialise } from "./feed-forward.ts";

/** Channels after each convolution, and "M" for maxima over 2 × 2. */
export type VGGConfiguration = readonly (number | "M")[];

/** Columns A, B, D and E of table 1 of Simonyan & Zisserman (2015): 8, 10, 13 and 16 convolutions. */
const CONFIGURATIONS = {
  A: [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
  B: [64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
  D: [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"],
  E: [64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512, 512, 512, 512, "M"],
} satisfies Record<string, VGGConfiguration>;

/** How a VGG is built. Its activation is "relu" by default. */
export interface VGGOptions extends FeedForwardOptions {
  /** The name of a configuration, or one of one's own; "A" by default. */
  readonly cfg?: keyof typeof CONFIGURATIONS | VGGConfiguration;
  /** Channels of the images; 3 by default. */
  readonly channels?: number;
  /** 10 by default. */
  readonly classes?: number;
  /** Widths of the linear layers between the convolutions and the last layer; none by default, [4096, 4096] in the original. */
  readonly fcSizes?: readonly number[];
  /** The side to which averages bring what the convolutions leave; 1 by default, 7 in the original. */
  readonly poolSize?: number;
  /** Whether the output is log-probabilities, by a log-softmax; true by default. */
  readonly classification?: boolean;
}

/**
 * Convolutions of 3 × 3 with maxima between them, an average, and linear layers. Inputs are [batch, channels, height, width].
 * Parameters are named as in torchvision, by the index in a sequence in which activations and pools count:
 * `features.0.weight`, `features.3.weight`, …, `classifier.0.weight`, `classifier.2.weight`, …. With `batchNorm`, which follows the
 * convolutions only, they are those of torchvision's `vgg11_bn` and the like.
 */
export class VGG extends Module {
  readonly features: Sequential;
  readonly avgpool: AdaptiveAvgPool2d;
  readonly classifier: Sequential;
  readonly #scaling: boolean;
  readonly #classification: boolean;

  /** @throws OptionError */
  constructor(options: VGGOptions = {}) {
    super();
    refuseUnknown("vgg", options, [
      ...FEED_FORWARD,
      "cfg",
      "channels",
      "classes",
      "fcSizes",
      "poolSize",
      "classification",
    ]);
    const { activation = "relu", scaling = false, batchNorm = false, classification = true } = options;
    const { channels = 3, classes = 10, fcSizes = [], poolSize = 1 } = options;
    checkBoolean("vgg: scaling", scaling);
    checkBoolean("vgg: batchNorm", batchNorm);
    checkBoolean("vgg: classification", classification);
    for (const [name, value] of Object.entries({ channels, classes, poolSize })) checkWhole(`vgg: ${name}`, value, 1);
    for (const width of fcSizes) checkWhole("vgg: a width in fcSizes", width, 1);
    const between = activationOf("vgg", activation);
    const cfg = configuration(options.cfg ?? "A");
    const last = cfg.findLast((entry) => entry !== "M") as number;
    const widths = [last * poolSize ** 2, ...fcSizes, classes];
    this.features = new Sequential(...init.skipInit(() => convolutions(cfg, channels, batchNorm, between)));
    this.avgpool = new AdaptiveAvgPool2d(poolSize);
    this.classifier = new Sequential(...init.skipInit(() => linears(widths, between)));
    this.#scaling = scaling;
    this.#classification = classification;
    initialise("vgg", this, options, scaling);
  }

  /** As in the paper: convolutions are cut, and the linear layers after the first share one learning rate. */
  get layerCut(): LayerCut {
    return { cut: "features.**", whole: "classifier.0.*" };
  }

  override forward(x: Tensor): Tensor {
    const through = (layers: Sequential, value: Tensor): Tensor =>
      [...layers].reduce((input, layer) => apply(layer, input, this.#scaling), value);
    const pooled = this.avgpool.forward(through(this.features, x));
    const output = through(this.classifier, pooled.flatten(1));
    return this.#classification ? logSoftmax(output, 1) : output;
  }
}

/** @throws OptionError */
function configuration(cfg: keyof typeof CONFIGURATIONS | VGGConfiguration): VGGConfiguration {
  if (typeof cfg === "string") {
    checkOneOf("vgg: cfg", cfg, Object.keys(CONFIGURATIONS));
    return CONFIGURATIONS[cfg];
  }
  if (!Array.isArray(cfg) || cfg.every((entry) => entry === "M"))
    throw new OptionError(`vgg: cfg must be the name of a configuration or a list with channels; found [${cfg}]`);
  for (const entry of cfg) if (entry !== "M") checkWhole('vgg: an entry of cfg that is not "M"', entry, 1);
  return cfg;
}

function convolutions(
  cfg: VGGConfiguration,
  channels: number,
  batchNorm: boolean,
  activation: (x: Tensor) => Tensor,
): Module[] {
  let inChannels = channels;
  return cfg.flatMap((entry): Module[] => {
    if (entry === "M") return [new MaxPool2d(2)];
    const convolution = new Conv2d(inChannels, entry, 3, { padding: 1 });
    inChannels = entry;
    return [convolution, ...(batchNorm ? [new BatchNorm2d(entry)] : []), new Lambda(activation)];
  });
}

function linears(widths: readonly number[], activation: (x: Tensor) => Tensor): Module[] {
  return widths.slice(1).flatMap((outFeatures, i) => {
    const layer = new Linear(widths[i]!, outFeatures);
    return i === widths.length - 2 ? [layer] : [layer, new Lambda(activation)];
  });
}

/** A VGG; see {@link VGGOptions}. */
export function vgg(options?: VGGOptions): VGG {
  return new VGG(options);
}
