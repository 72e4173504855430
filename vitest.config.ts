import { fileURLToPath } from "node:url";
import { defineConfig, type ViteUserConfig } from "vitest/config";

const source = (file: string): string => fileURLToPath(new URL(`src/${file}`, import.meta.url));

const config: ViteUserConfig = defineConfig({
  // What examples import is the package under its own name; here that is the source, as in tsconfig.json.
  resolve: {
    alias: [
      { find: /^grnewt$/, replacement: source("index.node.ts") },
      { find: /^grnewt\/node$/, replacement: source("node.ts") },
    ],
  },
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // Processes, not threads: ONNX Runtime's native module brings its own threads, and a crash ends one file only.
    pool: "forks",
    maxWorkers: 2,
    coverage: { include: ["src/**"], exclude: ["**/*.test.ts"], reportsDirectory: "coverage" },
  },
});

export default config;
