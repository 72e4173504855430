import { add, type Double2, difference, double2, round, ZERO } from "./double2.ts";
import { dot, residual, weightedNorm } from "./matrix.ts";
import { type CubicModel, matrixAt, type Point } from "./model.ts";

/**
 * The lowest pole of η(r), where M(r) stops being positive definite, seen from a point above it: to first order
 * η(r) = p + γ / (½ λ (r − x0)) q, with p and q orthogonal in D² (q an eigenvector of the pencil H + r ½ λ D²).
 */
export interface Pole {
  readonly x0: Double2;
  /** How much the last iteration raised x0. */
  readonly drift: number;
  /** A distance to the pole that rounding in the factorisation can hide. */
  readonly noise: number;
  /** The kernel of M(x0), with ‖Dq‖ = 1. */
  readonly q: Float64Array;
  /** M(x0)⁺ g, less its part along q. */
  readonly p: Float64Array;
  /** qᵀg, exactly 0 where it is within rounding of 0. */
  readonly gamma: number;
  /** The root of the secular equation by this model, less x0. */
  readonly delta: number;
}

/** A minimiser at the pole, or so close above it that M(r) is singular to rounding. */
export interface PoleSolution {
  readonly lrs: Float64Array;
  readonly r: number;
  /** Whether g has no part along q, so that −τ would do as well as τ. */
  readonly hard: boolean;
}

/** Rough inverse iterations, before two exact ones. */
const ROUGH_ITERATIONS = 4;

/** Rounding in pivots, relative to the diagonal and for each row; above the tolerance of the factorisation. */
const NOISE = 8 * Number.EPSILON;

/** qᵀg is rounding below this fraction of Σ |q_s g_s|. */
const GAMMA_TOLERANCE = 16 * Number.EPSILON;

/** The largest r at which vᵀ M(r) v = 0: no more than the pole, for any v. */
export function poleBound(model: CubicModel, r: Double2, v: Float64Array): Double2 {
  const q = normalised(model, v);
  return add(r, double2(-distanceAt(model, r, q)));
}

/**
 * Finds the pole below a point by inverse iteration. Its rest is solved with residuals in twice the precision, so that
 * x0 comes out far more exactly than M(x0) can be factorised.
 * @param start a guess of q.
 */
export function poleBelow(model: CubicModel, point: Point, start: Float64Array): Pole {
  let q = normalised(model, start);
  for (let i = 0; i < ROUGH_ITERATIONS; i++) q = normalised(model, point.roughSolve(weighted(model, q)));
  q = normalised(model, point.solve(weighted(model, q)).x);
  const before = distanceAt(model, point.r, q);
  q = normalised(model, point.solve(weighted(model, q)).x);
  const distance = distanceAt(model, point.r, q);
  const noise = noiseAt(model, point.r, q);
  const exact = add(point.r, double2(-distance));
  const x0 = Math.abs(exact.hi) <= Number.EPSILON * noise ? ZERO : exact;
  const gamma = partAlong(q, model.g);
  const p = rest(model, point, q, gamma);
  const delta = rootAbove(round(x0), weightedNorm(p, model.D), Math.abs(gamma) / (model.dampingInt / 2));
  return { x0, drift: Math.max(0, before - distance), noise, q, p, gamma, delta };
}

/**
 * The global minimiser at the pole: η = p + τ q with ‖Dη‖ = r (Conn, Gould & Toint, *Trust-Region Methods*, §7.3;
 * Nesterov & Polyak, Math. Program. 108, 2006, §5). τ has the sign of qᵀg; where that is 0, both signs are as good and
 * the largest entry of τ q is made positive.
 */
export function minimiserAtPole(model: CubicModel, point: Point, pole: Pole): PoleSolution {
  const { x0, q, gamma, delta } = pole;
  const root = add(x0, double2(delta));
  const r = Math.max(0, round(root));
  const p = restAt(model, point, pole, root, r);
  const restNorm = weightedNorm(p, model.D);
  const size = Math.sqrt(Math.max(0, r - restNorm)) * Math.sqrt(r + restNorm);
  const tau = size * (gamma === 0 ? leadingSign(q) : Math.sign(gamma));
  return { lrs: p.map((entry, s) => entry + tau * q[s]!), r, hard: gamma === 0 && delta === 0 };
}

