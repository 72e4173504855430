import { type Engine, ReferenceEngine } from "../../src/engine/index.ts";
import { OrtNodeEngine } from "../../src/engine/ort-node.ts";
import type { Tolerance } from "./close.ts";

/** An engine that must keep the contract, and what of it it may leave out. */
export interface EngineUnderTest {
  readonly label: string;
  readonly make: () => Engine;
  /** How near its values must be to the oracle's. */
  readonly tolerance: Tolerance;
  /** Tests by title that do not apply, each with the reason. */
  readonly skip: Readonly<Record<string, string>>;
}

/**
 * Tolerances are relative to the largest entry. One operator makes sums of at most a dozen products of numbers near 1, and
 * its inputs are exact in float32: a few units of the last place, 2⁻⁵² or 2⁻²³, and as many for the approximations of
 * exp, tanh and the like.
 */
export const engines: readonly EngineUnderTest[] = [
  { label: "reference", make: () => new ReferenceEngine(), tolerance: { absolute: 0 }, skip: {} },
  {
    label: "onnxruntime-node float64",
    make: () => new OrtNodeEngine({ precision: "float64", threads: 1 }),
    tolerance: { absolute: 5e-16, relative: 2e-15 },
    skip: {},
  },
  {
    label: "onnxruntime-node float32",
    make: () => new OrtNodeEngine({ threads: 1 }),
    tolerance: { absolute: 3e-7, relative: 1e-6 },
    skip: {},
  },
];
