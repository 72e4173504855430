import { createRequire } from "node:module";

interface Manifest {
  readonly version: string;
  readonly dependencies: Readonly<Record<string, string>>;
}

/** This package's own manifest, wherever the build has put this file. */
const manifest = createRequire(import.meta.url)("grnewt/package.json") as Manifest;

export const VERSION: string = manifest.version;

/** The versions that a run is remembered with. */
export function versions(): Record<string, string> {
  return {
    grnewt: VERSION,
    node: process.versions.node,
    "onnxruntime-node": manifest.dependencies["onnxruntime-node"]!,
    platform: `${process.platform} ${process.arch}`,
  };
}
