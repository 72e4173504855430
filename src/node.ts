/**
 * What needs Node: ONNX Runtime's native engine, which becomes the default, and data sets in files.
 * @module
 */
import { useOrtNodeByDefault } from "./engine/ort-node-default.ts";

export {
  type Cifar100Options,
  charTextFile,
  cifar10,
  cifar100,
  fashionMnist,
  type ImageFolder,
  type ImageFolderOptions,
  imageFolder,
  type LabelledData,
  mnist,
  readIdx,
} from "./datasets/node/index.ts";
export type { Machine, Tuning } from "./engine/index.ts";
export { OrtNodeEngine, type OrtNodeOptions } from "./engine/ort-node.ts";
export { type TuneOptions, tune } from "./tune/index.ts";

useOrtNodeByDefault();
