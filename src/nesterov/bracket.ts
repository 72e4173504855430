import { add, type Double2, difference, double2 } from "./double2.ts";

/** Halfway, by ratio where the two are far apart. */
export function middle(low: Double2, high: Double2): Double2 {
  if (low.hi > 0 && high.hi > 4 * low.hi) return double2(Math.sqrt(low.hi) * Math.sqrt(high.hi));
  if (low.hi <= 0) return double2(high.hi / 64);
  return between(low, high, 1 / 2);
}

/** low + fraction · (high − low). */
export function between(low: Double2, high: Double2, fraction: number): Double2 {
  return add(low, double2(difference(high, low) * fraction));
}

/** Whether low < r < high. */
export function isBetween(low: Double2, r: Double2, high: Double2): boolean {
  return difference(r, low) > 0 && difference(high, r) > 0;
}

/** The larger one. */
export function larger(a: Double2, b: Double2): Double2 {
  return difference(a, b) >= 0 ? a : b;
}