/** p carried from the point's r to the root, M(root) p = M(point.r) p − (point.r − root) ½ λ D² p, unless it outgrows r. */
function restAt(model: CubicModel, point: Point, pole: Pole, root: Double2, r: number): Float64Array {
  const shift = difference(point.r, root);
  const moved = weighted(model, pole.p).map((entry) => entry * shift);
  const correction = withoutPart(model, point.solve(moved).x, pole.q);
  const p = pole.p.map((entry, s) => entry + correction[s]!);
  return weightedNorm(p, model.D) <= r ? p : pole.p;
}

/** qᵀ M(r) q / (½ λ) for ‖Dq‖ = 1: how far r is above the point where that vanishes. */
function distanceAt(model: CubicModel, r: Double2, q: Float64Array): number {
  const image = residual(matrixAt(model, r), q, new Float64Array(model.size));
  return -dot(q, image) / (model.dampingInt / 2);
}

/** Rounding in qᵀ M(r) q / (½ λ), with the parts of the diagonal that cancel in M(r). */
function noiseAt({ H, weights, size, dampingInt }: CubicModel, r: Double2, q: Float64Array): number {
  let energy = 0;
  for (let s = 0; s < size; s++) energy += q[s]! ** 2 * (Math.abs(H[s * size + s]!) + r.hi * weights[s]!.hi);
  return (NOISE * size * energy) / (dampingInt / 2);
}

/** ½ λ D² q. */
function weighted(model: CubicModel, q: Float64Array): Float64Array {
  return q.map((entry, s) => model.weights[s]!.hi * entry);
}

function normalised(model: CubicModel, v: Float64Array): Float64Array {
  const norm = weightedNorm(v, model.D);
  return v.map((entry) => entry / norm);
}

function partAlong(q: Float64Array, g: Float64Array): number {
  const gamma = dot(q, g);
  const size = dot(q.map(Math.abs), g.map(Math.abs));
  return Math.abs(gamma) <= GAMMA_TOLERANCE * size ? 0 : gamma;
}

/** The part of M(r)⁻¹ g that is orthogonal to q in D². */
function rest(model: CubicModel, point: Point, q: Float64Array, gamma: number): Float64Array {
  const along = weighted(model, q).map((entry) => (entry / (model.dampingInt / 2)) * gamma);
  return withoutPart(model, point.solve(model.g.map((entry, s) => entry - along[s]!)).x, q);
}

/** x less its part along q, in the inner product of D². */
function withoutPart(model: CubicModel, x: Float64Array, q: Float64Array): Float64Array {
  const part = x.reduce((sum, entry, s) => sum + model.D[s]! * entry * (model.D[s]! * q[s]!), 0);
  return x.map((entry, s) => entry - part * q[s]!);
}

/** The δ ≥ 0 with (x0 + δ)² = restNorm² + (strength / δ)² and x0 + δ ≥ 0; for strength 0, the least with ≥. */
function rootAbove(x0: number, restNorm: number, strength: number): number {
  const least = Math.max(0, restNorm - x0);
  if (strength === 0) return least;
  let low = 0;
  let high = Math.sqrt(strength);
  for (let i = 0; i < 400 && high - low > Number.EPSILON * high; i++) {
    const middle = low + (high - low) / 2;
    const delta = least + middle;
    const above = Math.sqrt(x0 + delta - restNorm) * Math.sqrt(x0 + delta + restNorm);
    if (above * delta < strength) low = middle;
    else high = middle;
  }
  return least + high;
}

/** The sign of the largest entry; of those that tie but for rounding, the first. */
function leadingSign(q: Float64Array): number {
  const largest = q.reduce((most, entry) => Math.max(most, Math.abs(entry)), 0);
  return Math.sign(q.find((entry) => Math.abs(entry) >= (1 - 1e-9) * largest) ?? 1);
}
