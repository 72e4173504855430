export { Perceptron, type PerceptronOptions, perceptron } from "./perceptron.ts";
