// What the sources have in place of the build's ort-worker.js: Node 20 cannot read the TypeScript beside it, and tsx can.
import { createRequire } from "node:module";

const load = createRequire(import.meta.url);
load("tsx/cjs/api").require("./ort-worker.ts", import.meta.url);
