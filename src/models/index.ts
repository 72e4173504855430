export { AutoencoderMLP, type AutoencoderMLPOptions, autoencoderMLP } from "./autoencoder.ts";
export type { FeedForwardOptions, InitialOptions } from "./feed-forward.ts";
export { LeNet, type LeNetOptions, lenet } from "./lenet.ts";
export type { Scaling } from "./linear-chain.ts";
export { Perceptron, type PerceptronOptions, perceptron } from "./perceptron.ts";
export { Rosenbrock, type RosenbrockOptions, RosenbrockT, rosenbrock, rosenbrockT } from "./rosenbrock.ts";
export { Transformer, type TransformerOptions, transformer } from "./transformer.ts";
export { VGG, type VGGConfiguration, type VGGOptions, vgg } from "./vgg.ts";
export { parseWidths, type Widths } from "./widths.ts";
