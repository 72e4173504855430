import type { NamedGroup } from "../summary/index.ts";
import { StateError } from "../util/errors.ts";
import type { StepParts } from "./step-graph.ts";

/** The version of saved optimiser states. */
const FORMAT = "grnewt-optimizer-1";

/** What a saved state must agree with to be restored. */
export interface Identity {
  readonly format: string;
  readonly kind: string;
  readonly updater: { readonly name: string; readonly options: Readonly<Record<string, number | boolean>> };
  readonly groups: readonly NamedGroup[];
  readonly shapes: Readonly<Record<string, readonly number[]>>;
}

export function identityOf(kind: string, { updater, groups, objective }: StepParts): Identity {
  const shapes = Object.fromEntries([...objective.variables].map(([name, { shape }]) => [name, shape]));
  return { format: FORMAT, kind, updater: { name: updater.name, options: updater.options }, groups, shapes };
}

/** @throws StateError naming what differs */
export function checkIdentity(own: Identity, found: unknown): void {
  if (typeof found !== "object" || found === null) throw new StateError("state: expected a saved optimiser state");
  const other = found as Partial<Identity>;
  const parts = {
    format: "version",
    kind: "optimiser",
    updater: "updater",
    groups: "partition",
    shapes: "model",
  } as const;
  for (const [key, what] of Object.entries(parts) as [keyof typeof parts, string][]) {
    const [expected, actual] = [JSON.stringify(own[key]), JSON.stringify(other[key])];
    if (expected !== actual)
      throw new StateError(`state: it is of another ${what}: expected ${expected}, found ${actual}`);
  }
}
