import { fileURLToPath } from "node:url";
import { build, type Metafile } from "esbuild";
import { expect, test } from "vitest";

const nodeOnly = /^node:|^onnxruntime-node/;

/** The import paths that stay in the bundle, and that loading `entry` follows: no dynamic imports. */
function staticExternals({ outputs }: Metafile, entry: string): string[] {
  const found = new Set<string>();
  const seen = new Set<string>();
  const visit = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    for (const { path, external, kind } of outputs[file]!.imports) {
      if (kind === "dynamic-import") continue;
      if (external) found.add(path);
      else visit(path);
    }
  };
  visit(entry);
  return [...found];
}

/** Bundles as an application would, dependencies included; a builtin without `node:` fails to resolve. */
async function bundle(entryPoint: { contents: string } | { file: string }): Promise<string[]> {
  const source = "file" in entryPoint ? `export * from ${JSON.stringify(entryPoint.file)};` : entryPoint.contents;
  const { metafile } = await build({
    stdin: { contents: source, resolveDir: fileURLToPath(new URL("../..", import.meta.url)), sourcefile: "entry.ts" },
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    external: ["node:*", "onnxruntime-*"],
    outdir: "out",
    write: false,
    metafile: true,
    logLevel: "silent",
  });
  const entry = Object.keys(metafile.outputs).find((file) => metafile.outputs[file]!.entryPoint !== undefined);
  return staticExternals(metafile, entry!);
}

test("the root bundles for a browser, without node:* or onnxruntime-node", async () => {
  const externals = await bundle({ file: "./src/index.ts" });
  expect(externals.filter((path) => nodeOnly.test(path))).toEqual([]);
});

test("the check sees a static import, and lets a dynamic one be", async () => {
  expect(await bundle({ contents: 'import "node:fs"; import("node:path");' })).toEqual(["node:fs"]);
  expect(await bundle({ contents: 'export * from "onnxruntime-node";' })).toEqual(["onnxruntime-node"]);
  await expect(bundle({ contents: 'import "fs";' })).rejects.toThrow('Could not resolve "fs"');
});
