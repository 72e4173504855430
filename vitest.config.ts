import { defineConfig, type ViteUserConfig } from "vitest/config";

const config: ViteUserConfig = defineConfig({
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
