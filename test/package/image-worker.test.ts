import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import sharp from "sharp";
import { build } from "tsdown";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));

let scratch: string;
beforeAll(async () => {
  // Below the root, where the build finds its dependencies; git ignores it.
  await mkdir(join(root, "coverage"), { recursive: true });
  scratch = await mkdtemp(join(root, "coverage", "build-"));
});
afterAll(() => rm(scratch, { recursive: true }));

test("the build starts the threads that read images", async () => {
  const images = join(scratch, "images", "a");
  await mkdir(images, { recursive: true });
  await sharp({ create: { width: 5, height: 4, channels: 3, background: "red" } }).toFile(join(images, "red.png"));
  await build({
    config: join(root, "tsdown.config.ts"),
    cwd: root,
    outDir: join(scratch, "dist"),
    dts: false,
    logLevel: "error",
  });
  const script = `
    import { imageFolder } from ${JSON.stringify(pathToFileURL(join(scratch, "dist", "node.js")).href)};
    const { train } = await imageFolder({ root: ${JSON.stringify(join(scratch, "images"))} });
    const { x } = await train.batch([0]);
    console.log(x.shape.join(), x.data[0].toFixed(3));`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", script]);
  expect(stdout).toBe(`1,3,4,5 ${((1 - 0.485) / 0.229).toFixed(3)}\n`);
});
