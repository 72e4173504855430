/**
 * What needs Node: ONNX Runtime's native engine, which becomes the default, and data sets in files.
 * @module
 */
import { setDefaultEngine } from "./engine/index.ts";
import { OrtNodeEngine } from "./engine/ort-node.ts";

export { type MnistOptions, mnist, readIdx } from "./datasets/node/index.ts";
export { OrtNodeEngine, type OrtNodeOptions } from "./engine/ort-node.ts";

setDefaultEngine(async () => new OrtNodeEngine());
