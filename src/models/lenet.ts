import { BatchNorm1d, BatchNorm2d, Conv2d, Linear, logSoftmax, Module, maxPool2d, type Tensor } from "../nn/index.ts";
import { OptionError } from "../util/errors.ts";
import { checkBoolean, checkWhole, refuseUnknown } from "../util/options.ts";
import { activationOf, apply, FEED_FORWARD, type FeedForwardOptions, initialise } from "./feed-forward.ts";
import { readWidths, type Widths } from "./widths.ts";

/** How a LeNet is built. Its activation is "tanh" by default. */
export interface LeNetOptions extends FeedForwardOptions {
  /** Channels of the images and of the two convolutions, widths of the two hidden layers, classes; 3-6-16-120-84-10 by default. */
  readonly layers?: Widths;
  /** Height and width of the images, 16 at least; 28 by default for images of one channel (MNIST), else 32 (CIFAR). */
  readonly imageSize?: number;
  /** Whether the output is log-probabilities, by a log-softmax; true by default. */
  readonly classification?: boolean;
}

const KERNEL = 5;
const WINDOW = 2;

/**
 * Two convolutions of 5 × 5, each with an activation and maxima over 2 × 2, and three linear layers (LeCun et al., 1998).
 * Inputs are [batch, channels, size, size]. Parameters are `conv1`, `conv2`, `fc1`, `fc2` and `fc3`, `.weight` and `.bias`;
 * with `batchNorm` there are `bn1`, …, `bn4` after the first four of them.
 */
export class LeNet extends Module {
  // In the order in which they work, so that partitions cut them along it.
  readonly conv1: Conv2d;
  readonly bn1?: BatchNorm2d;
  readonly conv2: Conv2d;
  readonly bn2?: BatchNorm2d;
  readonly fc1: Linear;
  readonly bn3?: BatchNorm1d;
  readonly fc2: Linear;
  readonly bn4?: BatchNorm1d;
  readonly fc3: Linear;
  readonly #activation: (x: Tensor) => Tensor;
  readonly #scaling: boolean;
  readonly #classification: boolean;

  /** @throws OptionError */
  constructor(options: LeNetOptions = {}) {
    super();
    refuseUnknown("lenet", options, [...FEED_FORWARD, "layers", "imageSize", "classification"]);
    const { activation = "tanh", scaling = false, batchNorm = false, classification = true } = options;
    checkBoolean("lenet: scaling", scaling);
    checkBoolean("lenet: batchNorm", batchNorm);
    checkBoolean("lenet: classification", classification);
    const [channels, first, second, ...hidden] = sixWidths(options.layers ?? "3-6-16-120-84-10");
    const side = sideAfter(options.imageSize ?? (channels === 1 ? 28 : 32));
    this.conv1 = new Conv2d(channels!, first!, KERNEL);
    this.conv2 = new Conv2d(first!, second!, KERNEL);
    this.fc1 = new Linear(second! * side ** 2, hidden[0]!);
    this.fc2 = new Linear(hidden[0]!, hidden[1]!);
    this.fc3 = new Linear(hidden[1]!, hidden[2]!);
    if (batchNorm) {
      this.bn1 = new BatchNorm2d(first!);
      this.bn2 = new BatchNorm2d(second!);
      this.bn3 = new BatchNorm1d(hidden[0]!);
      this.bn4 = new BatchNorm1d(hidden[1]!);
    }
    this.#activation = activationOf("lenet", activation);
    this.#scaling = scaling;
    this.#classification = classification;
    initialise("lenet", this, options, scaling);
  }

  override forward(x: Tensor): Tensor {
    const active = (layer: Module, norm: Module | undefined, value: Tensor): Tensor => {
      const output = apply(layer, value, this.#scaling);
      return this.#activation(norm?.forward(output) ?? output);
    };
    const first = maxPool2d(active(this.conv1, this.bn1, x), WINDOW);
    const second = maxPool2d(active(this.conv2, this.bn2, first), WINDOW);
    const hidden = active(this.fc2, this.bn4, active(this.fc1, this.bn3, second.flatten(1)));
    const output = apply(this.fc3, hidden, this.#scaling);
    return this.#classification ? logSoftmax(output, 1) : output;
  }
}

/** @throws OptionError */
function sixWidths(layers: Widths): number[] {
  const widths = readWidths("lenet", layers, 6);
  if (widths.length > 6) throw new OptionError(`lenet: layers needs 6 widths, found [${widths}]`);
  return widths;
}

/** The side of an image after both convolutions and their pools. @throws OptionError */
function sideAfter(imageSize: number): number {
  checkWhole("lenet: imageSize", imageSize, 16);
  const once = (side: number): number => Math.floor((side - KERNEL + 1) / WINDOW);
  return once(once(imageSize));
}

/** A LeNet; see {@link LeNetOptions}. */
export function lenet(options?: LeNetOptions): LeNet {
  return new LeNet(options);
}
