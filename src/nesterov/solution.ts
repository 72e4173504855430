import { round } from "./double2.ts";
import type { Point } from "./model.ts";

/** The rates η with r = ‖Dη‖. */
export interface Found {
  readonly found: true;
  readonly lrs: Float64Array;
  readonly r: number;
  readonly hard: boolean;
}

/** What `nesterovLrs` found, or why there are no rates. */
export type CubicSolution = Found | { readonly found: false; readonly reason: string };

/** The solution at a root: M(r) η = g holds for the r where η was computed, from which ‖Dη‖ differs in its last digits. */
export function found({ lrs, r }: Point): CubicSolution {
  return { found: true, lrs, r: round(r), hard: false };
}

export function missing(reason: string): CubicSolution {
  return { found: false, reason };
}

/** Factorisations spent on one problem at most; about ten is usual. */
export const MAX_TRIALS = 200;

/** ‖Dη‖ and r agree to this at a root. */
export const TOLERANCE = 1e-14;
