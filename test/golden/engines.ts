import { type Engine, ReferenceEngine } from "../../src/index.ts";
import { OrtNodeEngine } from "../../src/node.ts";

/** An engine to check, and how near to the golden values it must come, relative to an array's largest entry. */
export interface GoldenEngine {
  readonly label: string;
  readonly bound: number;
  readonly make: () => Engine;
}

/** Engines in float64 must agree to 1e-9, float32 to 1e-4. */
export const goldenEngines: readonly GoldenEngine[] = [
  { label: "reference", bound: 1e-9, make: () => new ReferenceEngine() },
  { label: "ort float64", bound: 1e-9, make: () => new OrtNodeEngine({ precision: "float64" }) },
  { label: "ort float32", bound: 1e-4, make: () => new OrtNodeEngine() },
];

/** Runs a check on every engine, each made for it and disposed of afterwards. */
export async function onEveryEngine(
  check: (engine: Engine, golden: GoldenEngine) => Promise<void>,
  engines: readonly GoldenEngine[] = goldenEngines,
): Promise<void> {
  for (const golden of engines) {
    const engine = golden.make();
    try {
      await check(engine, golden);
    } finally {
      await engine.dispose();
    }
  }
}
