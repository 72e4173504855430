import { defineConfig, type UserConfig } from "tsdown";

/**
 * One build of all entries, so that they share chunks: the error classes of `grnewt` and `grnewt/node` must be the
 * same classes. What package.json lists as a dependency stays an import.
 */
const config: UserConfig = defineConfig({
  entry: {
    index: "src/index.ts",
    "index.node": "src/index.node.ts",
    node: "src/node.ts",
    "cli/main": "src/cli/main.ts",
    // Files of their own, each with the other one beside it that it starts as a worker thread.
    "chunks/image-folder": "src/datasets/node/image-folder.ts",
    "chunks/image-worker": "src/datasets/node/image-worker.ts",
    "chunks/ort-thread": "src/engine/ort-node/thread.ts",
    "chunks/ort-worker": "src/engine/ort-node/ort-worker.ts",
  },
  format: "esm",
  platform: "neutral",
  target: "es2022",
  deps: { neverBundle: [/^node:/, /^onnxruntime-/], onlyBundle: [] },
  dts: { entry: ["src/index.ts", "src/index.node.ts", "src/node.ts"], sourcemap: false },
  outputOptions: { chunkFileNames: "chunks/[name].js" },
  fixedExtension: false,
  hash: false,
  sourcemap: false,
  report: false,
  failOnWarn: true,
});

export default config;
