/**
 * The import order of src/, as a table: each room may import itself, what its row lists, and util.
 * `npm run layers` checks it with every import, types and dynamic imports included. That the root loads nothing of
 * Node's is shown by a bundle, in test/package/browser-bundle.test.ts.
 */
const below = ["derive", "engine", "onnx", "ops", "graph"];
const belowOptim = ["summary", "nesterov", "nn", "interop", ...below];

const rooms = {
  util: [],
  graph: [],
  ops: ["graph"],
  derive: ["ops", "graph"],
  onnx: ["ops", "graph"],
  engine: ["onnx", "ops", "graph"],
  interop: ["onnx", "ops", "graph"],
  nesterov: [],
  nn: ["interop", "engine", "ops", "graph"],
  summary: ["nn", ...below],
  optim: belowOptim,
  tune: ["optim", "summary", "nn", ...below],
  models: belowOptim,
  datasets: belowOptim,
  train: ["datasets", "optim", ...belowOptim],
  report: ["train", "optim", "models", "datasets", ...belowOptim],
};

const test = "\\.test\\.ts$";
const room = (name) => `^src/${name}/`;
const anyOf = (names) => `^src/(${names.join("|")})/`;

/** The only places with `node:*`. */
const nodeFiles = [
  "^src/cli/",
  "^src/report/",
  "^src/train/(file-store|node[^/]*)\\.ts$",
  "^src/train/node/",
  "^src/datasets/node/",
  "^src/tune/",
  "^src/engine/ort-node[^/]*(\\.ts$|/)",
  "^src/node\\.ts$",
];

const layers = Object.entries(rooms).map(([name, allowed]) => ({
  name: `layer-${name}`,
  severity: "error",
  comment: `${name}/ may import ${[...new Set([...allowed, "util"])].join(", ")}`,
  from: { path: room(name), pathNot: test },
  to: { path: "^src/", pathNot: anyOf([name, "util", ...allowed]) },
}));

const forbidden = [
  ...layers,
  {
    name: "known-room",
    severity: "error",
    comment: "every file of src/ is an entry point or lives in a room of the table in this file",
    from: {
      path: "^src/",
      pathNot: [anyOf(["cli", ...Object.keys(rooms)]), "^src/(index|index\\.node|node)\\.ts$", test],
    },
    to: {},
  },
  {
    name: "index-is-not-an-application",
    severity: "error",
    comment: "the root is for browsers: it leaves out the command, the reports, measuring and grnewt/node",
    from: { path: "^src/index(\\.node)?\\.ts$" },
    to: { path: ["^src/(cli|report|tune)/", "^src/node\\.ts$"] },
  },
  {
    name: "node-is-not-the-command",
    severity: "error",
    from: { path: "^src/node\\.ts$" },
    to: { path: "^src/cli/" },
  },
  { name: "no-cycles", severity: "error", from: {}, to: { circular: true } },
  {
    name: "onnxruntime-in-engine-only",
    severity: "error",
    from: { path: "^src/", pathNot: ["^src/engine/", test] },
    to: { path: "onnxruntime-" },
  },
  {
    name: "onnxruntime-node-in-ort-node-only",
    severity: "error",
    from: { path: "^src/", pathNot: ["^src/engine/ort-node[^/]*(\\.ts$|/)", test] },
    to: { path: "onnxruntime-node" },
  },
  {
    name: "node-builtins-in-their-places",
    severity: "error",
    from: { path: "^src/", pathNot: [...nodeFiles, test] },
    to: { dependencyTypes: ["core"] },
  },
  {
    name: "no-tests-in-code",
    severity: "error",
    from: { path: "^src/", pathNot: test },
    to: { path: [test, "^test/"] },
  },
  { name: "resolvable", severity: "error", from: {}, to: { couldNotResolve: true } },
  {
    name: "listed-in-package-json",
    severity: "error",
    comment: "what src/ imports is a dependency, not a devDependency, nor somebody else's dependency",
    from: { path: "^src/", pathNot: test },
    to: {
      dependencyTypes: ["npm-dev", "npm-no-pkg", "npm-unknown"],
      dependencyTypesNot: ["type-only"],
    },
  },
];

/** @type {import("dependency-cruiser").IConfiguration} */
module.exports = {
  forbidden,
  options: {
    doNotFollow: { path: "node_modules" },
    tsConfig: { fileName: "tsconfig.json" },
    tsPreCompilationDeps: true,
    detectJSDocImports: true,
    enhancedResolveOptions: {
      extensions: [".ts", ".mts", ".d.ts", ".js", ".mjs", ".cjs", ".json"],
      exportsFields: ["exports"],
      conditionNames: ["types", "import", "node", "default", "require"],
    },
  },
};
