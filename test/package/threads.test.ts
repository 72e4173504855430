import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { build as bundle } from "esbuild";
import sharp from "sharp";
import { build } from "tsdown";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));

let scratch: string;
beforeAll(async () => {
  // Below the root, where the build finds its dependencies; git ignores it.
  await mkdir(join(root, "coverage"), { recursive: true });
  scratch = await mkdtemp(join(root, "coverage", "build-"));
  await build({
    config: join(root, "tsdown.config.ts"),
    cwd: root,
    outDir: join(scratch, "dist"),
    dts: false,
    logLevel: "error",
  });
});
afterAll(() => rm(scratch, { recursive: true }));

/** An entry of the build. */
function entry(name: string): string {
  return JSON.stringify(pathToFileURL(join(scratch, "dist", name)).href);
}

test("the build starts the threads that read images", async () => {
  const images = join(scratch, "images", "a");
  await mkdir(images, { recursive: true });
  await sharp({ create: { width: 5, height: 4, channels: 3, background: "red" } }).toFile(join(images, "red.png"));
  const script = `
    import { imageFolder } from ${entry("node.js")};
    const { train } = await imageFolder({ root: ${JSON.stringify(join(scratch, "images"))} });
    const { x } = await train.batch([0]);
    console.log(x.shape.join(), x.data[0].toFixed(3));`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", script]);
  expect(stdout).toBe(`1,3,4,5 ${((1 - 0.485) / 0.229).toFixed(3)}\n`);
});

const predicts = (module: string): string => `
  import { nn } from ${module};
  const model = new nn.ReLU();
  console.log(...(await model.predict({ shape: [1, 2], data: Float32Array.of(-1, 2) })).data);`;

test("the build starts the engine's thread", async () => {
  const args = ["--input-type=module", "--eval", predicts(entry("index.node.js"))];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  expect(stdout).toBe("0 2\n");
});

test("a bundle that has taken the engine in says that it must not", async () => {
  const outfile = join(scratch, "bundle.mjs");
  await bundle({
    stdin: { contents: predicts(JSON.stringify(join(scratch, "dist", "index.node.js"))), resolveDir: root },
    bundle: true,
    format: "esm",
    platform: "node",
    external: ["onnxruntime-node"],
    outfile,
    logLevel: "error",
  });
  await expect(promisify(execFile)(process.execPath, [outfile])).rejects.toThrow(/ort-worker\.js.*external/);
});
