export { Perceptron, type PerceptronOptions, perceptron } from "./perceptron.ts";
export { Transformer, type TransformerOptions, transformer } from "./transformer.ts";
