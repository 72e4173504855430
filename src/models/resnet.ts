import {
  AdaptiveAvgPool2d,
  BatchNorm2d,
  Conv2d,
  init,
  Linear,
  logSoftmax,
  MaxPool2d,
  Module,
  Sequential,
  type Tensor,
} from "../nn/index.ts";
import { checkBoolean, checkOneOf, checkWhole, refuseUnknown } from "../util/options.ts";
import { Random } from "../util/random.ts";

/** How a ResNet-18 is built. */
export interface ResNet18Options {
  /** 10 by default. */
  readonly classes?: number;
  /** Channels of the images; 3 by default. */
  readonly channels?: number;
  /** The first layers: "cifar", a convolution of 3 × 3, by default; "imagenet", one of 7 × 7 with stride 2, and maxima. */
  readonly stem?: "cifar" | "imagenet";
  /** Whether each block starts as the identity, the weights of its last norm being 0 (Goyal et al., 2017); false by default. */
  readonly zeroInitResidual?: boolean;
  /** Whether the output is log-probabilities, by a log-softmax; true by default. */
  readonly classification?: boolean;
  /** Of the initial values; 0 by default. */
  readonly seed?: number;
}

const OPTIONS = ["classes", "channels", "stem", "zeroInitResidual", "classification", "seed"];

/** Channels of the four stages, each of two blocks. */
const STAGES = [64, 128, 256, 512];

/** Two convolutions of 3 × 3, added to their input, which a convolution of 1 × 1 brings to their size where it differs. */
class BasicBlock extends Module {
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm2d;
  readonly conv2: Conv2d;
  readonly bn2: BatchNorm2d;
  readonly downsample?: Sequential;

  constructor(inChannels: number, channels: number, stride: number) {
    super();
    this.conv1 = new Conv2d(inChannels, channels, 3, { stride, padding: 1, bias: false });
    this.bn1 = new BatchNorm2d(channels);
    this.conv2 = new Conv2d(channels, channels, 3, { padding: 1, bias: false });
    this.bn2 = new BatchNorm2d(channels);
    if (stride !== 1 || inChannels !== channels)
      this.downsample = new Sequential(
        new Conv2d(inChannels, channels, 1, { stride, bias: false }),
        new BatchNorm2d(channels),
      );
  }

  override forward(x: Tensor): Tensor {
    const inner = this.bn1.forward(this.conv1.forward(x)).relu();
    const outer = this.bn2.forward(this.conv2.forward(inner));
    return outer.add(this.downsample?.forward(x) ?? x).relu();
  }
}

/** ResNet-18 (He et al., 2016) with torchvision's parameter names: `conv1.weight`, `layer1.0.conv1.weight`, …, `fc.bias`. */
export class ResNet18 extends Module {
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm2d;
  readonly maxpool?: MaxPool2d;
  readonly layer1: Sequential;
  readonly layer2: Sequential;
  readonly layer3: Sequential;
  readonly layer4: Sequential;
  readonly avgpool: AdaptiveAvgPool2d;
  readonly fc: Linear;
  readonly #classification: boolean;

  /** @throws OptionError */
  constructor(options: ResNet18Options = {}) {
    super();
    refuseUnknown("resnet18", options, OPTIONS);
    const { classes = 10, channels = 3, stem = "cifar", seed = 0 } = options;
    const { zeroInitResidual = false, classification = true } = options;
    for (const [name, value] of Object.entries({ classes, channels })) checkWhole(`resnet18: ${name}`, value, 1);
    checkOneOf("resnet18: stem", stem, ["cifar", "imagenet"]);
    checkBoolean("resnet18: zeroInitResidual", zeroInitResidual);
    checkBoolean("resnet18: classification", classification);
    checkWhole("resnet18: seed", seed);
    const [width] = STAGES as [number];
    this.conv1 = init.skipInit(() =>
      stem === "cifar"
        ? new Conv2d(channels, width, 3, { padding: 1, bias: false })
        : new Conv2d(channels, width, 7, { stride: 2, padding: 3, bias: false }),
    );
    this.bn1 = new BatchNorm2d(width);
    if (stem === "imagenet") this.maxpool = new MaxPool2d(3, { stride: 2, padding: 1 });
    const [layer1, layer2, layer3, layer4] = init.skipInit(() =>
      STAGES.map((stage, i) => {
        const before = STAGES[i - 1] ?? width;
        return new Sequential(new BasicBlock(before, stage, i === 0 ? 1 : 2), new BasicBlock(stage, stage, 1));
      }),
    ) as [Sequential, Sequential, Sequential, Sequential];
    this.layer1 = layer1;
    this.layer2 = layer2;
    this.layer3 = layer3;
    this.layer4 = layer4;
    this.avgpool = new AdaptiveAvgPool2d(1);
    this.fc = init.skipInit(() => new Linear(STAGES.at(-1)!, classes));
    this.#classification = classification;
    this.#initialise(new Random(seed), zeroInitResidual);
  }

  /** Convolutions as in He et al. (2015) by their fan-out, the last layer uniform on ±1/√in, as in torchvision. */
  #initialise(random: Random, zeroInitResidual: boolean): void {
    for (const module of this.modules()) {
      if (module instanceof Conv2d)
        module.weight.variable.write(init.kaimingNormal(module.weight.shape, { mode: "fanOut", random }));
      if (module instanceof BasicBlock && zeroInitResidual)
        module.bn2.weight!.variable.write(init.zeros(module.bn2.weight!.shape));
    }
    const b = 1 / Math.sqrt(STAGES.at(-1)!);
    for (const { variable } of this.fc.parameters()) variable.write(init.uniform(variable.shape, { a: -b, b, random }));
  }

  override forward(x: Tensor): Tensor {
    const start = this.bn1.forward(this.conv1.forward(x)).relu();
    const stages = [this.layer1, this.layer2, this.layer3, this.layer4];
    const seen = stages.reduce((value, stage) => stage.forward(value), this.maxpool?.forward(start) ?? start);
    const output = this.fc.forward(this.avgpool.forward(seen).flatten(1));
    return this.#classification ? logSoftmax(output, 1) : output;
  }
}

/** A ResNet-18; see {@link ResNet18Options}. */
export function resnet18(options?: ResNet18Options): ResNet18 {
  return new ResNet18(options);
}
