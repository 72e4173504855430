import { add, type Double2, double2, round, ZERO } from "./double2.ts";
import { anyDirection, dot, residual, weightedNorm } from "./matrix.ts";
import { type CubicModel, matrixAt, type Point } from "./model.ts";

/**
 * The lowest pole of η(r), where M(r) stops being positive definite, seen from a point above it: to first order
 * η(r) = p + γ / (½ λ (r − x0)) q, with p and q orthogonal in D² (q an eigenvector of the pencil H + r ½ λ D²).
 */
export interface Pole {
  readonly x0: Double2;
  /** x0, less its error: no more than the pole. */
  readonly least: Double2;
  /** How much the last iteration raised x0. */
  readonly drift: number;
  /** Where the root is as close to the pole as this, η is made of p and q. */
  readonly hidden: number;
  /** The least distance to the pole from which p and q can be told. */
  readonly near: number;
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

/** Of the terms that cancel in M(r): 32 digits of r leave 13 of the distance of a root that is this close to the pole. */
const HIDDEN = 2 ** -63;

/** Of the terms that cancel in M(r): any closer, M(r) cannot be told from a singular matrix. */
const NEAREST = 2 ** -84;

/** Of what was added up for a part along q. */
const ROUNDING = 16 * Number.EPSILON;

/** An r that is no more than the pole, for any v: the one where vᵀ M(r) v = 0, but for rounding. */
export function poleBound(model: CubicModel, r: Double2, v: Float64Array): Double2 {
  return leastPole(r, rayleigh(model, r, normalised(model, v)));
}

function leastPole(r: Double2, { distance, error }: Rayleigh): Double2 {
  return add(r, double2(-distance - error));
}

/**
 * Finds the pole below a point by inverse iteration. Its rest is solved with residuals in twice the precision, so that
 * x0 comes out far more exactly than M(x0) can be factorised.
 * @param start a guess of q.
 */
export function poleBelow(model: CubicModel, point: Point, start: Float64Array): Pole {
  let q = normalised(model, start);
  for (let i = 0; i < ROUGH_ITERATIONS; i++) q = normalised(model, point.roughSolve(weighted(model, q)));
  const last = normalised(model, point.solve(weighted(model, q)).x);
  q = normalised(model, point.solve(weighted(model, last)).x);
  const quotient = rayleigh(model, point.r, q);
  const estimate = add(point.r, double2(-quotient.distance));
  const x0 = Math.abs(estimate.hi) <= quotient.error ? ZERO : estimate;
  const terms = termsAt(model, point.r, q);
  const change = q.map((entry, s) => Math.abs(entry - last[s]!));
  const gamma = partAlong(model, point, { q, change, distance: quotient.distance, terms });
  const p = rest(model, point, q, gamma);
  const delta = rootAbove(round(x0), weightedNorm(p, model.D), Math.abs(gamma) / (model.dampingInt / 2));
  return {
    x0,
    least: leastPole(point.r, quotient),
    drift: Math.max(0, rayleigh(model, point.r, last).distance - quotient.distance),
    hidden: HIDDEN * terms,
    near: NEAREST * terms,
    q,
    p,
    gamma,
    delta,
  };
}

/**
 * The global minimiser at the pole: η = p + τ q with ‖Dη‖ = r (Conn, Gould & Toint, *Trust-Region Methods*, §7.3;
 * Nesterov & Polyak, Math. Program. 108, 2006, §5). τ has the sign of qᵀg; where that is 0, both signs are as good and
 * the largest entry of τ q is made positive.
 */
export function minimiserAtPole(model: CubicModel, { x0, p, q, gamma, delta }: Pole): PoleSolution {
  const r = Math.max(0, round(add(x0, double2(delta))));
  const restNorm = weightedNorm(p, model.D);
  const size = Math.sqrt(Math.max(0, r - restNorm)) * Math.sqrt(r + restNorm);
  const tau = size * (gamma === 0 ? leadingSign(q) : Math.sign(gamma));
  return { lrs: p.map((entry, s) => entry + tau * q[s]!), r, hard: gamma === 0 && delta === 0 };
}

/** A direction with a little of all others in it: inverse iteration does not leave an eigenvector, even a wrong one. */
export function mixed(model: CubicModel, v: Float64Array): Float64Array {
  const other = normalised(model, anyDirection(model.size));
  return normalised(model, v).map((entry, s) => entry + 2 ** -20 * other[s]!);
}

/** A Rayleigh quotient: how far r is above the point where qᵀ M(r) q = 0. */
interface Rayleigh {
  readonly distance: number;
  /** Of the distance, by rounding. */
  readonly error: number;
}

function rayleigh(model: CubicModel, r: Double2, q: Float64Array): Rayleigh {
  const image = residual(matrixAt(model, r), q, new Float64Array(model.size));
  const weight = dot(q, weighted(model, q));
  const added = dot(q.map(Math.abs), image.map(Math.abs));
  return { distance: -dot(q, image) / weight, error: (4 * model.size * Number.EPSILON * added) / weight };
}

/** The terms of qᵀ M(r) q / (½ λ), with those of the diagonal that cancel in M(r). */
function termsAt({ H, weights, size, dampingInt }: CubicModel, r: Double2, q: Float64Array): number {
  let terms = 0;
  for (let s = 0; s < size; s++) terms += q[s]! ** 2 * (Math.abs(H[s * size + s]!) + r.hi * weights[s]!.hi);
  return terms / (dampingInt / 2);
}

/** ½ λ D² q. */
function weighted(model: CubicModel, q: Float64Array): Float64Array {
  return q.map((entry, s) => model.weights[s]!.hi * entry);
}

function normalised(model: CubicModel, v: Float64Array): Float64Array {
  const norm = weightedNorm(v, model.D);
  return v.map((entry) => entry / norm);
}

/** What inverse iteration made of q, and how much it changed it last. */
interface Iterate extends Pick<Rayleigh, "distance"> {
  readonly q: Float64Array;
  readonly change: Float64Array;
  readonly terms: number;
}

/** qᵀg, from g or, as M(r) multiplies it by the distance to the pole, from the part of η along q; 0 if within rounding. */
function partAlong(model: CubicModel, { lrs, norm }: Point, { q, change, distance, terms }: Iterate): number {
  const { g, D, dampingInt } = model;
  const pull = g.map(Math.abs);
  const direct = { gamma: dot(q, g), error: ROUNDING * dot(q.map(Math.abs), pull) + dot(change, pull) };
  const image = lrs.map((entry, s) => (dampingInt / 2) * D[s]! * (D[s]! * entry));
  const rounding = ROUNDING * (dampingInt / 2) * norm * (distance + Number.EPSILON * terms);
  const solved = { gamma: distance * dot(q, image), error: rounding + distance * dot(change, image.map(Math.abs)) };
  const { gamma, error } = direct.error <= solved.error ? direct : solved;
  return Math.abs(gamma) <= error ? 0 : gamma;
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
  let low = Number.MIN_VALUE;
  let high = Math.sqrt(strength);
  for (let i = 0; i < 100 && high - low > Number.EPSILON * high; i++) {
    const middle = high > 4 * low ? Math.sqrt(low) * Math.sqrt(high) : (low + high) / 2;
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
