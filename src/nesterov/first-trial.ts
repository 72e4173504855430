import { type Double2, double2 } from "./double2.ts";
import type { CubicModel } from "./model.ts";

/** An r of the problem's own scale, that changes with it as r does: the pole of the worst pair of groups, and more. */
export function firstTrial({ size, H, g, D, weights, dampingInt }: CubicModel): Double2 {
  let pole = 0;
  let scale = 0;
  let pull = 0;
  for (let s = 0; s < size; s++) {
    const weight = weights[s]!.hi;
    if (weight === 0) continue;
    scale = Math.max(scale, Math.abs(H[s * size + s]!) / weight);
    pull = Math.hypot(pull, g[s]! / D[s]!);
    for (let t = 0; t < size; t++) if (t !== s) pole = Math.max(pole, pairPole(H, size, s, t, weight, weights[t]!.hi));
    pole = Math.max(pole, -H[s * size + s]! / weight);
  }
  return double2(pole + Math.sqrt((2 * pull) / dampingInt) || scale || 1);
}

/** The r at which rows s and t of M(r) alone become singular; 0 if none is above 0. */
function pairPole(H: Float64Array, size: number, s: number, t: number, ws: number, wt: number): number {
  const linear = H[s * size + s]! * wt + H[t * size + t]! * ws;
  const mixed = H[s * size + t]! ** 2;
  const constant = H[s * size + s]! * H[t * size + t]! - mixed;
  const root = Math.hypot(H[s * size + s]! * wt - H[t * size + t]! * ws, 2 * Math.sqrt(ws * wt * mixed));
  const pole = linear > 0 ? (-2 * constant) / (linear + root) : (root - linear) / (2 * ws * wt);
  return Number.isFinite(pole) ? Math.max(0, pole) : 0;
}
