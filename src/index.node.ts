/**
 * The root as Node sees it (condition "node" of package.json's exports): the same, with ONNX Runtime's native engine as
 * the default one.
 * @module
 */
import { useOrtNodeByDefault } from "./engine/ort-node-default.ts";

export * from "./index.ts";

useOrtNodeByDefault();
