/** What loading the root pulls in: no types, no dynamic imports. It must run in a browser. */
const { builtinModules } = require("node:module");
const { options } = require("./.dependency-cruiser.cjs");

/** @type {import("dependency-cruiser").IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: "index-loads-no-node",
      severity: "error",
      comment: "src/index.ts must reach neither node:* nor onnxruntime-node, unless by a dynamic import()",
      from: { path: "^src/index\\.ts$" },
      to: { path: [`^(node:)?(${builtinModules.join("|")})$`, "onnxruntime-node", "^src/node\\.ts$"], reachable: true },
    },
  ],
  options: { ...options, tsPreCompilationDeps: false, detectJSDocImports: false, moduleSystems: ["es6"], exclude: { dynamic: true } },
};
